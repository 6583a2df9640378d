# SPDX-License-Identifier: Apache-2.0
"""Measured positions of a point of the body in odom, such as of motion capture, UWB or a total station."""

from dataclasses import dataclass

import numpy as np

from letvins_ros.errors import DataError
from letvins_ros.estimation.costs.linear import Cost
from letvins_ros.estimation.costs.residual import Residual, ResidualCost
from letvins_ros.estimation.frame import Frame
from letvins_ros.estimation.state import State
from letvins_ros.estimation.variables import Values
from letvins_ros.geometry import skew

CAUCHY = 4.0  # standard deviations: a reflection is further off, and pulls no more
NEAR_S = 0.15  # a fix so long before every frame is left out


@dataclass(frozen=True, eq=False)
class PositionFix:
    """Where the sensor was at a time of the IMU's clock."""

    stamp_ns: int
    p_odom: np.ndarray  # (3,) m
    std: np.ndarray  # (3,) m

    def __post_init__(self) -> None:
        if not (np.isfinite(self.p_odom).all() and (self.std > 0).all()):
            raise DataError(f"position fix at {self.stamp_ns}: must be finite, with positive standard deviations")


class Position:
    """A sensor of position on the body."""

    def __init__(self, p_body_sensor: np.ndarray) -> None:
        """p_body_sensor (3,): its lever arm, m."""
        self._lever = p_body_sensor
        self._fixes: list[PositionFix] = []

    def add(self, fix: PositionFix) -> None:
        """A fix, up to at least the next frame's time and in order; raises DataError where it is not."""
        last_ns = self._fixes[-1].stamp_ns if self._fixes else None
        if last_ns is not None and fix.stamp_ns <= last_ns:
            raise DataError(f"position fix at {fix.stamp_ns}: not later than the one before at {last_ns}")
        self._fixes.append(fix)

    def costs(self, before: Frame, frame: Frame) -> list[Cost]:
        """The fixes since the frame before; each is used once."""
        del before
        due = [fix for fix in self._fixes if fix.stamp_ns <= frame.imu_ns]
        self._fixes = self._fixes[len(due) :]
        return [self._cost(frame, fix) for fix in due if fix.stamp_ns > frame.imu_ns - NEAR_S * 1e9]

    def _cost(self, frame: Frame, fix: PositionFix) -> ResidualCost:
        key, lever, late_s = frame.key, self._lever, (fix.stamp_ns - frame.imu_ns) * 1e-9

        def residual(values: Values) -> np.ndarray:
            state = values[key]
            return np.asarray(state.p + state.v * late_s + state.R @ lever - fix.p_odom)

        def jacobian(values: Values) -> np.ndarray:
            R, J = values[key].R, np.zeros((3, State.size))
            J[:, :3], J[:, 3:6], J[:, 6:9] = -R @ skew(lever), R, late_s * np.eye(3)
            return J

        return ResidualCost((key,), Residual(residual, fix.std, jacobian), CAUCHY)
