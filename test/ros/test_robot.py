# SPDX-License-Identifier: Apache-2.0
"""The robot's frames over real DDS."""

import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from geometry_msgs.msg import TransformStamped
from letvins_ros.msg import FeatureTracks, Keyframe
from nav_msgs.msg import Odometry
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import Imu
from tf2_msgs.msg import TFMessage

from letvins_ros.config import Config
from letvins_ros.datasets import open_dataset
from letvins_ros.estimation import VioEstimator
from letvins_ros.evaluation.evaluate import evaluate
from letvins_ros.geometry import from_quaternion, inverse, pose_from_text
from letvins_ros.ros import convert
from letvins_ros.types import FrameTracks, VioStatus

from ..some import some
from .harness import LATCHED, START_S, Ear, Stack

MOUNT = "0.5 0.1 0.2 0 0 0.70710678118654752 0.70710678118654752"  # half a metre off, turned by 90 degrees


class Frames:
    """Hears /tf, /tf_static and keyframes, and can publish transforms."""

    def __init__(self, ear: Ear) -> None:
        self.static = dict[tuple[str, str], TransformStamped]()
        self.dynamic = dict[tuple[str, int], np.ndarray]()
        self.keyframes, self.twists = dict[int, np.ndarray](), dict[int, np.ndarray]()
        self.tracks, node = dict[int, FrameTracks](), ear.node
        node.create_subscription(FeatureTracks, "letvins/tracks", self._on_tracks, 100)
        node.create_subscription(Odometry, "letvins/odometry", self._on_odometry, 100)
        node.create_subscription(TFMessage, "/tf_static", self._on_static, LATCHED)
        node.create_subscription(TFMessage, "/tf", self._on_dynamic, 100)
        node.create_subscription(Keyframe, "letvins/keyframe", self._on_keyframe, 100)
        self._statics = node.create_publisher(TFMessage, "/tf_static", LATCHED)
        self._dynamics = node.create_publisher(TFMessage, "/tf", 100)

    def _on_static(self, message: TFMessage) -> None:
        self.static |= {(T.header.frame_id, T.child_frame_id): T for T in message.transforms}

    def _on_dynamic(self, message: TFMessage) -> None:
        for T in message.transforms:
            stamp = convert.stamp_to_ns(T.header.stamp)
            self.dynamic[T.child_frame_id, stamp] = convert.transform_from_message(T.transform)

    def _on_keyframe(self, message: Keyframe) -> None:
        self.keyframes[convert.stamp_to_ns(message.header.stamp)] = convert.pose_from_message(message.pose)

    def _on_tracks(self, message: FeatureTracks) -> None:
        self.tracks[convert.stamp_to_ns(message.header.stamp)] = convert.tracks_from(message)

    def _on_odometry(self, message: Odometry) -> None:
        twist = message.twist.twist
        v, w = twist.linear, twist.angular
        self.twists[convert.stamp_to_ns(message.header.stamp)] = np.array([v.x, v.y, v.z, w.x, w.y, w.z])

    def publish(self, parent: str, child: str, T: np.ndarray, *, static: bool) -> None:
        message: TransformStamped = convert.transform_to_message(T, 1, parent, child)
        (self._statics if static else self._dynamics).publish(TFMessage(transforms=[message]))


def computed_offline(
    recording: Path, tracks: list[FrameTracks], T_base_imu: np.ndarray
) -> dict[int, tuple[np.ndarray, np.ndarray]]:
    """Pose (4, 4) and velocity (6,) of the base by the stamps of frames with these tracks, by the estimator alone."""
    dataset, fed, found = open_dataset(recording), 0, {}
    estimator = VioEstimator(Config(), some(dataset.rig))
    for frame in tracks:
        end = int(np.searchsorted(some(dataset.imu).stamps_ns, estimator.imu_time(frame.stamp_ns))) + 1
        if end > fed:
            estimator.add_imu(some(dataset.imu)[fed:end])
            fed = end
        state = estimator.process(frame).state
        if state.status is VioStatus.INITIALISING:
            continue
        T_odom_base = state.T_odom_body @ inverse(T_base_imu)
        gyro = estimator.mean_gyro(estimator.imu_time(frame.stamp_ns))
        rate_odom = state.T_odom_body[:3, :3] @ (gyro - state.gyro_bias)
        arm_odom = T_odom_base[:3, 3] - state.T_odom_body[:3, 3]
        velocity_odom = state.velocity_odom + np.cross(rate_odom, arm_odom)
        R_base_odom = T_odom_base[:3, :3].T
        found[frame.stamp_ns] = T_odom_base, np.r_[R_base_odom @ velocity_odom, R_base_odom @ rate_odom]
    return found


