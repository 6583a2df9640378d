# SPDX-License-Identifier: Apache-2.0
"""IMU messages between the executor's thread and the worker's."""

import time
from collections import deque

import numpy as np
from sensor_msgs.msg import Imu

from letvins_ros.calibration import Rig
from letvins_ros.config import Config
from letvins_ros.imu import ImuBuffer
from letvins_ros.msg import VioStatus
from letvins_ros.ros import convert
from letvins_ros.types import ImuSamples

FRESH_S = 1.0  # a bias that old is not trusted
MOST_WAITING = 20000


class ImuInbox:
    """Collects readings; for the tracker it also tells how the body turned between frames."""

    def __init__(self, config: Config, rig: Rig) -> None:
        self._offset_ns = round(rig.cameras[0].time_offset_s * 1e9)
        self._new: deque[tuple[int, float, float, float, float, float, float]] = deque(maxlen=MOST_WAITING)
        self._buffer = ImuBuffer(keep_s=3.0)
        self._bias, self._bias_at = np.zeros(3), -np.inf
        self._last_ns: int | None = None

    def add(self, message: Imu) -> None:
        """Take a message, in the executor's thread."""
        self._new.append(convert.imu_from(message))

    def add_row(self, row: tuple[int, float, float, float, float, float, float]) -> None:
        """Take what convert.imu_from gives."""
        self._new.append(row)

    def take_bias(self, message: VioStatus) -> None:
        """Learn the gyro's bias from the estimator."""
        if message.state != VioStatus.INITIALISING:
            b = message.gyro_bias
            self._bias, self._bias_at = np.array([b.x, b.y, b.z]), time.monotonic()

    def clear(self) -> None:
        """Forget all readings: time has begun anew."""
        self._buffer, self._last_ns = ImuBuffer(keep_s=3.0), None

    def drain(self) -> ImuSamples | None:
        """Take the readings that have come since the last call, or None."""
        rows = [self._new.popleft() for _ in range(len(self._new))]
        if not rows:
            return None
        values = np.array([row[1:] for row in rows])
        return ImuSamples(np.array([row[0] for row in rows], np.int64), values[:, :3], values[:, 3:])

    def turn(self, stamp_ns: int) -> tuple[np.ndarray | None, bool]:
        """R_last_now (3, 3) of the body since the last frame asked for, None without readings; whether to trust it."""
        new = self.drain()
        if new is not None:
            self._buffer.append(new)
        last, self._last_ns = self._last_ns, stamp_ns + self._offset_ns
        if last is None or not self._buffer.covers(last, self._last_ns):
            return None, False
        trusted = time.monotonic() - self._bias_at < FRESH_S
        return self._buffer.steps(last, self._last_ns).rotation(self._bias), trusted
