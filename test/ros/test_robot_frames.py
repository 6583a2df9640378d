# SPDX-License-Identifier: Apache-2.0
"""Where the mount of the IMU is taken from and which frames are added, with a stand-in for the node."""

import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from tf2_msgs.msg import TFMessage

from letvins_ros.config import Config, RosConfig
from letvins_ros.geometry import exp_so3, inverse, pose_from_text, transform
from letvins_ros.ros import convert, robot
from letvins_ros.ros.checks import Problems
from letvins_ros.ros.mount import facing
from letvins_ros.ros.robot import RobotFrames
from letvins_ros.simulation.rigs import EUROC_RIG

T_BASE_IMU = pose_from_text("0.5 0.1 0.2 0 0 0 1")
CAMERAS = ("cam0", "cam1")


class StandIn:
    """A node that notes what is published, and hears what a test says."""

    def __init__(self, **ros: Any) -> None:
        self.made_at = time.monotonic()
        self.config = Config(ros=RosConfig(**ros))
        self.problems, self.told = Problems(self.told_problem), list[str]()
        self.heard: dict[str, list[Any]] = {"/tf": [], "/tf_static": []}
        self.sent, self.publishers, self.ns = list[Any](), 1, 0

    def told_problem(self, text: str) -> None:
        self.told.append(text)

    def advertise(self, kind: object, topic: str, quality: object) -> SimpleNamespace:
        return SimpleNamespace(publish=self.sent.append)

    def poll(self, kind: object, topic: str, quality: object) -> Callable[[], list[tuple[Any, int]]]:
        def take() -> list[tuple[Any, int]]:
            heard, self.heard[topic] = self.heard[topic], []
            return [(message, 0) for message in heard]

        return take

    def say(self, parent: str, child: str, T: np.ndarray, topic: str = "/tf_static") -> None:
        self.heard[topic].append(TFMessage(transforms=[convert.transform_to_message(T, 1, parent, child)]))

    def count_publishers(self, topic: str) -> int:
        return self.publishers

    def get_logger(self) -> SimpleNamespace:
        return SimpleNamespace(info=self.told.append)

    def get_clock(self) -> SimpleNamespace:
        return SimpleNamespace(now=lambda: SimpleNamespace(nanoseconds=7))


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def started(made_s: float = 0.0, **ros: Any) -> tuple[Any, Any]:
    node: Any = StandIn(**ros)
    node.made_at -= made_s
    frames = RobotFrames(node, EUROC_RIG)
    frames.listen()
    return node, frames


def children(node: Any) -> set[str]:
    return {T.child_frame_id for message in node.sent for T in message.transforms}


def test_the_mount_of_the_configuration_goes_before_that_of_tf(clock: list[float]) -> None:
    node, frames = started(T_base_imu="0.5 0.1 0.2 0 0 0 1")
    node.say("base_link", "imu", transform(np.eye(3), np.array([3.0, 0, 0])))
    frames.look("imu", CAMERAS)
    np.testing.assert_allclose(frames.mount.T_base_imu, T_BASE_IMU)
    assert any("by the configuration" in text for text in node.told)
    assert any("imu is 2.510 m and 0.0 degrees from where the calibration has it" in text for text in node.told)
    assert children(node) == {"cam0", "cam1"}  # the IMU has a parent already


@pytest.mark.parametrize(
    ("publishers", "made_s", "patience_s"), [(1, 0, robot.ALONE_S), (1, 0.4, robot.ALONE_S - 0.4), (2, 9, robot.WAIT_S)]
)
def test_without_any_the_robots_axes_are_taken_after_a_while(
    publishers: int, made_s: float, patience_s: float, clock: list[float]
) -> None:
    """Alone, counted from when the node was made; else from when it listens."""
    node, frames = started(made_s)
    node.publishers = publishers
    frames.look("imu", CAMERAS)
    clock[0] += patience_s - 0.01
    frames.look("imu", CAMERAS)
    assert (frames.mount, node.sent) == (None, [])
    assert frames.T_imu("wheel") is None
    clock[0] += 0.02
    frames.look("imu", CAMERAS)
    np.testing.assert_array_equal(frames.mount.T_base_imu, facing(EUROC_RIG.cameras[0].T_body_cam).T_base_imu)
    assert children(node) == {"imu", "cam0", "cam1"}


