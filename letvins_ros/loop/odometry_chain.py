# SPDX-License-Identifier: Apache-2.0
"""Odometry since the start, chained between keyframes in gravity-aligned frames from the estimator's latest poses."""

from collections import deque
from dataclasses import dataclass

import numpy as np

from letvins_ros.geometry import distance_and_angle, inverse, transform
from letvins_ros.loop.motion import NO_MOTION, Motion, align_with_gravity, level_pose, rotate_frames, swap_blocks
from letvins_ros.types import Keyframe

RESET_STD = np.array([0.1, 0.1, 0.5, 0.5, 0.5, 0.5])  # rad, m: of the motion across a reset
RESET_M_PER_S = 1.0


@dataclass(eq=False)
class _Link:
    """A keyframe of the chain."""

    keyframe: Keyframe
    R_level_body: np.ndarray  # (3, 3)
    vertical_std: float  # rad about each horizontal axis
    T_chain: np.ndarray  # (4, 4) of the level frame, final once the keyframe has left the estimator's window

    @property
    def index(self) -> int:
        return self.keyframe.index


class OdometryChain:
    """Chains keyframes. The level frame has its origin at the body and odom's axes; without gravity it is the body.

    Motions are taken between keyframes of one window: odometry's own poses also contain every correction of earlier
    keyframes, which is no motion.
    """

    def __init__(self, gravity_aligned: bool, scale: float) -> None:
        """scale: factor on odometry's standard deviations."""
        self._gravity_aligned, self._scale = gravity_aligned, scale
        self._recent: deque[_Link] = deque()  # in the estimator's window, and the newest
        self._marked: _Link | None = None
        self._covariance = np.zeros((6, 6))  # of the motion since the mark

    @property
    def is_empty(self) -> bool:
        """Whether no keyframe was added yet."""
        return not self._recent

    @property
    def stamp_ns(self) -> int:
        """When the newest keyframe was taken."""
        return self._recent[-1].keyframe.stamp_ns

    @property
    def R_level_body(self) -> np.ndarray:
        """Attitude (3, 3) of the newest keyframe against gravity."""
        return self._recent[-1].R_level_body

    @property
    def vertical_std(self) -> float:
        """Its standard deviation, rad about each horizontal axis."""
        return self._recent[-1].vertical_std

    @property
    def T_odom_level(self) -> np.ndarray:
        """Pose (4, 4) of the level frame by odometry when the keyframe was new."""
        T_odom_body = self._recent[-1].keyframe.T_odom_body
        return transform(T_odom_body[:3, :3] @ self.R_level_body.T, T_odom_body[:3, 3])

    @property
    def motion_since_mark(self) -> Motion:
        """Motion of the level frame since `mark`."""
        if self._marked is None:
            return NO_MOTION
        return Motion(inverse(self._marked.T_chain) @ self._recent[-1].T_chain, self._covariance)

    def T_chain(self, index: int) -> np.ndarray | None:
        """Level frame (4, 4) of a keyframe; None once its pose is final."""
        return next((link.T_chain for link in self._recent if link.index == index), None)

    def mark(self) -> None:
        """Let `motion_since_mark` start here."""
        self._marked, self._covariance = self._recent[-1], np.zeros((6, 6))

    def add(self, keyframe: Keyframe) -> None:
        """Append the next keyframe."""
        R = keyframe.T_odom_body[:3, :3]
        R_level_body = R if self._gravity_aligned else np.eye(3)
        C = R @ keyframe.covariance[3:, 3:] @ R.T
        this = _Link(keyframe, R_level_body, float(np.sqrt(np.trace(C[:2, :2]) / 2)), np.eye(4))
        this.T_chain = self._level_pose(this, keyframe.T_odom_body)
        if self._recent:
            last = self._recent[-1]
            self._update_chain(this)
            motion = self._motion(last, this)
            self._covariance = Motion(np.eye(4), self._covariance).then(motion).covariance
        self._recent.append(this)

    def _update_chain(self, this: _Link) -> None:
        """Set T_chain of this keyframe and of those it corrects, from the oldest one in its window."""
        known = this.keyframe.T_odom_of
        while len(self._recent) > 1 and known(self._recent[0].index) is None:
            self._recent.popleft()
        first = self._recent[0]
        T_now = known(first.index)
        if T_now is None:
            T_now = first.keyframe.T_odom_body  # after a reset, odom continues where it was lost
        T_chain_odom = first.T_chain @ inverse(self._level_pose(first, T_now))
        for link in self._recent:
            T_now = known(link.index)
            if T_now is not None:
                link.T_chain = T_chain_odom @ self._level_pose(link, T_now)
        this.T_chain = T_chain_odom @ this.T_chain
        if known(first.index) is None:
            self._recent.clear()

    def _level_pose(self, link: _Link, T_odom_body: np.ndarray) -> np.ndarray:
        return level_pose(T_odom_body, link.R_level_body) if self._gravity_aligned else T_odom_body

    def _motion(self, last: _Link, this: _Link) -> Motion:
        motion = rotate_frames(self._body_motion(last.keyframe, this.keyframe), last.R_level_body, this.R_level_body)
        if not self._gravity_aligned:
            return motion
        return align_with_gravity(motion, np.hypot(last.vertical_std, this.vertical_std))[0]

    def _body_motion(self, last: Keyframe, this: Keyframe) -> Motion:
        """Motion of the body; missing keyframes in between are taken to be as uncertain as the last one."""
        T_odom_last, missing = this.T_odom_of(last.index), this.index - last.index
        if T_odom_last is not None:
            covariance = swap_blocks(this.motion_covariance) * self._scale**2 * missing
            return Motion(inverse(T_odom_last) @ this.T_odom_body, covariance)
        lost_s = (this.stamp_ns - last.stamp_ns) * 1e-9
        std = RESET_STD + np.repeat([0.0, RESET_M_PER_S * lost_s], 3)
        return Motion(inverse(last.T_odom_body) @ this.T_odom_body, np.diag(std**2) * self._scale**2)

    def has_moved(self, distance_m: float, angle_rad: float) -> bool:
        """Whether the body has moved or rotated by this much since the mark."""
        if self._marked is None:
            return True
        T_marked_now = inverse(self._marked.keyframe.T_odom_body) @ self._recent[-1].keyframe.T_odom_body
        distance, angle = distance_and_angle(T_marked_now)
        return distance >= distance_m or angle >= angle_rad
