# SPDX-License-Identifier: Apache-2.0
"""Every key of the configuration: default, meaning, unit and bounds. config/default.yaml is generated from it."""

import re
from dataclasses import dataclass, field

from letvins_ros.calibration import Rig
from letvins_ros.config_params import Section, own_parameters, param
from letvins_ros.errors import ConfigError
from letvins_ros.geometry import pose_from_text, vector_from_text


@dataclass(frozen=True)
class InputConfig(Section):
    """Cameras and topics of a recording to use."""

    cameras: str = param("", "indices of the cameras to use, left first, such as 0,1; empty for all usable ones")
    cam0_topic: str = param("", "topic of the left images in a bag, empty to choose automatically")
    cam1_topic: str = param("", "topic of the right images in a bag")
    cam2_topic: str = param("", "topic of a third camera in a bag")
    cam3_topic: str = param("", "topic of a fourth camera in a bag")
    imu_topic: str = param("", "topic of the IMU in a bag, empty to choose automatically")
    gyro_topic: str = param("", "topic of the gyroscope, if separate from the accelerometer")
    accel_topic: str = param("", "topic of the accelerometer, if separate from the gyroscope")
    gnss_topic: str = param("", "topic of the GNSS fixes in a bag, empty to choose automatically; used with loop.gnss")

    @property
    def camera_numbers(self) -> tuple[int, ...]:
        """The cameras named; ConfigError where they are no numbers or one is named twice."""
        parts = [part.strip() for part in self.cameras.split(",")] if self.cameras.strip() else []
        if len({*parts}) < len(parts) or not all(re.fullmatch(r"[0-9]{1,2}", part) for part in parts):
            raise ConfigError(f"input.cameras must be different numbers such as 0,1, got {self.cameras!r}")
        return tuple(map(int, parts))

    @property
    def topics(self) -> dict[str, str]:
        """The topics named, by role: cam0 .. cam3, imu, gyro, accel, gnss."""
        given = {name.removesuffix("_topic"): getattr(self, name) for name in own_parameters(type(self))}
        return {role: topic for role, topic in given.items() if topic and role != "cameras"}


@dataclass(frozen=True)
class TrackerConfig(Section):
    """Feature tracking."""

    method: str = param(
        "lk",
        "lk: optical flow on gray images, letnet2: on learned feature maps, others: keypoints of a network, matched",
        choices=("lk", "letnet2", "kp2dtiny", "kp2d", "superpoint"),
    )
    weights: str = param(
        "", "weights (.safetensors, .pth) or exported network (.xml, .onnx), empty for the bundled weights"
    )
    matching: str = param(
        "nearest",
        "matching of a network's keypoints: mutual nearest neighbours or LightGlue",
        choices=("nearest", "lightglue"),
    )
    matcher_weights: str = param("", "file with LightGlue's weights")
    refine: bool = param(True, "refine matched keypoints of a network by optical flow")
    max_keypoints: int = param(1000, "maximum keypoints of a network per image", low=10, high=10000)
    search_px: float = param(60.0, "search radius around a keypoint's predicted position", unit="px", low=1, high=1000)
    backend: str = param(
        "auto",
        "runtime of the network, auto for the fastest available",
        choices=("auto", "torch", "openvino", "tensorrt"),
    )
    threads: int = param(2, "threads of optical flow, and of networks on a CPU", low=1, high=64)
    equalise: str = param(
        "local",
        "local contrast equalisation of the images, also before a learned map",
        choices=("none", "local"),
    )
    max_features: int = param(
        150,
        "maximum features per stereo pair or single camera; when a camera is covered, the others take over its share",
        low=10,
        high=2000,
    )
    min_distance_px: float = param(20.0, "minimum distance between features", unit="px", low=1, high=200)
    quality: float = param(
        0.01, "minimum corner score, relative to the best one in its part of the image", low=1e-6, high=1
    )
    window_px: int = param(15, "side of the optical flow window", unit="px", low=5, high=61)
    pyramid_levels: int = param(3, "pyramid levels above the full image", low=0, high=6)
    forward_backward_px: float = param(0.5, "forward-backward threshold of optical flow", unit="px", low=0.01, high=10)
    anchor: bool = param(True, "align features to the patch in which they were first seen, so that they do not drift")
    stereo_epipolar_px: float = param(
        1.5, "maximum distance of a stereo match from its epipolar line", unit="px", low=0.1, high=20
    )
    ransac_px: float = param(1.5, "RANSAC inlier threshold", unit="px", low=0.1, high=20)
    max_age_frames: int = param(0, "age at which a feature is replaced, 0 for never", unit="frames", low=0, high=100000)
    gyro_prediction: bool = param(True, "predict feature positions by the gyroscope")


