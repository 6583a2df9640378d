# SPDX-License-Identifier: Apache-2.0
"""IMU readings between image times."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from letvins_ros.geometry import exp_so3
from letvins_ros.types import ImuSamples

GRAVITY = 9.81  # m/s^2
BRIDGED_GAP_S = 0.03  # readings further apart than this are bridged by interpolation, with more noise
NOISE_SPAN_NS = 1_000_000_000  # of readings whose noise is measured
ABSURD_GYRO, ABSURD_ACCEL = 100.0, 1000.0  # rad/s, m/s^2
SPIKE_GYRO, SPIKE_ACCEL = 8.0, 60.0  # rad/s, m/s^2 within two readings: no body moves so
SATURATED_GYRO, SATURATED_ACCEL = 34.0, 155.0  # rad/s (2000 deg/s), m/s^2 (16 g), with a little room


@dataclass(frozen=True, eq=False)
class ImuSteps:
    """Readings between two times as steps of constant rate and force (means of neighbouring readings)."""

    dt_s: np.ndarray  # (M,) float64, s
    gyro: np.ndarray  # (M, 3) rad/s
    accel: np.ndarray  # (M, 3) m/s^2

    @property
    def duration_s(self) -> float:
        return float(self.dt_s.sum())

    @property
    def saturated(self) -> bool:
        """Whether a reading is at the end of what common sensors measure."""
        return bool((np.abs(self.gyro) > SATURATED_GYRO).any() or (np.abs(self.accel) > SATURATED_ACCEL).any())

    @property
    def largest_gap_s(self) -> float:
        return float(self.dt_s.max(initial=0.0))

    @staticmethod
    def joined(stretches: Sequence["ImuSteps"]) -> "ImuSteps":
        """Stretches one after the other as one."""
        return ImuSteps(*(np.concatenate([getattr(s, name) for s in stretches]) for name in ("dt_s", "gyro", "accel")))

    def rotation(self, gyro_bias: np.ndarray) -> np.ndarray:
        """R_start_end (3, 3) by the gyro alone."""
        R = np.eye(3)
        for turn in exp_so3((self.gyro - gyro_bias) * self.dt_s[:, None]):
            R = R @ turn
        return R


class ImuBuffer:
    """The most recent readings, in time order."""

    def __init__(self, keep_s: float = 20.0) -> None:
        self._keep_ns = int(keep_s * 1e9)
        self._samples = ImuSamples(np.zeros(0, np.int64), np.zeros((0, 3)), np.zeros((0, 3)))

    @property
    def last_ns(self) -> int | None:
        return int(self._samples.stamps_ns[-1]) if len(self._samples) else None

    def append(self, new: ImuSamples) -> int:
        """Add readings; how many were dropped: not finite, absurd, or not newer than the last one."""
        # not finite, or beyond what any sensor measures; a comparison with NaN is false
        finite = (np.abs(new.gyro) < ABSURD_GYRO).all(1) & (np.abs(new.accel) < ABSURD_ACCEL).all(1)
        floor = self.last_ns if self.last_ns is not None else np.iinfo(np.int64).min
        newest_before = np.maximum.accumulate(np.r_[floor, np.where(finite, new.stamps_ns, floor)])[:-1]
        good = finite & (new.stamps_ns > newest_before)
        old, start = self._samples, 0
        if good.any():
            start = int(np.searchsorted(old.stamps_ns, new.stamps_ns[good][-1] - self._keep_ns))
        self._samples = ImuSamples(
            np.concatenate([old.stamps_ns[start:], new.stamps_ns[good]]),
            np.concatenate([old.gyro[start:], new.gyro[good]]),
            np.concatenate([old.accel[start:], new.accel[good]]),
        )
        return len(new) - int(good.sum())

    def steps(self, start_ns: int, end_ns: int) -> ImuSteps:
        """Trapezoid steps from start to end; readings at the ends are interpolated, beyond all readings held."""
        s = self._samples
        if len(s) == 0 or end_ns <= start_ns:
            return ImuSteps(np.zeros(0), np.zeros((0, 3)), np.zeros((0, 3)))
        first = int(np.searchsorted(s.stamps_ns, start_ns, side="right"))
        last = int(np.searchsorted(s.stamps_ns, end_ns, side="left"))
        stamps = np.concatenate([[start_ns], s.stamps_ns[first:last], [end_ns]])
        near = slice(max(first - 3, 0), last + 3)
        gyro = self._at(stamps, s.stamps_ns[near], _without_spikes(s.gyro[near], SPIKE_GYRO))
        accel = self._at(stamps, s.stamps_ns[near], _without_spikes(s.accel[near], SPIKE_ACCEL))
        return ImuSteps(np.diff(stamps) * 1e-9, (gyro[1:] + gyro[:-1]) / 2, (accel[1:] + accel[:-1]) / 2)

    def noise(self, end_ns: int) -> tuple[float, float]:
        """Densities of the noise in the last second's readings of the gyro, rad/s/sqrt(Hz), and of the accelerometer.

        From fourth differences, in which smooth motion cancels and white noise of variance v has the variance 70 v; 0
        of too few readings.
        """
        stamps = self._samples.stamps_ns
        span = slice(*np.searchsorted(stamps, [end_ns - NOISE_SPAN_NS, end_ns + 1]).tolist())
        if span.stop - span.start < 10:
            return 0.0, 0.0
        period_s = float(np.median(np.diff(stamps[span]))) * 1e-9
        parts = (self._samples.gyro[span], SPIKE_GYRO), (self._samples.accel[span], SPIKE_ACCEL)
        fourth = [np.diff(_without_spikes(values, limit), n=4, axis=0) for values, limit in parts]
        gyro, accel = (float(np.sqrt((d**2).mean() / 70 * period_s)) for d in fourth)
        return gyro, accel

    @staticmethod
    def _at(stamps: np.ndarray, known: np.ndarray, values: np.ndarray) -> np.ndarray:
        origin = stamps[0]
        return np.stack([np.interp(stamps - origin, known - origin, values[:, i]) for i in range(3)], axis=1)

    def covers(self, start_ns: int, end_ns: int) -> bool:
        """Whether there are readings on both sides of, or close to, the two times."""
        s = self._samples.stamps_ns
        slack = int(BRIDGED_GAP_S * 1e9)
        return len(s) > 0 and s[0] <= start_ns + slack and s[-1] >= end_ns - slack


def _without_spikes(values: np.ndarray, limit: float) -> np.ndarray:
    """Readings (N, 3) with those replaced that are further than the limit from the median of the five around them."""
    if np.abs(np.diff(values, axis=0)).max(initial=0.0) < limit / 4:  # then no five differ by as much
        return values
    padded = np.pad(values, ((2, 2), (0, 0)), mode="edge")
    median = np.median(np.lib.stride_tricks.sliding_window_view(padded, 5, axis=0), axis=-1)
    return np.where(np.abs(values - median) > limit, median, values)
