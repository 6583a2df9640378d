# SPDX-License-Identifier: Apache-2.0
"""The way since the start, joined from the motions between keyframes, in frames that gravity holds upright."""

from collections import deque

import numpy as np

from letvins_ros.geometry import inverse, log_so3, transform
from letvins_ros.loop.twist import STILL, Motion, swapped, turned, upright
from letvins_ros.types import Keyframe

LOST_STD = np.array([0.1, 0.1, 0.5, 0.5, 0.5, 0.5])  # rad, m: of the motion across a reset
LOST_M_PER_S = 1.0
SPAN = 20  # keyframes over which a way is measured
FREE_M = 10.0  # of way, before its correction has its full weight


class Trail:
    """Follows keyframes. The level frame lies at the body, along odom's axes; without gravity it is the body itself."""

    def __init__(self, is_upright: bool, scale: float) -> None:
        """scale: factor on the standard deviations that odometry gives."""
        self._is_upright, self._scale = is_upright, scale
        self._last: Keyframe | None = None
        self.R_level_body = np.eye(3)
        self.step = STILL  # of the level frame, since `mark`
        self._T_marked = np.eye(4)
        self._lengths = _Lengths()

    @property
    def T_odom_level(self) -> np.ndarray:
        """The level frame (4, 4) as odometry had it when the keyframe was new."""
        T_odom_body = self._newest().T_odom_body
        return transform(T_odom_body[:3, :3] @ self.R_level_body.T, T_odom_body[:3, 3])

    @property
    def has_begun(self) -> bool:
        """Whether there was a keyframe."""
        return self._last is not None

    def _newest(self) -> Keyframe:
        if self._last is None:
            raise RuntimeError("no keyframe yet")
        return self._last

    def mark(self) -> None:
        """Let `step` begin here."""
        self.step, self._T_marked = STILL, self._newest().T_odom_body

    def add(self, keyframe: Keyframe) -> None:
        """Go on to the next keyframe."""
        last, R_level_last = self._last, self.R_level_body
        self._last = keyframe
        if self._is_upright:
            self.R_level_body = keyframe.T_odom_body[:3, :3]
        if last is None:
            return
        moved = self._lengths.corrected(_motion(last, keyframe).scaled(self._scale), last, keyframe)
        step = turned(moved, R_level_last, self.R_level_body)
        if self._is_upright:
            step, _ = upright(step)
        self.step = self.step.then(step)

    def is_far(self, distance_m: float, angle_rad: float) -> bool:
        """Whether the body has moved or turned so much since the mark."""
        moved = inverse(self._T_marked) @ self._newest().T_odom_body
        turn = float(np.linalg.norm(log_so3(moved[:3, :3])))
        return bool(np.linalg.norm(moved[:3, 3]) >= distance_m) or turn >= angle_rad


class _Lengths:
    """How much longer ways prove to be than the newest motions told, which no later view had corrected yet.

    Joined motions are smoother than differences of odometry's poses, but some tenths of a percent too short.
    """

    def __init__(self) -> None:
        self._told: deque[np.ndarray] = deque([np.eye(4)], SPAN + 1)  # poses of the last keyframes by motions joined
        self._proved: deque[np.ndarray] = deque(maxlen=SPAN + 1)  # and by odometry
        self._sums = np.full(2, FREE_M)  # of ways over SPAN keyframes, proved and told

    def corrected(self, motion: Motion, last: Keyframe, this: Keyframe) -> Motion:
        """The motion from the last keyframe to this one with its length corrected by those before."""
        if last.resets != this.resets:
            self._told, self._proved = deque([np.eye(4)], SPAN + 1), deque(maxlen=SPAN + 1)
            return motion
        self._told.append(self._told[-1] @ this.T_previous_this)
        self._proved.extend([this.T_odom_body] if self._proved else [last.T_odom_body, this.T_odom_body])
        if len(self._told) > SPAN:
            self._sums += [np.linalg.norm((poses[-1] - poses[0])[:3, 3]) for poses in (self._proved, self._told)]
        T = motion.T_a_b.copy()
        T[:3, 3] *= self._sums[0] / self._sums[1]
        return Motion(T, motion.covariance)


def _motion(last: Keyframe, this: Keyframe) -> Motion:
    if last.resets == this.resets:
        return Motion(this.T_previous_this, swapped(this.motion_covariance))
    lost_s = (this.stamp_ns - last.stamp_ns) * 1e-9  # odom goes on where it was lost
    std = LOST_STD + np.repeat([0.0, LOST_M_PER_S * lost_s], 3)
    return Motion(inverse(last.T_odom_body) @ this.T_odom_body, np.diag(std**2))
