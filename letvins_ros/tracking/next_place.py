# SPDX-License-Identifier: Apache-2.0
"""When the tracker describes places: before the loop closer looks at a keyframe, not in every frame."""

import numpy as np

from letvins_ros.config import LoopConfig
from letvins_ros.geometry import distance_and_angle, inverse
from letvins_ros.inference.places import quarter_turns
from letvins_ros.types import Keyframe

AHEAD = 3  # keyframes like the last one may come before the tracker knows of the last one
REST_S = 2.0  # without keyframes, which come each second while the body moves


class NextPlace:
    """Follows the keyframes, of which the loop closer looks at one after each distance and angle."""

    def __init__(self, loop: LoopConfig, T_body_cam: np.ndarray | None = None) -> None:
        """T_body_cam (4, 4): the left camera's, where gravity is known."""
        self.turns = 0  # quarter turns to the left that set the left image upright
        self._T_body_cam = T_body_cam
        self._limits = loop.keyframe_distance_m, np.radians(loop.keyframe_angle_deg)
        self._T_last: np.ndarray | None = None  # T_odom_body of the last keyframe
        self._T_seen: np.ndarray | None = None  # of the last one that the loop closer has looked at
        self._last_ns: int | None = None  # stamp of the last keyframe
        self._near = True

    def is_near(self, stamp_ns: int) -> bool:
        """Whether the loop closer may look at the frame of this time."""
        return self._near and (self._last_ns is None or stamp_ns - self._last_ns < REST_S * 1e9)

    def add(self, keyframe: Keyframe) -> None:
        """Take the next keyframe."""
        T = keyframe.T_odom_body
        step = self._share(self._T_last, T)
        self._T_last, self._last_ns = T, keyframe.stamp_ns
        if self._T_body_cam is not None:
            self.turns = quarter_turns(T @ self._T_body_cam)
        due = self._T_seen is None or self._share(self._T_seen, T) >= 1
        if due and keyframe.description is not None:
            self._T_seen = T
        # after one that is due another one, as the loop closer's odometry differs a little
        self._near = due or self._share(self._T_seen, T) + AHEAD * step >= 1

    def _share(self, T_odom_a: np.ndarray | None, T_odom_b: np.ndarray) -> float:
        """How much of the distance or of the angle lies between two poses, whichever is more."""
        if T_odom_a is None:
            return 0.0
        moved = distance_and_angle(inverse(T_odom_a) @ T_odom_b)
        return max(m / limit if limit else np.inf for m, limit in zip(moved, self._limits, strict=True))