@pytest.mark.parametrize("by_tf", [False, True], ids=["by configuration", "by tf"])
def test_odometry_is_that_of_the_base_where_the_robot_has_it(by_tf: bool, recording: Path, tmp_path: Path) -> None:
    T_base_imu = pose_from_text(MOUNT)
    with Stack(tmp_path, dataset=str(recording), rate=0.5) as stack, Ear(stack.domain, images=False) as ear:
        frames = Frames(ear)
        if by_tf:
            frames.publish("base_link", "mast", pose_from_text("0.5 0 0 0 0 0 1"), static=True)
            frames.publish("mast", "imu", inverse(pose_from_text("0.5 0 0 0 0 0 1")) @ T_base_imu, static=True)
        else:
            vio = stack.programs["vio"]
            stack.programs["vio"] = replace(vio, parameters=vio.parameters | {"ros.T_base_imu": MOUNT})
        stack.start("feature_tracker", "vio")
        ear.wait(lambda: {"vio", "feature_tracker"} <= set(ear.diagnostics), START_S, "both nodes")
        stack.start("dataset_player")  # now they hear all: the first reading, and /tf_static before it
        player = stack.running["dataset_player"]
        ear.wait(lambda: player.poll() is not None, START_S, "the end of the recording")
        time.sleep(0.5)
        poses, keyframes = dict(ear.poses), dict(frames.keyframes)
        processed = {convert.stamp_to_ns(status.header.stamp) for _, status in ear.statuses}
        stack.stop()
    tracks = [frames.tracks[stamp] for stamp in sorted(processed & set(frames.tracks))]
    offline = computed_offline(recording, tracks, T_base_imu)
    assert len(set(offline) & set(frames.twists)) > 50
    for stamp in set(offline) & set(frames.twists):
        T_odom_base, twist = offline[stamp]
        np.testing.assert_allclose(poses[stamp][1][:3], T_odom_base[:3, 3], atol=1e-3)  # 1 mm
        np.testing.assert_allclose(frames.twists[stamp], twist, atol=1e-3)  # 1 mm/s, 1 mrad/s
    both = sorted(set(poses) & set(keyframes))
    assert len(both) > 5
    for stamp in both:
        T_odom_base = keyframes[stamp] @ inverse(T_base_imu)
        p, q = poses[stamp][1][:3], poses[stamp][1][3:]
        np.testing.assert_allclose(p, T_odom_base[:3, 3], atol=1e-6)
        found = frames.dynamic["base_link", stamp]
        np.testing.assert_allclose(found, T_odom_base, atol=1e-6)
        assert np.linalg.norm(q) == pytest.approx(1)
    sensors = {child for parent, child in frames.static if parent == "base_link"}
    assert sensors == ({"mast", "cam0", "cam1"} if by_tf else {"imu", "cam0", "cam1"})


def test_a_base_that_is_told_late_is_that_of_the_odometry_from_then_on(recording: Path, tmp_path: Path) -> None:
    T_base_imu = pose_from_text(MOUNT)
    with Stack(tmp_path, dataset=str(recording), repeat=True) as stack, Ear(stack.domain, images=False) as ear:
        frames = Frames(ear)
        stack.start("feature_tracker", "vio", "dataset_player")
        ear.wait(lambda: len(ear.poses) > 3, START_S, "odometry")
        assert "by its own axes and the left camera's" in stack.log("vio")
        frames.publish("base_link", "imu", T_base_imu, static=True)
        ear.wait(lambda: ear.statuses[-1][1].resets, START_S, "odometry anew")
        anew_ns = convert.stamp_to_ns(ear.statuses[-1][1].header.stamp)
        ear.wait(lambda: max(set(ear.poses) & set(frames.keyframes)) > anew_ns, START_S, "a keyframe of it")
        stack.stop()
    stamp = max(set(ear.poses) & set(frames.keyframes))
    T_odom_base = frames.keyframes[stamp] @ inverse(T_base_imu)
    np.testing.assert_allclose(ear.poses[stamp][1][:3], T_odom_base[:3, 3], atol=1e-6)
    assert stack.log("vio").count("/tf_static has the IMU elsewhere than was assumed; odom starts anew") == 1


def test_the_speed_of_wheels_is_taken(recording: Path, tmp_path: Path) -> None:
    truth = some(open_dataset(recording).truth)
    seconds = truth.stamps_ns * 1e-9
    v_world = np.gradient(truth.positions, seconds, axis=0)
    T_world_body = from_quaternion(truth.positions, truth.quaternions)
    v_body = np.einsum("nji,nj->ni", T_world_body[:, :3, :3], v_world)
    config = {"ros.wheel": "odometry", "ros.T_base_imu": "0 0 0 0 0 0 1"}
    with Stack(tmp_path, dataset=str(recording), rate=0.5, loop=False) as stack, Ear(stack.domain, images=False) as ear:
        vio = stack.programs["vio"]
        stack.programs["vio"] = replace(vio, parameters=vio.parameters | config)
        wheel = ear.node.create_publisher(Odometry, "wheel", 50)

        def turn(reading: Imu) -> None:  # wheels that read whenever the IMU does
            i = np.searchsorted(truth.stamps_ns, convert.stamp_to_ns(reading.header.stamp)).clip(0, len(seconds) - 1)
            message = Odometry(header=reading.header, child_frame_id="base_link")
            message.twist.twist.linear = convert.vector(v_body[i])
            wheel.publish(message)

        ear.node.create_subscription(Imu, "imu", turn, qos_profile_sensor_data)
        stack.start("feature_tracker", "vio", "dataset_player")
        player = stack.running["dataset_player"]
        ear.wait(lambda: player.poll() is not None, START_S, "the end of the recording")
        known = ear.diagnostics["vio"]
        ate_m = evaluate(ear.write(tmp_path / "live.tum"), recording, None)["ate_rmse_m"]
        assert stack.stop()["vio"] == 0
    assert int(known["wheel in all"]) > 200
    assert "wheel" not in known
    assert ate_m < 0.05


def test_a_frame_with_two_parents_is_named(recording: Path, tmp_path: Path) -> None:
    with Stack(tmp_path, dataset=str(recording), repeat=True) as stack, Ear(stack.domain, images=False) as ear:
        frames = Frames(ear)
        stack.start("feature_tracker", "vio", "dataset_player")
        ear.wait(lambda: len(ear.poses) > 3, START_S, "odometry")

        def named() -> bool:
            frames.publish("wheel_odom", "base_link", np.eye(4), static=False)
            time.sleep(0.05)
            return "base_link has the parents odom and wheel_odom" in ear.diagnostics.get("vio", {}).get("tf", "")

        ear.wait(named, START_S, "the conflict")
        assert stack.stop()["vio"] == 0
