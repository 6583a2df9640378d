# SPDX-License-Identifier: Apache-2.0
"""The way since the start, in frames that gravity holds upright, as the estimator's last word has it."""

from collections import deque
from dataclasses import dataclass

import numpy as np

from letvins_ros.geometry import inverse, log_so3, transform
from letvins_ros.loop.twist import STILL, Motion, levelled, swapped, turned, upright
from letvins_ros.types import Keyframe

LOST_STD = np.array([0.1, 0.1, 0.5, 0.5, 0.5, 0.5])  # rad, m: of the motion across a reset
LOST_M_PER_S = 1.0


@dataclass(eq=False)
class _Passed:
    """A keyframe on the way."""

    keyframe: Keyframe
    R_level_body: np.ndarray  # (3, 3)
    vertical_std: float  # rad about each horizontal axis
    T_chain: np.ndarray  # (4, 4) of the level frame, final once the estimator has done with the keyframe

    @property
    def index(self) -> int:
        return self.keyframe.index


class Trail:
    """Follows keyframes. The level frame lies at the body, along odom's axes; without gravity it is the body itself.

    Poses are chained from motions between keyframes of one window: odometry's poses jump with every correction of what
    lies before, which is no motion.
    """

    def __init__(self, is_upright: bool, scale: float) -> None:
        """scale: factor on the standard deviations that odometry gives."""
        self._is_upright, self._scale = is_upright, scale
        self._recent: deque[_Passed] = deque()  # those that the estimator may still correct, and the newest
        self._marked: _Passed | None = None
        self._covariance = np.zeros((6, 6))  # of the motion since the mark

    @property
    def has_begun(self) -> bool:
        """Whether there was a keyframe."""
        return bool(self._recent)

    @property
    def R_level_body(self) -> np.ndarray:
        """Attitude (3, 3) of the newest keyframe against gravity."""
        return self._recent[-1].R_level_body

    @property
    def vertical_std(self) -> float:
        """How well that knows the vertical, rad about each horizontal axis."""
        return self._recent[-1].vertical_std

    @property
    def T_odom_level(self) -> np.ndarray:
        """The level frame (4, 4) as odometry had it when the keyframe was new."""
        T_odom_body = self._recent[-1].keyframe.T_odom_body
        return transform(T_odom_body[:3, :3] @ self.R_level_body.T, T_odom_body[:3, 3])

    @property
    def step(self) -> Motion:
        """Of the level frame since `mark`."""
        if self._marked is None:
            return STILL
        return Motion(inverse(self._marked.T_chain) @ self._recent[-1].T_chain, self._covariance)

    def T_chain(self, index: int) -> np.ndarray | None:
        """Level frame (4, 4) of a keyframe; None once no more can be learned of it."""
        return next((passed.T_chain for passed in self._recent if passed.index == index), None)

    def mark(self) -> None:
        """Let `step` begin here."""
        self._marked, self._covariance = self._recent[-1], np.zeros((6, 6))

    def add(self, keyframe: Keyframe) -> None:
        """Go on to the next keyframe."""
        R = keyframe.T_odom_body[:3, :3]
        R_level_body = R if self._is_upright else np.eye(3)
        C = R @ keyframe.covariance[3:, 3:] @ R.T
        this = _Passed(keyframe, R_level_body, float(np.sqrt(np.trace(C[:2, :2]) / 2)), np.eye(4))
        this.T_chain = self._levelled(this, keyframe.T_odom_body)
        if self._recent:
            last = self._recent[-1]
            self._chain(this)
            step = self._step(last, this)
            self._covariance = Motion(np.eye(4), self._covariance).then(step).covariance
        self._recent.append(this)

    def _chain(self, this: _Passed) -> None:
        """Find T_chain of this one, and of those that it corrects, from the oldest one that its window holds."""
        known = this.keyframe.T_odom_of
        while len(self._recent) > 1 and known(self._recent[0].index) is None:
            self._recent.popleft()
        first = self._recent[0]
        T_now = known(first.index)
        if T_now is None:
            T_now = first.keyframe.T_odom_body  # odom goes on where it was lost
        T_chain_odom = first.T_chain @ inverse(self._levelled(first, T_now))
        for passed in self._recent:
            T_now = known(passed.index)
            if T_now is not None:
                passed.T_chain = T_chain_odom @ self._levelled(passed, T_now)
        this.T_chain = T_chain_odom @ this.T_chain
        if known(first.index) is None:
            self._recent.clear()

    def _levelled(self, passed: _Passed, T_odom_body: np.ndarray) -> np.ndarray:
        return levelled(T_odom_body, passed.R_level_body) if self._is_upright else T_odom_body

    def _step(self, last: _Passed, this: _Passed) -> Motion:
        moved = turned(self._moved(last.keyframe, this.keyframe), last.R_level_body, this.R_level_body)
        return upright(moved, np.hypot(last.vertical_std, this.vertical_std))[0] if self._is_upright else moved

    def _moved(self, last: Keyframe, this: Keyframe) -> Motion:
        """Of the body; where keyframes between have not come, they are taken to be as uncertain as the last one."""
        T_odom_last, missing = this.T_odom_of(last.index), this.index - last.index
        if T_odom_last is not None:
            covariance = swapped(this.motion_covariance) * self._scale**2 * missing
            return Motion(inverse(T_odom_last) @ this.T_odom_body, covariance)
        lost_s = (this.stamp_ns - last.stamp_ns) * 1e-9
        std = LOST_STD + np.repeat([0.0, LOST_M_PER_S * lost_s], 3)
        return Motion(inverse(last.T_odom_body) @ this.T_odom_body, np.diag(std**2) * self._scale**2)

    def is_far(self, distance_m: float, angle_rad: float) -> bool:
        """Whether the body has moved or turned so much since the mark."""
        if self._marked is None:
            return True
        moved = inverse(self._marked.keyframe.T_odom_body) @ self._recent[-1].keyframe.T_odom_body
        turn = float(np.linalg.norm(log_so3(moved[:3, :3])))
        return bool(np.linalg.norm(moved[:3, 3]) >= distance_m) or turn >= angle_rad
