# SPDX-License-Identifier: Apache-2.0
import sys
import time
import types as modules
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from rclpy.serialization import deserialize_message, serialize_message
from std_msgs.msg import Header

from letvins_ros import types
from letvins_ros.datasets.ros_image import ImageDecoder
from letvins_ros.errors import DataError
from letvins_ros.geometry import exp_so3, log_so3, quaternion_xyzw, transform
from letvins_ros.ros import convert
from letvins_ros.ros.mount import Mount
from letvins_ros.types import FrameTracks, PlaceDescription, VioState

from ..some import some

rng = np.random.default_rng(3)
NS = 1_403_636_580_763_555_584
T = transform(exp_so3(np.array([0.3, -1.2, 2.0])), np.array([1.0, -2.0, 3.0]))


def tracks(n: int = 300) -> FrameTracks:
    uv = rng.random((2, n, 2)).astype(np.float32)
    uv[1, ::3] = np.nan
    return types.FrameTracks(NS, rng.integers(0, 2**62, n), uv, np.arange(n, dtype=np.int32))


def description(n: int) -> PlaceDescription:
    descriptors = rng.random((n + 5, 32)).astype(np.float16)
    return PlaceDescription("kp2dtiny-1", rng.random((5, 2), np.float32), descriptors, rng.random(64, np.float32))


def covariance(n: int) -> np.ndarray:
    A = rng.random((n, n))
    return A @ A.T


def state(T_odom_body: np.ndarray = T, velocity: tuple[float, float, float] = (0.5, 0.1, -0.2)) -> VioState:
    return types.VioState(
        NS, types.VioStatus.DEGRADED, "9 tracks of 10 needed", T_odom_body, np.array(velocity),
        np.array([1e-3, 2e-3, 3e-3]), np.array([0.1, 0.2, 0.3]), covariance(15), 4,
    )  # fmt: skip