def test_the_mount_of_tf_is_joined_over_other_frames_and_counts_from_when_it_comes(clock: list[float]) -> None:
    node, frames = started()
    node.publishers = 2
    frames.look("imu", CAMERAS)
    half = transform(exp_so3(np.array([0, 0, 0.3])), np.array([0.1, 0, 0]))
    node.say("base_link", "mast", half)
    node.say("mast", "imu", inverse(half) @ T_BASE_IMU)
    frames.look("imu", CAMERAS)
    np.testing.assert_allclose(frames.mount.T_base_imu, T_BASE_IMU, atol=1e-12)
    T_imu_mast = frames.T_imu("mast")
    np.testing.assert_allclose(T_BASE_IMU @ T_imu_mast, half, atol=1e-12)


def test_nothing_is_assumed_before_a_sensor_is_heard(clock: list[float]) -> None:
    node, frames = started()
    node.publishers = 2
    for _ in range(10):
        frames.look("", ())
        clock[0] += robot.WAIT_S
    frames.look("imu", ())
    assert (frames.mount, node.sent) == (None, [])
    node.say("base_link", "imu", T_BASE_IMU)
    frames.look("imu", ())
    np.testing.assert_allclose(frames.mount.T_base_imu, T_BASE_IMU)


def test_an_assumed_mount_gives_way_to_that_of_tf(clock: list[float]) -> None:
    node, frames = started()
    clock[0] += robot.ALONE_S + 0.01
    frames.look("imu", CAMERAS)
    assert frames.is_assumed
    node.heard["/tf_static"] += node.sent  # a node hears itself, and does not believe that
    clock[0] += robot.LOOK_S
    frames.look("imu", CAMERAS)
    assert frames.is_assumed
    node.say("base_link", "mast", T_BASE_IMU)
    node.say("mast", "imu", np.eye(4))
    clock[0] += robot.LOOK_S
    frames.look("imu", CAMERAS)
    assert not frames.is_assumed
    np.testing.assert_allclose(frames.mount.T_base_imu, T_BASE_IMU)
    sent = {T.child_frame_id: convert.transform_from_message(T.transform) for T in node.sent[-1].transforms}
    assert set(sent) == {"imu", *CAMERAS}
    np.testing.assert_allclose(sent["imu"], T_BASE_IMU, atol=1e-12)  # others may still hold the assumed one
    np.testing.assert_allclose(sent["cam0"], T_BASE_IMU @ EUROC_RIG.cameras[0].T_body_cam, atol=1e-12)
    clock[0] += robot.LOOK_S
    frames.look("imu", CAMERAS)
    assert len(node.sent) == 2
    assert not any("parents" in text for text in node.told)


def test_what_is_published_is_published_once_and_with_what_came_later(clock: list[float]) -> None:
    node, frames = started(T_base_imu="0.5 0.1 0.2 0 0 0 1")
    frames.look("imu", ())
    assert children(node) == {"imu"}
    clock[0] += robot.LOOK_S
    frames.look("imu", ())
    assert len(node.sent) == 1
    clock[0] += robot.LOOK_S
    frames.look("imu", CAMERAS)  # their first messages have come
    assert [T.child_frame_id for T in node.sent[-1].transforms] == ["imu", "cam0", "cam1"]  # a latched topic keeps one
    T = convert.transform_from_message(node.sent[-1].transforms[1].transform)
    np.testing.assert_allclose(T, T_BASE_IMU @ EUROC_RIG.cameras[0].T_body_cam, atol=1e-12)


def test_a_sensor_in_the_bases_frame_or_without_a_name_gets_no_frame(clock: list[float]) -> None:
    node, frames = started(T_base_imu="0.5 0.1 0.2 0 0 0 1")
    frames.look("base_link", ("", "cam1"))
    assert children(node) == {"cam1"}


def test_static_frames_can_be_switched_off(clock: list[float]) -> None:
    node, frames = started(T_base_imu="0.5 0.1 0.2 0 0 0 1", publish_static_tf=False)
    frames.look("imu", CAMERAS)
    assert frames.mount is not None and not node.sent


def test_a_transform_that_is_none_is_named_and_left_out(clock: list[float]) -> None:
    node, frames = started()
    node.publishers = 2
    bad = convert.transform_to_message(np.eye(4), 1, "base_link", "imu")
    bad.transform.translation.x = float("nan")
    node.heard["/tf_static"].append(TFMessage(transforms=[bad]))
    frames.look("imu", CAMERAS)
    assert frames.mount is None
    assert any(text.startswith("tf: base_link -> imu: ") for text in node.told)


def test_a_frame_with_two_parents_is_named_by_the_node(clock: list[float]) -> None:
    node, frames = started(T_base_imu="0.5 0.1 0.2 0 0 0 1")
    node.say("odom", "base_link", np.eye(4), "/tf")
    node.say("wheel_odom", "base_link", np.eye(4), "/tf")
    frames.look("imu", CAMERAS)
    assert "tf: base_link has the parents odom and wheel_odom, tf allows one" in node.told
