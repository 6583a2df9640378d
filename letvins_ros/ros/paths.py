# SPDX-License-Identifier: Apache-2.0
"""What is displayed of a run: its path, whose memory is bounded, and the map's graph."""

import time

import numpy as np
from geometry_msgs.msg import Point, PoseStamped
from nav_msgs.msg import Path
from rclpy.publisher import Publisher
from std_msgs.msg import ColorRGBA
from visualization_msgs.msg import Marker, MarkerArray

from letvins_ros.config import RosConfig
from letvins_ros.loop.closer import MapSnapshot
from letvins_ros.ros import convert

PATH_PERIOD_S = 1.0


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


class PathOutput:
    """Publishes a path while somebody listens, and the configuration wants it."""

    def __init__(self, config: RosConfig, publisher: Publisher) -> None:
        self._wanted, self._publisher = config.publish_path, publisher
        self._path, self._sent_at = ThinnedPath(config.path_poses), 0.0

    def add(self, stamp_ns: int, frame_id: str, T: np.ndarray) -> None:
        """Add a pose (4, 4) in this frame, the newest."""
        self._path.add(stamp_ns, T)
        due = time.monotonic() - self._sent_at > PATH_PERIOD_S
        if self._wanted and due and self._publisher.get_subscription_count():
            self._sent_at = time.monotonic()
            self._publisher.publish(self._path.message(frame_id, stamp_ns))


def graph_markers(snapshot: MapSnapshot, stamp_ns: int, frame_id: str) -> MarkerArray:
    """Keyframes as points, loops as lines between them."""
    positions = snapshot.T_map_body[:, :3, 3]
    points = [Point(x=x, y=y, z=z) for x, y, z in positions.tolist()]
    placed = np.isfinite(positions).all(1)
    ends = [points[i] for pair in snapshot.loops.tolist() if placed[pair].all() for i in pair]
    head = convert.header(stamp_ns, frame_id)
    dots = Marker(header=head, ns="pose_graph", id=0, type=Marker.POINTS, color=ColorRGBA(r=1.0, g=0.8, a=1.0))
    dots.points = [point for point, known in zip(points, placed, strict=True) if known]
    lines = Marker(header=head, ns="pose_graph", id=1, type=Marker.LINE_LIST, points=ends)
    lines.color = ColorRGBA(r=0.2, g=0.6, b=1.0, a=1.0)
    dots.scale.x = dots.scale.y = 0.03
    lines.scale.x = 0.01
    dots.pose.orientation.w = lines.pose.orientation.w = 1.0
    return MarkerArray(markers=[dots, lines])
