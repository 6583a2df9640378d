# SPDX-License-Identifier: Apache-2.0
"""Deciding from IMU and pixels together that the body stands still."""

from collections import deque

import numpy as np

from letvins_ros.estimation.frame import Frame
from letvins_ros.imu import ImuSteps

LOOK_BACK_S = 0.25
MAX_GYRO_STD = 0.03  # rad/s
MAX_ACCEL_STD = 0.35  # m/s^2
MAX_TURN_RAD = 0.001  # median motion of features over the look-back time; about half a pixel
MIN_FEATURES = 10


class StandstillDetector:
    """Compares each frame with one that is LOOK_BACK_S older."""

    def __init__(self) -> None:
        self._past: deque[tuple[int, np.ndarray, np.ndarray, ImuSteps]] = deque()

    def add(self, frame: Frame, steps: ImuSteps) -> bool:
        """Whether the body stood still over the look-back time that ends with this frame; steps lead up to it."""
        first, seen = frame.seen.argmax(0), frame.seen.any(0)  # a pair's feature counts once, in its lead
        bearings = frame.bearings[first, np.arange(len(first))]
        self._past.append((frame.stamp_ns, frame.ids[seen], bearings[seen], steps))
        while len(self._past) > 1 and frame.stamp_ns - self._past[1][0] >= LOOK_BACK_S * 1e9:
            self._past.popleft()
        if frame.stamp_ns - self._past[0][0] < LOOK_BACK_S * 1e9:
            return False
        return self._imu_quiet() and self._pixels_quiet()

    def recent_steps(self) -> ImuSteps:
        """The IMU readings of the look-back time."""
        later = list(self._past)[1:]
        steps = later[0][3]
        for _, _, _, more in later[1:]:
            steps = steps.followed_by(more)
        return steps

    def _imu_quiet(self) -> bool:
        steps = self.recent_steps()
        if len(steps.dt_s) < 5:
            return False
        return bool(steps.gyro.std(0).max() < MAX_GYRO_STD and steps.accel.std(0).max() < MAX_ACCEL_STD)

    def _pixels_quiet(self) -> bool:
        _, old_ids, old, _ = self._past[0]
        _, new_ids, new, _ = self._past[-1]
        _, a, b = np.intersect1d(old_ids, new_ids, assume_unique=True, return_indices=True)
        if len(a) < MIN_FEATURES:
            return False
        return bool(np.median(np.linalg.norm(old[a] - new[b], axis=1)) < MAX_TURN_RAD)
