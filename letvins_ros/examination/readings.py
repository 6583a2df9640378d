# SPDX-License-Identifier: Apache-2.0
"""The IMU's readings of the last seconds, as they came."""

from collections import deque

import numpy as np

from letvins_ros.types import ImuSamples

KEPT_S = 20.0


class Readings:
    """Readings of the last seconds."""

    def __init__(self) -> None:
        self._chunks: deque[ImuSamples] = deque()

    def add(self, samples: ImuSamples) -> None:
        """Append readings; those that are not newer than the last one, or not finite, are left out."""
        last = self._chunks[-1].stamps_ns[-1] if self._chunks else np.iinfo(np.int64).min
        before = np.maximum.accumulate(np.r_[last, samples.stamps_ns])[:-1]
        good = (samples.stamps_ns > before) & np.isfinite(samples.gyro).all(1) & np.isfinite(samples.accel).all(1)
        if not good.any():
            return
        if not good.all():
            samples = ImuSamples(samples.stamps_ns[good], samples.gyro[good], samples.accel[good])
        self._chunks.append(samples)
        oldest = self._chunks[-1].stamps_ns[-1] - int(KEPT_S * 1e9)
        while self._chunks[0].stamps_ns[-1] < oldest:
            self._chunks.popleft()

    @property
    def last_ns(self) -> int | None:
        """Stamp of the newest reading."""
        return int(self._chunks[-1].stamps_ns[-1]) if self._chunks else None

    def samples(self, last_s: float = KEPT_S) -> ImuSamples:
        """Readings of the last so many seconds."""
        if not self._chunks:
            return ImuSamples(np.zeros(0, np.int64), np.zeros((0, 3)), np.zeros((0, 3)))
        if len(self._chunks) > 1:
            joined = (np.concatenate([getattr(c, n) for c in self._chunks]) for n in ("stamps_ns", "gyro", "accel"))
            self._chunks = deque([_newest(ImuSamples(*joined), KEPT_S)])
        return _newest(self._chunks[0], last_s)


def _newest(samples: ImuSamples, last_s: float) -> ImuSamples:
    begin = int(np.searchsorted(samples.stamps_ns, samples.stamps_ns[-1] - int(last_s * 1e9)))
    return ImuSamples(samples.stamps_ns[begin:], samples.gyro[begin:], samples.accel[begin:])
