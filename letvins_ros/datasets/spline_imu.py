# SPDX-License-Identifier: Apache-2.0
"""Inertial readings for recordings that have none: exact derivatives of a smooth curve through the true poses."""

import numpy as np
from scipy.interpolate import make_interp_spline
from scipy.spatial.transform import Rotation, RotationSpline

from letvins_ros.calibration import ImuNoise
from letvins_ros.types import ImuSamples, Trajectory

GRAVITY = np.array([0.0, 0.0, -9.81])
MIN_POSES = 6  # a quintic spline needs as many


def imu_from_poses(
    truth: Trajectory, rate_hz: float = 200.0, noise: ImuNoise | None = None, seed: int = 0
) -> ImuSamples:
    """Readings of an IMU that is the body of these poses in a world with z up, from the first pose to the last.

    Position is a quintic spline, rotation one with continuous angular acceleration (scipy's RotationSpline). Noise,
    white and walking bias, is added where it is given. Raises ValueError for fewer than 6 poses.
    """
    if len(truth) < MIN_POSES:
        raise ValueError(f"{MIN_POSES} poses needed, got {len(truth)}")
    knots = (truth.stamps_ns - truth.stamps_ns[0]) / 1e9
    stamps_ns = np.arange(0, truth.stamps_ns[-1] - truth.stamps_ns[0] + 1, round(1e9 / rate_hz))
    times = stamps_ns / 1e9
    rotation = RotationSpline(knots, Rotation.from_quat(truth.quaternions))
    accel_world = make_interp_spline(knots, truth.positions, k=5).derivative(2)(times)
    accel = rotation(times).inv().apply(accel_world - GRAVITY)
    gyro = rotation(times, 1)
    if noise is not None:
        rng = np.random.default_rng(seed)
        gyro = gyro + _noise(rng, gyro.shape, noise.gyro_noise, noise.gyro_walk, rate_hz)
        accel = accel + _noise(rng, accel.shape, noise.accel_noise, noise.accel_walk, rate_hz)
    return ImuSamples(truth.stamps_ns[0] + stamps_ns, gyro, accel)


def _noise(rng: np.random.Generator, shape: tuple[int, ...], white: float, walk: float, rate_hz: float) -> np.ndarray:
    """White noise and a bias that walks, from continuous-time densities."""
    bias = np.cumsum(rng.normal(0, walk / np.sqrt(rate_hz), shape), axis=0)
    return np.asarray(bias + rng.normal(0, white * np.sqrt(rate_hz), shape))
