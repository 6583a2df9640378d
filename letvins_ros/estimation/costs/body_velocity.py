# SPDX-License-Identifier: Apache-2.0
"""Measured velocity of a point of the body, such as of wheels or a Doppler log, as displacement between two frames.

Readings are turned into the body of the first frame by the gyro and summed up, as the IMU's are (Forster 2017), so that
every reading counts whatever the rate: r = R_a^T (p_b + R_b l - p_a) - l - sum R_a_t v_t dt, with l the lever arm,
in the sensor's axes.
"""

from dataclasses import dataclass

import numpy as np

from letvins_ros.errors import DataError
from letvins_ros.estimation.costs.linear import Cost
from letvins_ros.estimation.costs.residual import Residual, ResidualCost
from letvins_ros.estimation.frame import Frame
from letvins_ros.estimation.state import State
from letvins_ros.estimation.variables import Values
from letvins_ros.geometry import exp_so3, log_so3, skew
from letvins_ros.imu import ImuSteps

CAUCHY = 3.0  # standard deviations: a wheel that slips is further off, and pulls no more
HELD_S = 0.1  # readings are held so long before the first and beyond the last one
MAX_GAP_S = 0.25  # between readings; where one is missing longer there is no cost
KEEP_S = 20.0
NO_STEPS = ImuSteps(np.zeros(0), np.zeros((0, 3)), np.zeros((0, 3)))


@dataclass(frozen=True, eq=False)
class VelocityReadings:
    """Velocities of a sensor in its own axes, at times of the IMU's clock."""

    stamps_ns: np.ndarray  # (N,) int64, strictly increasing
    linear: np.ndarray  # (N, 3) m/s
    linear_std: np.ndarray  # (N, 3) m/s of one reading
    yaw_rate: np.ndarray | None = None  # (N,) rad/s about the sensor's z
    yaw_rate_std: np.ndarray | None = None  # (N,) rad/s

    def __post_init__(self) -> None:
        n = len(self.stamps_ns)
        if self.linear.shape != (n, 3) or self.linear_std.shape != (n, 3):
            shapes = f"{self.linear.shape}, {self.linear_std.shape}"
            raise ValueError(f"linear and linear_std must be ({n}, 3), got {shapes}")
        if (np.diff(self.stamps_ns) <= 0).any():
            raise DataError("velocity readings: stamps must increase")
        if not (np.isfinite(self.linear).all() and (self.linear_std > 0).all()):
            raise DataError("velocity readings: values must be finite and their standard deviations positive")

    def rows(self) -> np.ndarray:
        """(N, 8): velocity, its standard deviation, yaw rate and its standard deviation, NaN where there is none."""
        none = np.full(len(self.stamps_ns), np.nan)
        yaw = none if self.yaw_rate is None else self.yaw_rate
        yaw_std = none if self.yaw_rate_std is None else self.yaw_rate_std
        return np.concatenate([self.linear, self.linear_std, yaw[:, None], yaw_std[:, None]], 1)


