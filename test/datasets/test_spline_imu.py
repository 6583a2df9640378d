# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from letvins_ros import geometry
from letvins_ros.calibration import ImuNoise
from letvins_ros.datasets.spline_imu import imu_from_poses
from letvins_ros.types import Trajectory

NOISE = ImuNoise(gyro_noise=1e-3, accel_noise=1e-2, gyro_walk=1e-4, accel_walk=1e-3)


def poses(n: int = 100, rate_hz: float = 10.0) -> Trajectory:
    """Sways along each axis while turning about a fixed one."""
    t = np.arange(n) / rate_hz
    R = geometry.exp_so3(np.outer(0.3 * np.sin(t), [0.6, 0.0, 0.8]))
    position = np.stack([np.sin(t), np.cos(0.7 * t), 0.5 * np.sin(0.4 * t)], axis=1)
    return Trajectory(np.round(1e18 + t * 1e9).astype(np.int64), position, geometry.quaternion_xyzw(R))


def test_readings_are_the_derivatives_of_the_motion() -> None:
    imu = imu_from_poses(poses())
    t = (imu.stamps_ns - 1e18) / 1e9
    inner = (t > 0.5) & (t < t[-1] - 0.5)
    R = geometry.exp_so3(np.outer(0.3 * np.sin(t), [0.6, 0.0, 0.8]))
    accel_world = np.stack([-np.sin(t), -0.49 * np.cos(0.7 * t), 9.81 - 0.08 * np.sin(0.4 * t)], axis=1)
    accel = np.einsum("nji,nj->ni", R, accel_world)
    assert np.abs(imu.accel - accel)[inner].max() < 1e-4
    assert np.abs(imu.gyro - np.outer(0.3 * np.cos(t), [0.6, 0.0, 0.8]))[inner].max() < 1e-4


def test_readings_span_the_poses_at_the_rate() -> None:
    truth = poses()
    imu = imu_from_poses(truth, 250.0)
    assert imu.stamps_ns[0] == truth.stamps_ns[0]
    assert imu.stamps_ns[-1] == truth.stamps_ns[-1]
    assert set(np.diff(imu.stamps_ns)) == {4_000_000}


def test_at_rest_the_imu_feels_gravity_alone() -> None:
    still = Trajectory(np.arange(10) * 100_000_000, np.ones((10, 3)), np.tile([0.0, 0, 0, 1], (10, 1)))
    imu = imu_from_poses(still)
    assert np.allclose(imu.accel, [0, 0, 9.81])
    assert np.allclose(imu.gyro, 0)


def test_noise_has_the_density_that_was_asked_for_and_follows_the_seed() -> None:
    truth = poses(2000)
    clean, a, b, c = imu_from_poses(truth), *(imu_from_poses(truth, noise=NOISE, seed=s) for s in (1, 1, 2))
    assert np.array_equal(a.gyro, b.gyro)
    assert not np.array_equal(a.gyro, c.gyro)
    white = np.diff(a.accel - clean.accel, axis=0).std() / np.sqrt(2)
    assert white == pytest.approx(NOISE.accel_noise * np.sqrt(200), rel=0.05)


def test_too_few_poses_are_refused() -> None:
    with pytest.raises(ValueError, match="6 poses needed, got 5"):
        imu_from_poses(poses(5))
