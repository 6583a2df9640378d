# SPDX-License-Identifier: Apache-2.0
"""Every key of the configuration, once: default, meaning, unit and bounds. config/default.yaml is made from it."""

from dataclasses import dataclass, field

from letvins_ros.calibration import Rig
from letvins_ros.config_params import Section, param
from letvins_ros.errors import ConfigError
from letvins_ros.geometry import pose_from_text


@dataclass(frozen=True)
class TrackerConfig(Section):
    """Following features through the images."""

    method: str = param(
        "lk",
        "what is followed: lk gray images, letnet2 learned maps, the others a network's keypoints by descriptor",
        choices=("lk", "letnet2", "kp2dtiny", "kp2d", "superpoint"),
    )
    weights: str = param(
        "", "file with the network's weights (.safetensors, .pth) or exported (.xml, .onnx), empty for what comes along"
    )
    matching: str = param(
        "nearest", "how keypoints of a network are matched: mutually nearest", choices=("nearest", "lightglue")
    )
    matcher_weights: str = param("", "file with the weights of lightglue")
    refine: bool = param(True, "move matched keypoints of a network to where optical flow from them ends")
    max_keypoints: int = param(1000, "keypoints of a network that can be matched in an image", low=10, high=10000)
    search_px: float = param(
        60.0, "largest distance of a keypoint from where it is expected", unit="px", low=1, high=1000
    )
    backend: str = param(
        "auto",
        "what runs the network, auto takes the fastest there is",
        choices=("auto", "torch", "openvino", "tensorrt"),
    )
    equalise: str = param(
        "local",
        "evening out of the gray image's local contrast, before a learned map too",
        choices=("none", "local"),
    )
    max_features: int = param(150, "features kept in the left image", low=10, high=2000)
    min_distance_px: float = param(20.0, "least distance between features", unit="px", low=1, high=200)
    quality: float = param(
        0.01, "least corner score, as a share of the best in its part of the image", low=1e-6, high=1
    )
    window_px: int = param(15, "side of the window that is compared", unit="px", low=5, high=61)
    pyramid_levels: int = param(3, "halvings of the image for large motion", low=0, high=6)
    forward_backward_px: float = param(
        0.5, "largest error after following there and back", unit="px", low=0.01, high=10
    )
    stereo_epipolar_px: float = param(
        1.5, "largest distance of a stereo match from its line", unit="px", low=0.1, high=20
    )
    ransac_px: float = param(1.5, "largest distance of an inlier from the common motion", unit="px", low=0.1, high=20)
    max_age_frames: int = param(
        0, "frames after which a feature is replaced, 0 for never", unit="frames", low=0, high=100000
    )
    gyro_prediction: bool = param(True, "start the search where the gyroscope says the feature has gone")


@dataclass(frozen=True)
class EstimatorConfig(Section):
    """Motion from tracks and IMU, in a sliding window of keyframes."""

    window_keyframes: int = param(8, "keyframes in the window", low=3, high=50)
    iterations: int = param(2, "most steps of the solver per frame", low=1, high=50)
    pixel_sigma: float = param(1.0, "standard deviation of a feature's position", unit="px", low=0.05, high=20)
    huber_px: float = param(1.5, "error from which an observation counts less", unit="px", low=0.1, high=50)
    keyframe_parallax_px: float = param(
        10.0, "mean motion of features, turning taken out, that makes a keyframe", unit="px", low=0, high=200
    )
    keyframe_max_gap_s: float = param(1.0, "longest time between keyframes while moving", unit="s", low=0.05, high=60)
    min_tracks: int = param(10, "fewest tracks for a pose from images", low=3, high=500)
    zero_motion: bool = param(True, "hold still while IMU and images both show no motion")
    estimate_extrinsics: bool = param(False, "refine where the cameras sit on the body")
    estimate_time_offset: bool = param(False, "refine the camera clock against the IMU clock")
    init_window_s: float = param(
        0.3, "stretch of data from which gravity, biases and velocity start", unit="s", low=0.1, high=10
    )
    gyro_noise_scale: float = param(
        3.0, "factor on the calibrated gyro noise, whose data-sheet value hides scale errors", low=0.1, high=1000
    )
    accel_noise_scale: float = param(
        6.0, "factor on the calibrated accelerometer noise, whose data-sheet value hides vibration", low=0.1, high=1000
    )


