# SPDX-License-Identifier: Apache-2.0
"""Covariances: their order for the outside, and their growth while only the IMU speaks."""

import numpy as np

from letvins_ros.calibration import ImuNoise
from letvins_ros.estimation.state import STATE_SIZE as N
from letvins_ros.geometry import adjoint, inverse, skew
from letvins_ros.imu import ImuSteps

POSITION, ROTATION, VELOCITY, ACCEL_BIAS, GYRO_BIAS = (slice(3 * i, 3 * i + 3) for i in range(5))  # as in VioState


def in_output_order(P: np.ndarray, R_odom_body: np.ndarray) -> np.ndarray:
    """From GTSAM's order (rotation, position, both in the body) to VioState's (position in odom, rotation)."""
    swap = np.eye(N)
    swap[:6, :6] = 0
    swap[POSITION, 3:6], swap[ROTATION, :3] = R_odom_body, np.eye(3)
    return np.asarray(swap @ P @ swap.T)


def motion_covariance(P: np.ndarray, T_a_b: np.ndarray) -> np.ndarray:
    """Covariance (6, 6) of T_a_b, position then rotation in b's body, from the joint one of a and b.

    P (12, 12): GTSAM's order, rotation and position of a, then of b, each in its own body.
    """
    J = np.concatenate([-adjoint(inverse(T_a_b)), np.eye(6)], 1)
    J = np.roll(J, 3, axis=0)  # position first
    return np.asarray(J @ P @ J.T)


def propagated(
    P: np.ndarray, R_odom_body: np.ndarray, steps: ImuSteps, noise: ImuNoise, accel_bias: np.ndarray
) -> np.ndarray:
    """VioState's covariance (15, 15) after IMU steps, with the attitude taken as constant (steps of one frame)."""
    dt = steps.duration_s
    if dt <= 0:
        return P
    force = (steps.accel * steps.dt_s[:, None]).sum(0) / dt - accel_bias
    turn = (steps.gyro * steps.dt_s[:, None]).sum(0)
    A = np.zeros((N, N))
    A[POSITION, VELOCITY] = np.eye(3)
    A[VELOCITY, ROTATION] = -R_odom_body @ skew(force)
    A[VELOCITY, ACCEL_BIAS] = -R_odom_body
    A[ROTATION, GYRO_BIAS] = -np.eye(3)
    A[ROTATION, ROTATION] = -skew(turn) / dt
    F = np.eye(N) + A * dt + A @ A * (dt**2 / 2)
    half = np.eye(N) + A * (dt / 2)  # the noise comes in, on average, half way
    Q = np.zeros((N, N))
    for part, density in (
        (ROTATION, noise.gyro_noise),
        (VELOCITY, noise.accel_noise),
        (ACCEL_BIAS, noise.accel_walk),
        (GYRO_BIAS, noise.gyro_walk),
    ):
        Q[part, part] = np.eye(3) * density**2 * dt
    return np.asarray(F @ P @ F.T + half @ Q @ half.T)