@dataclass(frozen=True)
class EstimatorConfig(Section):
    """Visual-inertial estimator in a sliding window of keyframes."""

    window_keyframes: int = param(8, "keyframes in the window", low=3, high=50)
    iterations: int = param(4, "maximum solver iterations per frame", low=1, high=50)
    pixel_noise_scale: float = param(
        1.7,
        "factor on the measured noise of features, whose errors are correlated from frame to frame",
        low=0.1,
        high=100,
    )
    prior_noise_scale: float = param(
        1.6,
        "further factor on that of sightings that leave the window, whose errors those of the same features repeat",
        low=1,
        high=100,
    )
    robust_factor: float = param(
        2.0,
        "scale of the Cauchy loss of an observation, in median errors; three times that without IMU",
        low=0.5,
        high=100,
    )
    keyframe_parallax_px: float = param(
        10.0, "mean rotation-compensated parallax that makes a keyframe", unit="px", low=0, high=200
    )
    keyframe_max_gap_s: float = param(1.0, "maximum time between keyframes while moving", unit="s", low=0.05, high=60)
    min_tracks: int = param(10, "minimum tracks for a visual update", low=3, high=500)
    zero_motion: bool = param(True, "zero-velocity update while IMU and images both show no motion")
    estimate_extrinsics: bool = param(False, "estimate the camera extrinsics online")
    estimate_time_offset: bool = param(
        True, "refine the time offset between camera and IMU online, about the calibrated one"
    )
    init_window_s: float = param(
        0.3, "length of data for initialising gravity, biases and velocity", unit="s", low=0.1, high=10
    )
    gyro_noise_scale: float = param(
        3.0,
        "factor on the gyro's noise, the larger of calibrated and measured; data sheets omit scale errors",
        low=0.1,
        high=1000,
    )
    accel_noise_scale: float = param(
        1.3, "factor on the accelerometer's noise, the larger of calibrated and measured", low=0.1, high=1000
    )


