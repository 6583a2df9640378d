# SPDX-License-Identifier: Apache-2.0
"""Node: keyframes and images in, the map's correction out. Until loops are found, the map is odom."""

import time
from dataclasses import replace
from typing import Any

import numpy as np
from geometry_msgs.msg import Point
from nav_msgs.msg import Odometry, Path
from std_msgs.msg import ColorRGBA
from std_srvs.srv import Trigger
from visualization_msgs.msg import Marker, MarkerArray

from letvins_ros.msg import Keyframe, LoopClosure
from letvins_ros.ros import convert
from letvins_ros.ros.node import OUTPUT, LetvinsNode, run_node
from letvins_ros.ros.paths import ThinnedPath
from letvins_ros.ros.worker import DropQueue
from letvins_ros.types import Keyframe as CoreKeyframe

QUEUE = 20
SILENT_S = 2.0


class LoopClosureNode(LetvinsNode):
    """Relays odometry into the map."""

    def __init__(self, **options: Any) -> None:
        super().__init__("loop_closure", **options)

    def configure(self) -> None:
        self.T_map_odom = np.eye(4)
        self.queue: DropQueue[Keyframe] = DropQueue(QUEUE)
        self.path, self.nodes = (ThinnedPath(self.config.ros.path_poses) for _ in range(2))
        self.session: tuple[int, int] | None = None  # of the vio node, and its resets
        self.index = -1
        self.indices, self.sessions = 0, 0  # how many keyframes and odom frames there were before this session
        self.began, self.heard_at, self.path_at = time.monotonic(), 0.0, 0.0
        self.out_odometry = self.create_publisher(Odometry, "letvins/map_odometry", OUTPUT)
        self.out_path = self.create_publisher(Path, "letvins/map_path", OUTPUT)
        self.out_loop = self.create_publisher(LoopClosure, "letvins/loop", OUTPUT)
        self.out_graph = self.create_publisher(MarkerArray, "letvins/pose_graph", OUTPUT)
        self.send_transform = convert.tf_broadcaster(self)
        self.create_service(Trigger, "~/save_map", self._no_map)
        self.create_service(Trigger, "~/load_map", self._no_map)

    def activate(self) -> None:
        self.hear(Odometry, "letvins/odometry", self._on_odometry)
        self.hear(Keyframe, "letvins/keyframe", self._on_keyframe)

    def _on_odometry(self, message: Odometry) -> None:
        """Send the same pose in the map; its covariance about odom's axes is turned with it."""
        ros, stamp_ns = self.config.ros, convert.stamp_to_ns(message.header.stamp)
        self.heard_at = time.monotonic()
        self.stats.count("odometry")
        T_map_odom = self.T_map_odom
        T_map_body = T_map_odom @ convert.pose_from_message(message.pose.pose)
        if ros.publish_map_tf:
            self.send_transform(convert.transform_to_message(T_map_odom, stamp_ns, ros.map_frame, ros.odom_frame))
        message.header.frame_id = ros.map_frame
        message.pose.pose = convert.pose_to_message(T_map_body)
        turn = np.kron(np.eye(2), T_map_odom[:3, :3])
        message.pose.covariance = (turn @ message.pose.covariance.reshape(6, 6) @ turn.T).ravel()
        self.out_odometry.publish(message)
        self.path.add(stamp_ns, T_map_body)
        due = time.monotonic() - self.path_at > 1.0
        if ros.publish_path and due and self.out_path.get_subscription_count():
            self.path_at = time.monotonic()
            self.out_path.publish(self.path.message(ros.map_frame, stamp_ns))

    def _on_keyframe(self, message: Keyframe) -> None:
        self.stats.count("keyframes")
        self.queue.put(message)
        self.wake()

    # -- the worker's thread ------------------------------------------------------------------------------------------

    def step(self) -> bool:
        message = self.queue.pop()
        if message is None:
            return False
        keyframe = self._in_one_session(message)
        self.nodes.add(keyframe.stamp_ns, self.T_map_odom @ keyframe.T_odom_body)
        if self.out_graph.get_subscription_count():
            self.out_graph.publish(self._graph(keyframe.stamp_ns))
        return True

    def _in_one_session(self, message: Keyframe) -> CoreKeyframe:
        """The keyframe with index and resets that go on when the vio node was restarted."""
        keyframe = convert.keyframe_from(message)
        session_ns = convert.stamp_to_ns(message.session)
        if self.session is not None and self.session[0] != session_ns:
            self.sessions += self.session[1] + 1
            self.indices = self.index + 1
        self.session = (session_ns, keyframe.resets)
        self.index = self.indices + keyframe.index
        return replace(keyframe, index=self.index, resets=self.sessions + keyframe.resets)

    def _graph(self, stamp_ns: int) -> MarkerArray:
        """Keyframes as points, and the way between them as a line."""
        points = [Point(x=float(p[0]), y=float(p[1]), z=float(p[2])) for p in (T[:3, 3] for T in self.nodes.poses)]
        head = convert.header(stamp_ns, self.config.ros.map_frame)
        line, dots = (
            Marker(header=head, ns="pose_graph", id=i, type=kind, action=Marker.ADD, points=points, color=color)
            for i, (kind, color) in enumerate(
                [
                    (Marker.LINE_STRIP, ColorRGBA(r=0.2, g=0.6, b=1.0, a=1.0)),
                    (Marker.POINTS, ColorRGBA(r=1.0, g=0.8, a=1.0)),
                ]
            )
        )
        line.scale.x = 0.01
        dots.scale.x = dots.scale.y = 0.03
        line.pose.orientation.w = dots.pose.orientation.w = 1.0
        return MarkerArray(markers=[line, dots])

    def _no_map(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        response.success, response.message = False, "there is no map yet: this version closes no loops"
        return response

    def state_of(self) -> tuple[str, dict[str, str]]:
        values = {"queue": str(len(self.queue)), "keyframes dropped": str(self.queue.dropped)}
        silent = time.monotonic() - max(self.heard_at, self.began) > SILENT_S
        return ("no odometry on letvins/odometry: has vio initialised?" if silent else ""), values


def main() -> None:
    """Run the node."""
    run_node(LoopClosureNode)


if __name__ == "__main__":
    main()
