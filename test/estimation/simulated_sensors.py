# SPDX-License-Identifier: Apache-2.0
"""What other sensors on the body would read: velocity of wheels, and position."""

import numpy as np

from letvins_ros.geometry import apply
from letvins_ros.simulation.imu import seconds, stamps
from letvins_ros.simulation.trajectory import SplineTrajectory


def exact_velocity(trajectory: SplineTrajectory, T_body_sensor: np.ndarray, stamps_ns: np.ndarray) -> np.ndarray:
    """Velocity (N, 3) m/s of the sensor's origin in its own axes, and its angular rate (N, 3) rad/s, side by side."""
    t = seconds(stamps_ns)
    R_world_body = trajectory.T_world_body(t)[:, :3, :3]
    rate = trajectory.angular_velocity(t)
    v_body = np.einsum("nji,nj->ni", R_world_body, trajectory.velocity(t)) + np.cross(rate, T_body_sensor[:3, 3])
    return np.concatenate([v_body, rate], 1) @ np.kron(np.eye(2), T_body_sensor[:3, :3])


def simulate_velocity(
    trajectory: SplineTrajectory, T_body_sensor: np.ndarray, rate_hz: float, std: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Stamps (N,), and readings (N, 6) as of `exact_velocity` with white noise of std (6,)."""
    at = stamps(trajectory.duration_s, rate_hz)
    exact = exact_velocity(trajectory, T_body_sensor, at)
    return at, exact + rng.normal(0, std, exact.shape)


def simulate_position(
    trajectory: SplineTrajectory, p_body_sensor: np.ndarray, rate_hz: float, std_m: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Stamps (N,), and positions (N, 3) m of the sensor in the world with white noise."""
    at = stamps(trajectory.duration_s, rate_hz)
    exact = apply(trajectory.T_world_body(seconds(at)), p_body_sensor[None])[:, 0]
    return at, exact + rng.normal(0, std_m, exact.shape)
