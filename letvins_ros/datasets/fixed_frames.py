# SPDX-License-Identifier: Apache-2.0
"""Frames that are joined by transforms."""

import numpy as np

from letvins_ros import geometry


class FixedFrames:
    """Transforms between named frames, each given relative to another one."""

    def __init__(self) -> None:
        self._neighbours: dict[str, dict[str, np.ndarray]] = {}

    def add(self, parent: str, child: str, T_parent_child: np.ndarray) -> None:
        """Join two frames by a transform (4, 4)."""
        self._neighbours.setdefault(parent, {})[child] = T_parent_child
        self._neighbours.setdefault(child, {})[parent] = geometry.inverse(T_parent_child)

    def between(self, a: str, b: str) -> np.ndarray | None:
        """T_a_b (4, 4), None where no chain of transforms joins them."""
        known = {a: np.eye(4)}
        border = list(known)
        while border:
            frame = border.pop()
            if frame == b:
                return known[frame]
            for other, T in self._neighbours.get(frame, {}).items():
                if other not in known:
                    known[other] = known[frame] @ T
                    border.append(other)
        return None
