# SPDX-License-Identifier: Apache-2.0
import gtsam
import numpy as np
import pytest

from letvins_ros.estimation.costs.rest import (
    RESOLVED_RAD,
    REST_POSE_STD,
    REST_VELOCITY_STD,
    UNKNOWN_ROTATION_STD,
    UNKNOWN_SPEED_STD,
    expected_motion,
    no_velocity,
    same_pose,
)
from letvins_ros.estimation.frame import Frame
from letvins_ros.estimation.state import State, V, X
from letvins_ros.geometry import exp_so3, transform
from letvins_ros.simulation.imu import seconds, simulate_imu, stamps
from letvins_ros.simulation.rigs import EUROC_IMU
from letvins_ros.simulation.trajectory import SplineTrajectory, control_times

from .synthetic import ROOM, Quality, Recording, config_of, estimate, follow, posed, run, wall_points


def frame(index: int) -> Frame:
    none = np.zeros(0, np.int64), np.zeros((1, 0, 3)), np.zeros((1, 0, 2, 3)), np.zeros((1, 0), bool)
    return Frame(index, index, State(np.eye(3), np.zeros(3)), *none)


def sigmas(factor: gtsam.NonlinearFactor) -> np.ndarray:
    assert isinstance(factor, gtsam.NoiseModelFactor)
    return factor.noiseModel().sigmas()


@pytest.mark.parametrize(("depth_m", "rest_s"), [(1.0, 10.0), (20.0, 0.5), (20.0, 100.0)])
def test_a_rest_is_never_surer_than_the_images_are(depth_m: float, rest_s: float) -> None:
    resolved = RESOLVED_RAD * depth_m
    velocity, pose = sigmas(no_velocity(frame(0), depth_m, rest_s)), sigmas(same_pose(frame(0), frame(1), depth_m))
    np.testing.assert_allclose(velocity, max(REST_VELOCITY_STD, 2 * resolved / rest_s))
    np.testing.assert_allclose(pose[:3], REST_POSE_STD)
    np.testing.assert_allclose(pose[3:], max(REST_POSE_STD, resolved))
    assert isinstance(no_velocity(frame(0), depth_m, rest_s), gtsam.NonlinearFactor)


def error_of(factor: gtsam.NonlinearFactor, values: dict[int, np.ndarray]) -> float:
    at = gtsam.Values()
    for key, value in values.items():
        at.insert(key, gtsam.Pose3(value) if value.shape == (4, 4) else value)
    return factor.error(at)


def test_a_frame_at_rest_has_no_velocity() -> None:
    factor, std = no_velocity(frame(3), 1.0, 10.0), REST_VELOCITY_STD
    assert error_of(factor, {V(3): np.zeros(3)}) == 0
    assert error_of(factor, {V(3): np.array([std, -2 * std, 0])}) == pytest.approx((1 + 4) / 2)


def test_frames_of_one_rest_have_the_same_pose() -> None:
    factor = same_pose(frame(3), frame(5), 20.0)
    T = transform(exp_so3(np.array([0.5, -0.2, 0.1])), np.array([1.0, 2, 3]))
    off = transform(exp_so3(np.array([REST_POSE_STD, 0, 0])), np.array([0, 2 * 20 * RESOLVED_RAD, 0]))
    assert error_of(factor, {X(3): T, X(5): T}) == pytest.approx(0, abs=1e-20)
    assert error_of(factor, {X(3): T, X(5): T @ off}) == pytest.approx((1 + 4) / 2, rel=1e-3)


def test_a_guess_of_motion_is_as_loose_as_a_fast_car() -> None:
    a, b = frame(3), frame(5)
    a.stamp_ns, b.stamp_ns = 5_000_000_000, 5_200_000_000
    T_a_b = transform(exp_so3(np.array([0, 0.1, 0])), np.array([0.5, 0, 0.2]))
    factor = expected_motion(a, b, T_a_b)
    np.testing.assert_allclose(sigmas(factor), np.repeat([UNKNOWN_ROTATION_STD, 0.2 * UNKNOWN_SPEED_STD], 3))
    T = transform(exp_so3(np.array([0.5, -0.2, 0.1])), np.array([1.0, 2, 3]))
    assert error_of(factor, {X(3): T, X(5): T @ T_a_b}) == pytest.approx(0, abs=1e-20)
    assert error_of(factor, {X(3): T, X(5): T}) > 1e-3


def creep(seed: int, speed: float, room_scale: float) -> Recording:
    """Two seconds of rest, then ten of straight motion at a constant speed, with walls this far away."""
    rng, t = np.random.default_rng([seed, 1]), control_times(12.5)
    control = np.zeros((len(t), 6))
    control[:, 0], control[:, 2] = speed * np.maximum(t - 2.0, 0), room_scale * ROOM[2] / 2
    spline = SplineTrajectory.from_control(control, 12.5)
    at = stamps(12.0, 20.0)
    tracks = follow(wall_points(rng, 3000) * room_scale, spline.T_world_body(seconds(at)), at, Quality(), rng)
    return Recording(spline, tracks, simulate_imu(spline, EUROC_IMU, rng).samples)


@pytest.mark.parametrize(("speed", "room_scale"), [(0.03, 1.0), (0.15, 4.0), (0.0, 1.0)])
def test_slow_motion_is_not_called_standing(speed: float, room_scale: float) -> None:
    states = posed(run(creep(0, speed, room_scale), config_of("stereo_imu")))
    p = estimate(states).positions
    moved = np.linalg.norm(p[-1] - p[0])
    assert moved == pytest.approx(10 * speed, rel=0.1, abs=0.005)
