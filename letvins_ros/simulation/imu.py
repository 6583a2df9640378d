# SPDX-License-Identifier: Apache-2.0
"""What an IMU at the body's origin would read."""

from dataclasses import dataclass

import numpy as np

from letvins_ros.calibration import ImuNoise
from letvins_ros.simulation.trajectory import SplineTrajectory
from letvins_ros.types import ImuSamples

START_NS = 1_600_000_000_000_000_000  # the stamp of time 0
GRAVITY = np.array([0.0, 0.0, -9.81])  # m/s^2, world
GYRO_BIAS = 0.03  # rad/s, sigma of each axis at the start; EuRoC's device has up to 0.08
ACCEL_BIAS = 0.06  # m/s^2


@dataclass(frozen=True, eq=False)
class SimulatedImu:
    """Readings and the biases in them."""

    samples: ImuSamples
    gyro_bias: np.ndarray  # (N, 3) rad/s
    accel_bias: np.ndarray  # (N, 3) m/s^2


def stamps(duration_s: float, rate_hz: float) -> np.ndarray:
    """Stamps (N,) int64 ns from time 0 to duration_s, both included."""
    index = np.arange(int(duration_s * rate_hz + 1e-6) + 1)
    return START_NS + np.rint(index * (1e9 / rate_hz)).astype(np.int64)


def seconds(stamps_ns: np.ndarray) -> np.ndarray:
    """Times (N,) s of the trajectory at stamps (N,)."""
    return np.asarray((stamps_ns - START_NS) / 1e9)


def exact_imu(trajectory: SplineTrajectory, stamps_ns: np.ndarray) -> ImuSamples:
    """Angular velocity and specific force at the stamps, without noise or bias."""
    t = seconds(stamps_ns)
    R_world_body = trajectory.T_world_body(t)[:, :3, :3]
    accel = np.einsum("nji,nj->ni", R_world_body, trajectory.acceleration(t) - GRAVITY)
    return ImuSamples(stamps_ns, trajectory.angular_velocity(t), accel)


def simulate_imu(trajectory: SplineTrajectory, noise: ImuNoise, rng: np.random.Generator) -> SimulatedImu:
    """The exact readings plus white noise and random-walk biases of the continuous densities."""
    exact = exact_imu(trajectory, stamps(trajectory.duration_s, noise.rate_hz))
    gyro_bias = _walk(rng, len(exact), GYRO_BIAS, noise.gyro_walk / np.sqrt(noise.rate_hz))
    accel_bias = _walk(rng, len(exact), ACCEL_BIAS, noise.accel_walk / np.sqrt(noise.rate_hz))
    gyro = exact.gyro + gyro_bias + rng.normal(0, noise.gyro_noise * np.sqrt(noise.rate_hz), gyro_bias.shape)
    accel = exact.accel + accel_bias + rng.normal(0, noise.accel_noise * np.sqrt(noise.rate_hz), accel_bias.shape)
    return SimulatedImu(ImuSamples(exact.stamps_ns, gyro, accel), gyro_bias, accel_bias)


def _walk(rng: np.random.Generator, n: int, start: float, step: float) -> np.ndarray:
    """Random walk (n, 3) from a random start."""
    steps = rng.normal(0, step, (n, 3))
    steps[0] = rng.normal(0, start, 3)
    return np.cumsum(steps, axis=0)