def microseconds(work: Callable[[], object], repeats: int = 200) -> float:
    """The shortest time: what the work takes when nothing else has the core."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times) * 1e6


def on_the_wire(message: Any) -> Any:
    """The message as another process gets it."""
    return deserialize_message(serialize_message(message), type(message))


def assert_same(a: object, b: object, fields: Sequence[str]) -> None:
    for name in fields:
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name), err_msg=name)
        if isinstance(getattr(a, name), np.ndarray):
            assert getattr(a, name).dtype == getattr(b, name).dtype, name


@pytest.mark.parametrize("n", [0, 1, 300])
def test_tracks_come_back_as_they_were(n: int) -> None:
    before = tracks(n)
    message = convert.tracks_to_message(before, ["cam0", "cam1"], NS + 5)
    assert_same(before, convert.tracks_from(message), ("stamp_ns", "ids", "uv", "ages", "description"))
    assert message.header.frame_id == "cam0"
    assert convert.stamp_to_ns(message.received) == NS + 5


def test_tracks_of_unequal_lengths_are_refused() -> None:
    message = convert.tracks_to_message(tracks(4))
    message.ages.pop()
    with pytest.raises(ValueError, match="ages"):
        convert.tracks_from(message)


DESCRIPTION = ("describer", "more_uv", "descriptors", "place")


def test_a_description_comes_through_both_messages_as_it_was() -> None:
    seen = tracks(4)
    seen.uv[0, 1] = np.nan  # which is not described
    given = replace(seen, description=description(3))
    after = convert.tracks_from(on_the_wire(convert.tracks_to_message(given)))
    assert_same(given.description, after.description, DESCRIPTION)
    none = np.zeros((0, 4, 4)), np.eye(6), np.arange(3), np.zeros((3, 2), np.float32), np.zeros((3, 3))
    keyframe = types.Keyframe(5, NS, T, np.eye(6), *none, 0, after.description)
    assert_same(
        given.description,
        convert.keyframe_from(on_the_wire(convert.keyframe_to_message(keyframe))).description,
        DESCRIPTION,
    )


def test_a_description_of_other_features_is_refused() -> None:
    message = convert.tracks_to_message(replace(tracks(4), description=description(4)))
    message.description.descriptors = message.description.descriptors[:-1]
    with pytest.raises(ValueError, match="reshape"):
        convert.tracks_from(message)


def test_a_keyframe_comes_back_as_it_was() -> None:
    n = 7
    points = rng.random((n, 3))
    points[2] = np.nan
    uv = rng.random((n, 2)).astype(np.float32)
    before = types.Keyframe(
        5, NS, T, covariance(6), np.stack([T, np.linalg.inv(T)]), covariance(6), np.arange(n), uv, points, 2
    )
    message = convert.keyframe_to_message(before, "odom", NS)
    after = convert.keyframe_from(message)
    assert_same(
        before, after, ("index", "stamp_ns", "covariance", "motion_covariance", "ids", "uv", "points_body", "resets")
    )
    np.testing.assert_allclose(after.T_odom_body, before.T_odom_body, atol=1e-12)
    np.testing.assert_allclose(after.T_odom_before, before.T_odom_before, atol=1e-12)
    assert convert.stamp_to_ns(message.session) == NS


@pytest.mark.parametrize("kept", [12, None])
def test_a_loop_comes_back_as_it_was(kept: int | None) -> None:
    before = types.LoopClosure(NS, NS - 10, 3, kept, T, covariance(6), 45, kept is None)
    after, T_map_odom = convert.closure_from(convert.closure_to_message(before, np.linalg.inv(T)))
    assert_same(before, after, ("stamp_ns", "stamp_a_ns", "a", "b", "covariance", "inliers", "relocalised"))
    np.testing.assert_allclose(after.T_a_b, T, atol=1e-12)
    np.testing.assert_allclose(T_map_odom, np.linalg.inv(T), atol=1e-12)


def test_a_status_says_what_the_state_says() -> None:
    message = convert.status_to_message(state(), "odom", NS)
    assert (message.state, message.reason, message.resets) == (message.DEGRADED, "9 tracks of 10 needed", 4)
    assert [message.gyro_bias.y, message.accel_bias.z] == [2e-3, 0.3]


def test_imu_readings_come_back_as_they_were() -> None:
    gyro, accel = rng.random(3), rng.random(3)
    assert convert.imu_from(convert.imu_to_message(NS, gyro, accel)) == (NS, *gyro, *accel)


@pytest.mark.parametrize("shape", [(480, 752), (4, 6, 3)])
def test_images_come_back_as_they_were(shape: tuple[int, ...]) -> None:
    image = rng.integers(0, 256, shape, dtype=np.uint8)
    message = convert.image_to_message(image, Header(frame_id="cam0"))
    after = some(convert.image_from(message, ImageDecoder()))
    if image.ndim == 2:
        np.testing.assert_array_equal(after, image)
    else:
        assert (message.encoding, after.shape) == ("bgr8", shape[:2])
        assert abs(int(after[0, 0]) - image[0, 0] @ [0.114, 0.587, 0.299]) <= 1


def test_what_cannot_be_an_image_is_refused() -> None:
    message = convert.image_to_message(np.zeros((4, 4), np.uint8), Header())
    message.height = 5
    assert convert.image_from(message, ImageDecoder()) is None
    message.encoding = "rgba64planar"
    with pytest.raises(DataError, match="rgba64planar is not known; known: mono8"):
        convert.image_from(message, ImageDecoder())


@pytest.mark.parametrize("n", [0, 1, 200])
def test_clouds_come_back_as_they_were(n: int) -> None:
    points = rng.random((n, 3)).astype(np.float32)
    np.testing.assert_array_equal(convert.cloud_from(convert.cloud_to_message(points, Header())), points)


def test_poses_and_stamps_come_back() -> None:
    np.testing.assert_allclose(convert.pose_from_message(convert.pose_to_message(T)), T, atol=1e-12)
    assert convert.stamp_to_ns(convert.ns_to_stamp(NS)) == NS
    message = convert.transform_to_message(T, NS, "odom", "base_link")
    assert (message.header.frame_id, message.child_frame_id, message.transform.translation.y) == (
        "odom",
        "base_link",
        -2.0,
    )


def test_odometry_has_its_pose_covariance_about_the_axes_of_odom_and_its_twist_in_the_body() -> None:
    before = state()
    message = convert.odometry_to_message(
        before, np.array([0.1, 0.2, 0.3]), 0.01, ("odom", "base_link"), Mount(np.eye(4))
    )
    L = np.linalg.cholesky(before.covariance)
    errors = 1e-4 * (L @ rng.standard_normal((15, 20000)))
    R = T[:3, :3]
    R_wrong = R @ exp_so3(errors[3:6].T)
    about_odom = log_so3(R_wrong @ R.T)
    v_wrong = np.einsum("nji,nj->ni", R_wrong, before.velocity_odom + errors[6:9].T)
    sampled = np.cov(np.c_[errors[:3].T, about_odom].T) * 1e8
    np.testing.assert_allclose(np.reshape(message.pose.covariance, (6, 6)), sampled, rtol=0.1, atol=0.15)
    velocity = [message.twist.twist.linear.x, message.twist.twist.linear.y, message.twist.twist.linear.z]
    np.testing.assert_allclose(velocity, R.T @ before.velocity_odom)
    twist = np.reshape(message.twist.covariance, (6, 6))
    np.testing.assert_allclose(twist[:3, :3], np.cov(v_wrong.T) * 1e8, rtol=0.1, atol=0.15)
    np.testing.assert_allclose(twist[3:, 3:], before.covariance[12:, 12:] + 1e-4 * np.eye(3))


def test_conversions_take_microseconds() -> None:
    many, image = tracks(300), rng.integers(0, 256, (480, 752), dtype=np.uint8)
    message = convert.image_to_message(image, Header())
    assert microseconds(lambda: convert.tracks_from(convert.tracks_to_message(many))) < 300
    assert microseconds(lambda: convert.image_to_message(image, Header())) < 500
    assert microseconds(lambda: convert.image_from(message, ImageDecoder())) < 500


def test_a_package_of_ros_that_does_not_work_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken:
        def imgmsg_to_cv2(self, message: object, encoding: str) -> None:
            raise RuntimeError("module compiled against another numpy")

    bridge: Any = modules.ModuleType("cv_bridge")
    turning: Any = modules.ModuleType("tf_transformations")
    bridge.CvBridge = Broken
    turning.quaternion_from_matrix = lambda T: np.array([1.0, 0.0, 0.0, 0.0])  # w first
    monkeypatch.setitem(sys.modules, "cv_bridge", bridge)
    monkeypatch.setitem(sys.modules, "tf_transformations", turning)
    caches = (convert.installed, convert._cv_bridge, convert._quaternion)
    for cached in caches:
        cached.cache_clear()
    try:
        image = rng.integers(0, 256, (4, 6, 3), dtype=np.uint8)
        assert some(convert.image_from(convert.image_to_message(image, Header()), ImageDecoder())).shape == (4, 6)
        np.testing.assert_allclose(convert.pose_from_message(convert.pose_to_message(T)), T, atol=1e-12)
    finally:
        for cached in caches:
            cached.cache_clear()


def test_a_package_of_ros_that_works_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def quaternion_from_matrix(T: np.ndarray) -> np.ndarray:
        calls.append(T)
        return quaternion_xyzw(T[:3, :3])

    turning: Any = modules.ModuleType("tf_transformations")
    turning.quaternion_from_matrix = quaternion_from_matrix
    monkeypatch.setitem(sys.modules, "tf_transformations", turning)
    for cached in (convert.installed, convert._quaternion):
        cached.cache_clear()
    try:
        np.testing.assert_allclose(convert.pose_from_message(convert.pose_to_message(T)), T, atol=1e-12)
        assert len(calls) == 2  # the probe, and the pose
    finally:
        for cached in (convert.installed, convert._quaternion):
            cached.cache_clear()