class BodyVelocity:
    """A sensor of velocity on the body."""

    def __init__(self, T_body_sensor: np.ndarray) -> None:
        """T_body_sensor (4, 4): where it measures, and in which axes."""
        self._R, self._lever = T_body_sensor[:3, :3], T_body_sensor[:3, 3]
        self._stamps, self._rows = np.zeros(0, np.int64), np.zeros((0, 8))

    def add(self, readings: VelocityReadings) -> None:
        """Readings up to at least the next frame's time; those not newer than the last one are left out."""
        floor = self._stamps[-1] if len(self._stamps) else np.iinfo(np.int64).min
        new = readings.stamps_ns > floor
        stamps = np.concatenate([self._stamps, readings.stamps_ns[new]])
        rows = np.concatenate([self._rows, readings.rows()[new]])
        start = np.searchsorted(stamps, stamps[-1] - round(KEEP_S * 1e9)) if len(stamps) else 0
        self._stamps, self._rows = stamps[start:], rows[start:]

    def costs(self, before: Frame, frame: Frame) -> list[Cost]:
        """The displacement between two frames, and the rotation where the yaw rate is measured."""
        steps, near = frame.steps, self._between(before.imu_ns, frame.imu_ns)
        if steps is None or not len(steps.dt_s) or near is None:
            return []
        middle_s = np.cumsum(steps.dt_s) - steps.dt_s / 2
        known_s = (self._stamps[near] - before.imu_ns) * 1e-9
        rows = np.stack([np.interp(middle_s, known_s, column) for column in self._rows[near].T], 1)
        period_s = float(np.median(np.diff(known_s))) if len(known_s) > 1 else steps.duration_s
        out: list[Cost] = [self._displacement(before, frame, rows, period_s)]
        if np.isfinite(rows[:, 6:]).all():
            out.append(self._yaw(before, frame, rows[:, 6:], period_s))
        return out

    def _between(self, start_ns: int, end_ns: int) -> slice | None:
        """The readings between two times; None where they do not cover them."""
        held = round(HELD_S * 1e9)
        near = slice(*np.searchsorted(self._stamps, [start_ns - held, end_ns + held]).tolist())
        stamps = self._stamps[near]
        if not len(stamps) or stamps[0] > start_ns + held or stamps[-1] < end_ns - held:
            return None
        return near if np.diff(stamps).max(initial=0) <= MAX_GAP_S * 1e9 else None

    def _displacement(self, before: Frame, frame: Frame, rows: np.ndarray, period_s: float) -> ResidualCost:
        a, b = before.key, frame.key
        steps, lever, axes = frame.steps or NO_STEPS, self._lever, self._R.T
        bias = before.state.gyro_bias
        measured, by_bias = _summed(steps, rows[:, :3] @ axes, bias)

        def residual(values: Values) -> np.ndarray:
            A, B = values[a], values[b]
            moved = A.R.T @ (B.p + B.R @ lever - A.p) - lever
            return np.asarray(axes @ (moved - measured - by_bias @ (A.gyro_bias - bias)))

        def jacobian(values: Values) -> np.ndarray:
            A, B = values[a], values[b]
            R_a_b, J = A.R.T @ B.R, np.zeros((3, 2 * State.size))
            J[:, :3] = skew(A.R.T @ (B.p + B.R @ lever - A.p))
            J[:, 3:6] = -np.eye(3)
            J[:, 12:15] = -by_bias
            J[:, 15:18] = -R_a_b @ skew(lever)
            J[:, 18:21] = R_a_b
            return np.asarray(axes @ J)

        # readings are independent, and each stands for one period
        variance = (rows[:, 3:6] ** 2 * steps.dt_s[:, None]).sum(0) * period_s
        return ResidualCost((a, b), Residual(residual, np.sqrt(variance), jacobian), CAUCHY)

    def _yaw(self, before: Frame, frame: Frame, yaw: np.ndarray, period_s: float) -> ResidualCost:
        """The rotation about the sensor's z."""
        a, b = before.key, frame.key
        dt_s = (frame.steps or NO_STEPS).dt_s
        axis, angle = self._R[:, 2], float(yaw[:, 0] @ dt_s)
        std = np.sqrt((yaw[:, 1] ** 2 * dt_s).sum() * period_s)

        def residual(values: Values) -> np.ndarray:
            return np.array([axis @ log_so3(values[a].R.T @ values[b].R) - angle])

        return ResidualCost((a, b), Residual(residual, np.array([std])), CAUCHY)


def _summed(steps: ImuSteps, v_body: np.ndarray, gyro_bias: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Displacement (3,) m in the body of the start, and its derivative (3, 3) by the gyro's bias; v_body (M, 3) m/s."""
    rates = (steps.gyro - gyro_bias) * steps.dt_s[:, None]
    turns, halves = exp_so3(rates), exp_so3(rates / 2)
    R, t, moved, by_bias = np.eye(3), 0.0, np.zeros(3), np.zeros((3, 3))
    for dt, turn, half, v in zip(steps.dt_s, turns, halves, v_body, strict=True):
        R_middle = R @ half
        moved += R_middle @ v * dt
        by_bias += R_middle @ skew(v) * ((t + dt / 2) * dt)  # R(t) with a bias db more is about R(t) Exp(-db t)
        R, t = R @ turn, t + dt
    return moved, by_bias
