# SPDX-License-Identifier: Apache-2.0
"""The speed that wheels measure, on its way to the estimator; needs no ROS."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from letvins_ros.estimation.costs.body_velocity import BodyVelocity, VelocityReadings
from letvins_ros.estimation.costs.linear import Cost
from letvins_ros.estimation.frame import Frame

MOST_VARIANCE = 1e3  # (m/s)^2 or (rad/s)^2: larger ones are drivers' way to say that they do not know
UNKNOWN_STD = 1e3  # m/s


class Wheels:
    """A sensor of the estimator; it measures from when its place on the IMU's body is known."""

    def __init__(self, std: float) -> None:
        """std: of a speed whose covariance the messages leave at zero, m/s."""
        self._std = std
        self._sensor: BodyVelocity | None = None
        self._T_imu_wheel = np.eye(4)
        self._last_ns = -1

    @property
    def mounted(self) -> bool:
        """Whether its place is known."""
        return self._sensor is not None

    def mount(self, T_imu_wheel: np.ndarray) -> None:
        """Set where the speed is measured and in which axes (4, 4), as seen from the IMU."""
        self._T_imu_wheel = T_imu_wheel
        self.forget()

    def unmount(self) -> None:
        """Measure nothing until its place is told anew."""
        self._sensor = None

    def forget(self) -> None:
        """Drop all readings: those that come are of another time."""
        self._sensor, self._last_ns = BodyVelocity(self._T_imu_wheel), -1

    def add(self, messages: Iterable[Any]) -> int:
        """Take nav_msgs/Odometry or geometry_msgs/TwistWithCovarianceStamped; how many were refused.

        Refused are readings that are not finite, and those no newer than the last.
        """
        rows, refused = [], 0
        for message in messages:
            stamp_ns = message.header.stamp.sec * 1_000_000_000 + message.header.stamp.nanosec
            values = self._row(message.twist)
            if stamp_ns <= self._last_ns or not np.isfinite(values[:7]).all():
                refused += 1
                continue
            self._last_ns = stamp_ns
            rows.append((stamp_ns, values))
        if rows and self._sensor is not None:
            table = np.array([values for _, values in rows])
            stamps = np.array([stamp for stamp, _ in rows], np.int64)
            self._sensor.add(VelocityReadings(stamps, table[:, :3], table[:, 3:6], table[:, 6], table[:, 7]))
        return refused

    def _row(self, twist: Any) -> np.ndarray:
        """(8,): velocity, its standard deviation, yaw rate and its own, NaN where the message does not know it."""
        v, variance = twist.twist.linear, np.diag(np.asarray(twist.covariance, float).reshape(6, 6))
        std = np.where(variance > 0, np.sqrt(np.abs(variance)), self._std)
        std = np.where(variance > MOST_VARIANCE, UNKNOWN_STD, std)
        yaw_std = std[5] if 0 < variance[5] <= MOST_VARIANCE else np.nan
        return np.array([v.x, v.y, v.z, *std[:3], twist.twist.angular.z, yaw_std])

    def costs(self, before: Frame, frame: Frame) -> list[Cost]:
        """See Sensor."""
        return [] if self._sensor is None else self._sensor.costs(before, frame)
