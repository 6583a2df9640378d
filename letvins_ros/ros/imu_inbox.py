# SPDX-License-Identifier: Apache-2.0
"""IMU messages on their way to the estimator, and to the tracker."""

import time
from collections.abc import Iterable, Sequence

import numpy as np
from sensor_msgs.msg import Imu

from letvins_ros.calibration import Rig
from letvins_ros.imu import BRIDGED_GAP_S, ImuBuffer
from letvins_ros.msg import VioStatus
from letvins_ros.repairs import Repairs
from letvins_ros.ros import convert
from letvins_ros.ros.checks import Problems, StampGate
from letvins_ros.ros.stats import Stats
from letvins_ros.types import ImuSamples

FRESH_S = 1.0  # a bias that old is not trusted
JUMP_READINGS = 40  # so many in a row make a jump of the stamps the new time
Row = tuple[int, float, float, float, float, float, float]  # as convert.imu_from gives it


def _samples(rows: Sequence[Row]) -> ImuSamples | None:
    if not rows:
        return None
    values = np.array([row[1:] for row in rows])
    return ImuSamples(np.array([row[0] for row in rows], np.int64), values[:, :3], values[:, 3:])


class ImuStream:
    """Readings for the estimator; what is wrong with their stamps and values is named."""

    def __init__(self, stats: Stats, problems: Problems) -> None:
        self._stats, self._problems = stats, problems
        self._gate = StampGate(JUMP_READINGS)
        self.at_s = 0.0  # when the newest came, by a clock that never jumps
        self.frame_id = ""  # of the messages

    def take(self, messages: Iterable[tuple[Imu, int]]) -> tuple[ImuSamples | None, bool]:
        """The good ones among messages and their times of arrival, None where there is none; whether time went back."""
        rows: list[Row] = []
        restarted = False
        for message, arrival_ns in messages:
            self.at_s = arrival_ns * 1e-9
            self.frame_id = message.header.frame_id
            self._stats.count("imu")
            row = convert.imu_from(message)
            verdict = self._gate.check(row[0], arrival_ns)
            if verdict.kind:
                self._problems.note(f"imu {verdict.kind}", verdict.problem)
            if verdict.restarted:
                rows, restarted = [], True
            if not np.isfinite(row[1:]).all():
                self._problems.note("imu values", "NaN or infinite, dropped")
            elif verdict.passes:
                rows.append(row)
        return _samples(rows), restarted


class ImuInbox:
    """Readings for the tracker: how the body turned between frames."""

    def __init__(self, rig: Rig) -> None:
        self._offset_ns = round(rig.cameras[0].time_offset_s * 1e9)
        self._buffer = ImuBuffer(keep_s=3.0)
        self._bias, self._bias_at = np.zeros(3), -np.inf
        self._last_ns: int | None = None

    def add(self, messages: Iterable[Imu], repairs: Repairs) -> ImuSamples | None:
        """Take messages; their readings, mended, None where there are none."""
        new = repairs.of_imu(_samples([convert.imu_from(message) for message in messages]))
        if new is not None:
            self._buffer.append(new)
        return new

    def take_bias(self, message: VioStatus) -> None:
        """Learn the gyro's bias from the estimator."""
        if message.state != VioStatus.INITIALISING:
            b = message.gyro_bias
            self._bias, self._bias_at = np.array([b.x, b.y, b.z]), time.monotonic()

    def clear(self) -> None:
        """Forget all readings: time has begun anew."""
        self._buffer, self._last_ns = ImuBuffer(keep_s=3.0), None

    def rotation_since_last(self, stamp_ns: int) -> tuple[np.ndarray | None, bool]:
        """R_last_now (3, 3) of the body since the last frame asked for, None where some lack; whether to trust it."""
        last, self._last_ns = self._last_ns, stamp_ns + self._offset_ns
        if last is None or not self._buffer.covers(last, self._last_ns):
            return None, False
        steps = self._buffer.steps(last, self._last_ns)
        if steps.largest_gap_s > BRIDGED_GAP_S:
            return None, False
        return steps.rotation(self._bias), time.monotonic() - self._bias_at < FRESH_S
