# SPDX-License-Identifier: Apache-2.0
"""Deciding from IMU and pixels together that the body stands still."""

from collections import deque
from typing import NamedTuple

import numpy as np

from letvins_ros.estimation.frame import Frame
from letvins_ros.imu import ImuSteps

SHORTEST_S, LOOK_BACK_S = 0.25, 1.0  # at the start what there is suffices; later a creep must have had time to show
MAX_GYRO_STD = 0.03  # rad/s
MAX_ACCEL_STD = 0.35  # m/s^2
MAX_TURN_RAD = 0.001  # median motion of features; about half a pixel, which is what tracking resolves
MIN_FEATURES = 10


class _View(NamedTuple):
    """What a frame saw, and the readings that led up to it."""

    stamp_ns: int
    ids: np.ndarray  # (N,) int64
    bearings: np.ndarray  # (N, 3) in the camera
    steps: ImuSteps


class StandstillDetector:
    """Compares each frame with an older one, and with the first of the rest: slow motion adds up there."""

    def __init__(self) -> None:
        self._past: deque[_View] = deque()
        self._first: _View | None = None  # of the rest

    def add(self, frame: Frame, steps: ImuSteps) -> bool:
        """Whether the body stands still, and has for some time; steps lead up to this frame."""
        camera, seen = frame.seen.argmax(0), frame.seen.any(0)  # a pair's feature counts once, in its lead
        bearings = frame.bearings[camera, np.arange(len(camera))]
        now = _View(frame.stamp_ns, frame.ids[seen], bearings[seen], steps)
        self._past.append(now)
        while len(self._past) > 1 and now.stamp_ns - self._past[1].stamp_ns >= LOOK_BACK_S * 1e9:
            self._past.popleft()
        if now.stamp_ns - self._past[0].stamp_ns < SHORTEST_S * 1e9 or not self._imu_quiet():
            self._first = None
            return False
        moved, since_first = _motion(self._past[0], now), 0.0 if self._first is None else _motion(self._first, now)
        if moved is None or moved > MAX_TURN_RAD or (since_first or 0.0) > MAX_TURN_RAD:
            self._first = None
            return False
        if self._first is None or since_first is None:  # none of its first features is left
            self._first = self._past[0]
        return True

    def rest_s(self) -> float:
        """How long the rest has lasted, s."""
        return 0.0 if self._first is None else (self._past[-1].stamp_ns - self._first.stamp_ns) * 1e-9

    def recent_steps(self) -> ImuSteps:
        """The IMU readings of the look-back time."""
        return ImuSteps.joined([view.steps for view in self._past][1:])

    def _imu_quiet(self) -> bool:
        steps = self.recent_steps()
        if len(steps.dt_s) < 5:
            return False
        return bool(steps.gyro.std(0).max() < MAX_GYRO_STD and steps.accel.std(0).max() < MAX_ACCEL_STD)


def _motion(before: _View, now: _View) -> float | None:
    """Median motion of the common features, rad; None where these are too few to tell."""
    _, a, b = np.intersect1d(before.ids, now.ids, assume_unique=True, return_indices=True)
    if len(a) < MIN_FEATURES:
        return None
    return float(np.median(np.linalg.norm(before.bearings[a] - now.bearings[b], axis=1)))
