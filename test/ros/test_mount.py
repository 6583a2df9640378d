# SPDX-License-Identifier: Apache-2.0
"""The base where the robot has it: poses, velocities and covariances against finite differences."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from letvins_ros.config import RosConfig
from letvins_ros.config_io import load_config
from letvins_ros.errors import ConfigError
from letvins_ros.geometry import exp_so3, from_quaternion, inverse, log_so3, pose_from_text, transform
from letvins_ros.ros.frames import CURRENT_S, FrameTree, apart
from letvins_ros.ros.mount import Mount, facing
from letvins_ros.types import VioState, VioStatus

from ..some import some

rng = np.random.default_rng(4)
TURNED = Mount(from_quaternion(np.array([0.5, -0.1, 0.2]), np.array([0.0, 0.0, np.sqrt(0.5), np.sqrt(0.5)])))
ANY = Mount(transform(exp_so3(rng.standard_normal(3)), rng.standard_normal(3)))
MOUNTS = [Mount(np.eye(4)), TURNED, ANY]
RATE = np.array([0.3, -0.7, 1.1])
V_ODOM = np.array([1.2, -0.4, 0.3])
T_ODOM_IMU = transform(exp_so3(np.array([0.4, -0.3, 2.0])), np.array([3.0, -1.0, 0.5]))


def state(T: np.ndarray = T_ODOM_IMU, v: np.ndarray = V_ODOM, covariance: np.ndarray | None = None) -> VioState:
    P = np.eye(15) if covariance is None else covariance
    return VioState(0, VioStatus.TRACKING, "", T, v, np.zeros(3), np.zeros(3), P)


def random_covariance() -> np.ndarray:
    A = rng.standard_normal((15, 15))
    return A @ A.T / 100


@pytest.mark.parametrize("mount", MOUNTS)
def test_the_bases_twist_is_the_change_of_its_pose(mount: Mount) -> None:
    def T_odom_base(t: float) -> np.ndarray:
        R = T_ODOM_IMU[:3, :3] @ exp_so3(RATE * t)
        return mount.pose(transform(R, T_ODOM_IMU[:3, 3] + V_ODOM * t))

    h = 1e-6
    moved = inverse(T_odom_base(-h)) @ T_odom_base(h)
    found = mount.twist(state(), RATE)
    np.testing.assert_allclose(found[3:], log_so3(moved[:3, :3]) / (2 * h), atol=1e-6)
    velocity_odom = (T_odom_base(h)[:3, 3] - T_odom_base(-h)[:3, 3]) / (2 * h)
    np.testing.assert_allclose(found[:3], T_odom_base(0)[:3, :3].T @ velocity_odom, atol=1e-6)


def with_error(error: np.ndarray, noise: np.ndarray) -> tuple[VioState, np.ndarray]:
    """State and rate that are wrong by an error (15,) of the state and noise (3,) of the gyro."""
    T = transform(T_ODOM_IMU[:3, :3] @ exp_so3(error[3:6]), T_ODOM_IMU[:3, 3] + error[:3])
    return state(T, V_ODOM + error[6:9]), RATE - error[12:] + noise


def numeric_jacobian(of: Callable[[np.ndarray], np.ndarray], size: int, h: float = 1e-6) -> np.ndarray:
    return np.column_stack([(of(e * h) - of(-e * h)) / (2 * h) for e in np.eye(size)])


@pytest.mark.parametrize("mount", MOUNTS)
def test_the_bases_pose_covariance_is_that_of_small_errors(mount: Mount) -> None:
    P = random_covariance()
    T = mount.pose(T_ODOM_IMU)

    def wrong(error: np.ndarray) -> np.ndarray:
        T_wrong = mount.pose(with_error(error, np.zeros(3))[0].T_odom_body)
        return np.concatenate([T_wrong[:3, 3] - T[:3, 3], log_so3(T_wrong[:3, :3] @ T[:3, :3].T)])

    J = numeric_jacobian(wrong, 15)
    np.testing.assert_allclose(mount.pose_covariance(state(covariance=P)), J @ P @ J.T, atol=1e-7)


@pytest.mark.parametrize("mount", MOUNTS)
def test_the_bases_twist_covariance_is_that_of_small_errors(mount: Mount) -> None:
    P, std = random_covariance(), 0.02
    J = numeric_jacobian(lambda e: mount.twist(*with_error(e, np.zeros(3))), 15)
    G = numeric_jacobian(lambda e: mount.twist(*with_error(np.zeros(15), e)), 3)
    expected = J @ P @ J.T + G @ G.T * std**2
    np.testing.assert_allclose(mount.twist_covariance(state(covariance=P), std), expected, atol=1e-7)


def test_eurocs_base_looks_ahead_with_z_up(root: Path) -> None:
    camera = some(load_config(root / "config" / "euroc" / "stereo_imu.yaml").rig).cameras[0]
    R = facing(camera.T_body_cam).T_base_imu[:3, :3]
    np.testing.assert_array_equal(R, [[0, 0, 1], [0, -1, 0], [1, 0, 0]])  # the camera looks along z, x is up
    np.testing.assert_allclose(R @ camera.T_body_cam[:3, 2], [1, 0, 0], atol=0.03)


def test_a_body_with_the_axes_of_its_camera_is_turned_and_one_with_those_of_the_robot_is_kept() -> None:
    R_base_cam = np.array([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]])
    np.testing.assert_array_equal(facing(np.eye(4)).T_base_imu[:3, :3], R_base_cam)
    np.testing.assert_array_equal(facing(transform(R_base_cam, np.zeros(3))).T_base_imu, np.eye(4))
    slightly = transform(exp_so3(np.array([0.2, -0.3, 0.1])) @ R_base_cam, np.ones(3))
    np.testing.assert_array_equal(facing(slightly).T_base_imu, np.eye(4))


@pytest.mark.parametrize("text", ["1 2 3", "0 0 0 0 0 0 0", "a b c d e f g", "0 0 0 0 0 0 nan", "1 2 3 0 0 0 1 1"])
def test_a_mount_that_is_none_is_named(text: str) -> None:
    with pytest.raises(ConfigError, match=r"ros\.T_base_imu: "):
        RosConfig(T_base_imu=text)


def test_a_pose_is_read_from_text() -> None:
    np.testing.assert_allclose(pose_from_text("0.5, -0.1, 0.2, 0, 0, 1, 1"), TURNED.T_base_imu, atol=1e-12)
    assert RosConfig(T_base_imu="0 0 0 0 0 0 1")


def pose(i: int) -> np.ndarray:
    return transform(exp_so3(np.full(3, 0.1 * i)), np.array([i, 0.0, 0.0]))


def test_static_transforms_are_joined_both_ways() -> None:
    tree = FrameTree()
    tree.add("base_link", "mast", pose(1), static=True)
    tree.add("/mast", "imu", pose(2), static=True)
    tree.add("mast", "cam0", pose(3), static=True)
    np.testing.assert_allclose(some(tree.static("base_link", "imu")), pose(1) @ pose(2))
    np.testing.assert_allclose(some(tree.static("imu", "cam0")), inverse(pose(2)) @ pose(3))
    assert tree.static("base_link", "wheel") is None
    np.testing.assert_array_equal(tree.static("imu", "imu"), np.eye(4))


def test_a_frame_with_two_parents_is_named_while_both_are_heard() -> None:
    now = [0.0]
    tree = FrameTree(lambda: now[0])
    tree.add("odom", "base_link", pose(1), static=False)
    tree.add("base_link", "imu", pose(1), static=True)
    assert tree.conflicts() == []
    tree.add("wheel_odom", "base_link", pose(2), static=False)
    assert tree.conflicts() == ["base_link has the parents odom and wheel_odom, tf allows one"]
    now[0] += CURRENT_S
    tree.add("odom", "base_link", pose(1), static=False)
    assert tree.conflicts() == []
    assert tree.parents("imu") == ["base_link"]


def test_how_far_two_mounts_are_apart() -> None:
    metres, degrees = apart(np.eye(4), transform(exp_so3(np.array([0, 0, 0.1])), np.array([0.3, 0, 0.4])))
    assert (metres, degrees) == pytest.approx((0.5, np.degrees(0.1)))