@dataclass(frozen=True)
class LoopConfig(Section):
    """Recognising places and correcting the map."""

    mode: str = param("map", "map adds to the map, localise only finds itself in one", choices=("map", "localise"))
    load_map: str = param("", "map file to start with, empty for none")
    save_map: str = param("", "file to write the map to at the end, empty for none")
    describer: str = param(
        "orb", "what tells places apart; kp2dtiny knows them better under other lamps, and costs more",
        choices=("orb", "kp2dtiny"),
    )  # fmt: skip
    keyframe_distance_m: float = param(0.3, "way after which a keyframe is looked at", unit="m", low=0, high=100)
    keyframe_angle_deg: float = param(10.0, "or turn after which it is", unit="degrees", low=0, high=180)
    max_features: int = param(300, "features described in a keyframe", low=30, high=5000)
    candidates: int = param(4, "places most alike that are looked at closely", low=1, high=100)
    exclude_recent_s: float = param(10.0, "keyframes younger than this are not recognised", unit="s", low=0, high=1e6)
    min_inliers: int = param(12, "fewest features on which two views of a place agree", low=6, high=1000)
    inlier_px: float = param(3.0, "largest distance of such a feature from its place", unit="px", low=0.1, high=50)
    agree_inliers: int = param(50, "features that agreeing keyframes must have together", low=6, high=100000)
    odometry_scale: float = param(
        3.0, "factor on the uncertainty that odometry tells of its motion", low=0.1, high=1000
    )


@dataclass(frozen=True)
class RosConfig(Section):
    """The ROS 2 nodes: frames, what they hear and what they publish."""

    map_frame: str = param("map", "name of the frame that loop closing corrects")
    odom_frame: str = param("odom", "name of the frame that never jumps")
    base_frame: str = param("base_link", "name of the robot's frame, whose pose odometry is")
    imu_frame: str = param("", "name of the IMU's frame, empty for that of its messages")
    T_base_imu: str = param(
        "", "pose of the IMU in base_frame, x y z in m and quaternion x y z w; where empty that of /tf_static, and"
        " without one the IMU's place with axes as REP 103 has them, x where the left camera looks",
    )  # fmt: skip
    publish_static_tf: bool = param(True, "vio publishes the IMU's and the cameras' frames that nobody else does")
    publish_odom_tf: bool = param(True, "vio publishes the transform from odom to base_link")
    publish_map_tf: bool = param(True, "loop_closure publishes the transform from map to odom")
    publish_path: bool = param(True, "publish the path while somebody listens")
    publish_points: bool = param(True, "publish the keyframes' points while somebody listens")
    path_poses: int = param(2000, "poses kept for the path; older ones are thinned out", low=10, high=100000)
    reliable_input: bool = param(False, "ask for reliable images and IMU; best effort hears both kinds")
    compressed: bool = param(False, "images are CompressedImage, on the image topics with /compressed after them")
    image_queue: int = param(3, "frames that wait; a further one drops the oldest", low=1, high=100)

    def __post_init__(self) -> None:
        super().__post_init__()
        try:
            pose_from_text(self.T_base_imu or "0 0 0 0 0 0 1")
        except ValueError as error:
            raise ConfigError(f"ros.T_base_imu: {error}") from None


@dataclass(frozen=True)
class PlayerConfig(Section):
    """What dataset_player plays, and how."""

    source: str = param("", "recording: folder or bag, as for `letvins run`")
    rate: float = param(1.0, "speed, as a multiple of the sensors'", low=0.01, high=100)
    loop: bool = param(False, "begin again at the end, with stamps that go on")
    start_s: float = param(0.0, "leave out the first seconds", unit="s", low=0, high=1e6)
    duration_s: float = param(0.0, "stop after so many seconds, 0 for all", unit="s", low=0, high=1e6)
    clock: bool = param(True, "publish the recording's time on /clock")
    listeners: int = param(
        1, "nodes that must hear the IMU before playing begins, 0 for those of the whole system",
        low=0, high=100,
    )  # fmt: skip
    wait_s: float = param(20.0, "longest wait for the listeners", unit="s", low=0, high=3600)


@dataclass(frozen=True)
class Config(Section):
    """The whole configuration."""

    mode: str = param("stereo_imu", "the sensors used", choices=("stereo_imu", "mono_imu", "stereo"))
    seed: int = param(0, "start of every random choice", low=0, high=2**31 - 1)
    tracker: TrackerConfig = field(default_factory=TrackerConfig)
    estimator: EstimatorConfig = field(default_factory=EstimatorConfig)
    loop: LoopConfig = field(default_factory=LoopConfig)
    ros: RosConfig = field(default_factory=RosConfig)
    player: PlayerConfig = field(default_factory=PlayerConfig)
    rig: Rig | None = None  # camera0, camera1 and imu of the file; None: the rig comes from the data