@dataclass(frozen=True)
class LoopConfig(Section):
    """Loop closing, mapping and relocalisation."""

    mode: str = param(
        "map", "map: build or extend a map, localise: only relocalise in a loaded one", choices=("map", "localise")
    )
    load_map: str = param("", "map file to load at the start, empty for none")
    save_map: str = param("", "map file to write at the end, empty for none")
    store: str = param(
        "", "folder of a LanceDB database for the descriptors of places, which the process that maps writes and those"
        " that localise read; empty: in memory",
    )  # fmt: skip
    describer: str = param(
        "auto", "descriptors for place recognition; kp2dtiny is more robust to lighting and costs more, unless the"
        " tracker runs it; auto: those of the loaded map, without one kp2dtiny where the tracker runs it, else orb",
        choices=("auto", "orb", "kp2dtiny"),
    )  # fmt: skip
    keyframe_distance_m: float = param(
        0.3, "distance travelled after which a keyframe is processed", unit="m", low=0, high=100
    )
    keyframe_angle_deg: float = param(10.0, "rotation after which it is processed", unit="degrees", low=0, high=180)
    max_features: int = param(300, "maximum features described per keyframe", low=30, high=5000)
    candidates: int = param(4, "retrieved places that are verified geometrically", low=1, high=100)
    exclude_recent_s: float = param(10.0, "keyframes more recent than this are not matched", unit="s", low=0, high=1e6)
    min_inliers: int = param(12, "minimum inliers of a match between two keyframes", low=6, high=1000)
    inlier_px: float = param(3.0, "maximum reprojection error of an inlier", unit="px", low=0.1, high=50)
    agree_inliers: int = param(50, "minimum total inliers of the keyframes that agree on a loop", low=6, high=100000)
    odometry_scale: float = param(3.0, "factor on the standard deviations of odometry", low=0.1, high=1000)
    gnss: bool = param(
        False, "take GNSS fixes into the map, which lies east, north, up of gnss_datum once it is aligned"
    )
    gnss_datum: str = param(
        "", "latitude and longitude in degrees and height in m of the map's origin, empty for the loaded map's or"
        " the first fix",
    )  # fmt: skip
    gnss_antenna: str = param(
        "", "position of the antenna in the IMU's frame, x y z in m; empty: at the IMU, in ROS the place of the fixes'"
        " frame in /tf_static",
    )  # fmt: skip
    gnss_std: float = param(
        2.0, "standard deviation of a fix where the receiver gives none", unit="m", low=1e-3, high=1000
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        for key, what in (("gnss_datum", "latitude, longitude and height"), ("gnss_antenna", "x y z")):
            try:
                vector = vector_from_text(getattr(self, key) or "0 0 0")
            except ValueError as error:
                raise ConfigError(f"loop.{key}: {error}: {what} are needed") from None
            if key == "gnss_datum" and not (abs(vector[0]) <= 90 and abs(vector[1]) <= 360):
                raise ConfigError(f"loop.gnss_datum: no place on earth: {getattr(self, key)}")


@dataclass(frozen=True)
class RosConfig(Section):
    """The ROS 2 nodes: frames, inputs and outputs."""

    map_frame: str = param("map", "name of the map frame, corrected by loop closing")
    odom_frame: str = param("odom", "name of the odometry frame, which never jumps")
    base_frame: str = param("base_link", "name of the robot's frame, whose pose is estimated")
    imu_frame: str = param("", "name of the IMU's frame, empty for that of its messages")
    T_base_imu: str = param(
        "", "pose of the IMU in base_frame, x y z in m and quaternion x y z w; where empty that of /tf_static, and"
        " without one the IMU's position with axes of REP 103, x along the left camera's view",
    )  # fmt: skip
    wheel: str = param(
        "none", "messages with the speed of wheels on the topic wheel: nav_msgs/Odometry, TwistWithCovarianceStamped",
        choices=("none", "odometry", "twist"),
    )  # fmt: skip
    wheel_std: float = param(
        0.05, "standard deviation of the wheels' speed where messages give none", unit="m/s", low=1e-4, high=100
    )
    publish_static_tf: bool = param(True, "vio publishes the IMU's and the cameras' frames unless another node does")
    publish_odom_tf: bool = param(True, "vio publishes the transform from odom to base_link")
    publish_map_tf: bool = param(True, "loop_closure publishes the transform from map to odom")
    publish_path: bool = param(True, "publish the path while it is subscribed")
    publish_points: bool = param(True, "publish the keyframes' points while they are subscribed")
    path_poses: int = param(2000, "maximum poses of the path; older ones are thinned out", low=10, high=100000)
    reliable_input: bool = param(False, "subscribe to images and IMU reliably; best effort accepts both")
    mend: bool = param(
        True, "correct a set-up found wrong in the first 20 s and restart: exchanged cameras, units, scale, mounts"
    )
    compressed: bool = param(False, "subscribe to CompressedImage, on the image topics with /compressed appended")
    image_queue: int = param(3, "frames queued; a further one drops the oldest", low=1, high=100)

    def __post_init__(self) -> None:
        super().__post_init__()
        try:
            pose_from_text(self.T_base_imu or "0 0 0 0 0 0 1")
        except ValueError as error:
            raise ConfigError(f"ros.T_base_imu: {error}") from None


@dataclass(frozen=True)
class PlayerConfig(Section):
    """Playback by dataset_player."""

    source: str = param("", "recording: folder or bag, as for `letvins run`")
    rate: float = param(1.0, "playback speed, relative to real time", low=0.01, high=100)
    loop: bool = param(False, "repeat the recording, with increasing stamps")
    start_s: float = param(0.0, "start offset", unit="s", low=0, high=1e6)
    duration_s: float = param(0.0, "duration, 0 for all", unit="s", low=0, high=1e6)
    clock: bool = param(True, "publish /clock")
    listeners: int = param(
        1, "IMU subscribers to wait for before playback starts, 0 for those of the whole system",
        low=0, high=100,
    )  # fmt: skip
    wait_s: float = param(20.0, "maximum wait for the subscribers", unit="s", low=0, high=3600)


@dataclass(frozen=True)
class AutopilotConfig(Section):
    """Odometry for an autopilot, by the node of that name."""

    kind: str = param(
        "px4", "px4: px4_msgs/VehicleOdometry; mavros: the topics that MAVROS takes", choices=("px4", "mavros")
    )
    rate_hz: float = param(30.0, "highest rate at which odometry is passed on", unit="Hz", low=0.1, high=1000)


@dataclass(frozen=True)
class Config(Section):
    """The whole configuration."""

    mode: str = param("stereo_imu", "sensors used", choices=("stereo_imu", "mono_imu", "stereo"))
    seed: int = param(0, "seed of all random choices", low=0, high=2**31 - 1)
    input: InputConfig = field(default_factory=InputConfig)
    tracker: TrackerConfig = field(default_factory=TrackerConfig)
    estimator: EstimatorConfig = field(default_factory=EstimatorConfig)
    loop: LoopConfig = field(default_factory=LoopConfig)
    ros: RosConfig = field(default_factory=RosConfig)
    player: PlayerConfig = field(default_factory=PlayerConfig)
    autopilot: AutopilotConfig = field(default_factory=AutopilotConfig)
    rig: Rig | None = None  # camera0, camera1 and imu of the file; None: the rig comes from the data

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.loop.gnss and self.mode == "stereo":
            raise ConfigError("loop.gnss needs the vertical, which mode stereo does not know: use an IMU")

    @property
    def described(self) -> int:
        """How many features of a left image the tracker describes for the loop closer, by the network that it runs."""
        runs_it = self.tracker.method == "kp2dtiny" and not self.tracker.weights
        return self.loop.max_features if runs_it and self.loop.describer != "orb" else 0
