# SPDX-License-Identifier: Apache-2.0
"""What /tf says: static transforms between frames, and frames that have two parents; needs no ROS."""

import time
from collections.abc import Callable

import numpy as np

from letvins_ros.datasets.fixed_frames import FixedFrames
from letvins_ros.geometry import distance_and_angle, inverse

CURRENT_S = 3.0  # a parent not heard of for so long is past; a static one never is


class FrameTree:
    """Frames as heard on /tf_static and /tf."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._parents: dict[str, dict[str, float]] = {}  # of a child, with when each was heard of last
        self._static = FixedFrames()

    def add(self, parent: str, child: str, T_parent_child: np.ndarray, *, static: bool) -> None:
        """Take a transform (4, 4)."""
        parent, child = parent.lstrip("/"), child.lstrip("/")
        self._parents.setdefault(child, {})[parent] = np.inf if static else self._clock()
        if static:
            self._static.add(parent, child, T_parent_child)

    def parents(self, child: str) -> list[str]:
        """The frames that a frame hangs on now; tf2 allows one."""
        now = self._clock()
        return sorted(parent for parent, last in self._parents.get(child, {}).items() if now - last < CURRENT_S)

    def conflicts(self) -> list[str]:
        """Each frame with more than one parent, in words."""
        found = {child: self.parents(child) for child in self._parents}
        return [f"{child} has the parents {' and '.join(p)}, tf allows one" for child, p in found.items() if len(p) > 1]

    def static(self, a: str, b: str) -> np.ndarray | None:
        """T_a_b (4, 4) through static transforms, None where they do not join the two."""
        return self._static.between(a, b)


def apart(T: np.ndarray, other: np.ndarray) -> tuple[float, float]:
    """How far two transforms (4, 4) of the same frames differ: m, degrees."""
    distance, angle = distance_and_angle(inverse(T) @ other)
    return distance, float(np.degrees(angle))
