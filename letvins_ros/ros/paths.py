# SPDX-License-Identifier: Apache-2.0
"""A path for display whose memory is bounded."""

import numpy as np
from geometry_msgs.msg import PoseStamped
from nav_msgs.msg import Path

from letvins_ros.ros import convert


class ThinnedPath:
    """Poses of the whole run; when there are too many, every second one goes, and then only as many come in."""

    def __init__(self, most: int) -> None:
        self._most, self._stride, self._count = most, 1, 0
        self.stamps_ns: list[int] = []
        self.poses: list[np.ndarray] = []  # (4, 4)

    def add(self, stamp_ns: int, T: np.ndarray) -> None:
        """Add a pose (4, 4), the newest."""
        self._count += 1
        if self._count % self._stride:
            return
        self.stamps_ns.append(stamp_ns)
        self.poses.append(T)
        if len(self.poses) > self._most:
            del self.stamps_ns[::2], self.poses[::2]
            self._stride *= 2

    def message(self, frame_id: str, stamp_ns: int) -> Path:
        """Everything as a Path."""
        poses = [
            PoseStamped(header=convert.header(ns, frame_id), pose=convert.pose_to_message(T))
            for ns, T in zip(self.stamps_ns, self.poses, strict=True)
        ]
        return Path(header=convert.header(stamp_ns, frame_id), poses=poses)
