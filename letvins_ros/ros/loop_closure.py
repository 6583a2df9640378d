# SPDX-License-Identifier: Apache-2.0
"""Node: keyframes and images in, the map's correction out."""

import os
import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from geometry_msgs.msg import Point, PoseWithCovarianceStamped
from nav_msgs.msg import Odometry, Path
from rclpy.parameter import Parameter
from std_msgs.msg import ColorRGBA
from std_srvs.srv import Trigger
from visualization_msgs.msg import Marker, MarkerArray

from letvins_ros.config import Config
from letvins_ros.datasets.ros_image import ImageDecoder
from letvins_ros.errors import DataError, LetvinsError
from letvins_ros.loop.closer import MapSnapshot
from letvins_ros.msg import Keyframe, LoopClosure
from letvins_ros.ros import convert
from letvins_ros.ros.gnss import GnssInput
from letvins_ros.ros.live_map import LiveMap
from letvins_ros.ros.node import LetvinsNode
from letvins_ros.ros.paths import ThinnedPath
from letvins_ros.ros.run import run_node
from letvins_ros.srv import LoadMap, SaveMap, SetPose
from letvins_ros.types import Keyframe as CoreKeyframe
from letvins_ros.types import LoopClosure as CoreClosure

QUEUE = 20  # keyframes that wait; of more, the oldest are not looked at
KEPT_IMAGES = 60  # for the keyframes made of them, which come later
SILENT_S = 2.0
NICENESS = 5


class Waiting(NamedTuple):
    """A keyframe on the way to the closer."""

    message: Keyframe
    image: Any  # of its left camera, None where it has not come


class LoopClosureNode(LetvinsNode):
    """Feeds the loop closer in a thread of its own, and puts odometry into the map."""

    def __init__(self, **options: Any) -> None:
        super().__init__("loop_closure", **options)

    def configure(self) -> None:
        self.map = LiveMap(self.config, self.get_namespace())
        self.T_odom_base: np.ndarray | None = None  # as odometry had it last
        self.gnss = GnssInput(self) if self.config.loop.gnss else None
        self.queue: deque[Waiting] = deque()
        self.images: dict[int, Any] = {}  # messages by stamp, oldest first
        self.decoder = ImageDecoder(live=True)
        self.path = ThinnedPath(self.config.ros.path_poses)
        self.session: tuple[int, int] | None = None  # of the vio node, and its resets
        self.index = -1
        self.indices, self.sessions = 0, 0  # how many keyframes and odom frames there were before this session
        self.began, self.heard_at, self.path_at = time.monotonic(), 0.0, 0.0
        self.out_odometry = self.advertise(Odometry, "letvins/map_odometry")
        self.out_path = self.advertise(Path, "letvins/map_path")
        self.out_loop = self.advertise(LoopClosure, "letvins/loop")
        self.out_graph = self.advertise(MarkerArray, "letvins/pose_graph")
        self.send_transform = self.broadcaster()
        self.serve(Trigger, "~/save_map", self._save)
        self.serve(Trigger, "~/load_map", self._load)
        self.serve(SaveMap, "~/save_map_to", self._save_file)
        self.serve(LoadMap, "~/load_map_from", self._load_file)
        self.serve(SetPose, "~/set_pose", self._set_pose)

    def activate(self) -> None:
        self.hear_images(0, self._on_image)
        if self.gnss is not None:
            self.gnss.listen()
        self.subscribe(Odometry, "letvins/odometry", self._on_odometry)
        self.subscribe(Keyframe, "letvins/keyframe", self._on_keyframe)
        self.subscribe(PoseWithCovarianceStamped, "initialpose", self._on_initial_pose)

    def _on_odometry(self, message: Odometry) -> None:
        """Send the same pose in the map; its covariance about odom's axes is turned with it."""
        ros, stamp_ns = self.config.ros, convert.stamp_to_ns(message.header.stamp)
        self.heard_at = time.monotonic()
        self.stats.count("odometry")
        self.T_odom_base = convert.pose_from_message(message.pose.pose)
        if self.gnss is not None:
            self.gnss.odometry(stamp_ns, self.T_odom_base)
        T_map_odom = self.map.T_map_odom
        if T_map_odom is None:
            return
        T_map_base = T_map_odom @ self.T_odom_base
        if ros.publish_map_tf:
            self.send_transform(convert.transform_to_message(T_map_odom, stamp_ns, ros.map_frame, ros.odom_frame))
        message.header.frame_id = ros.map_frame
        message.pose.pose = convert.pose_to_message(T_map_base)
        turn = np.kron(np.eye(2), T_map_odom[:3, :3])
        message.pose.covariance = (turn @ message.pose.covariance.reshape(6, 6) @ turn.T).ravel()
        self.out_odometry.publish(message)
        self.path.add(stamp_ns, T_map_base)
        due = time.monotonic() - self.path_at > 1.0
        if ros.publish_path and due and self.out_path.get_subscription_count():
            self.path_at = time.monotonic()
            self.out_path.publish(self.path.message(ros.map_frame, stamp_ns))

    def _on_image(self, message: Any) -> None:
        self.images[convert.stamp_to_ns(message.header.stamp)] = message
        while len(self.images) > KEPT_IMAGES:
            del self.images[next(iter(self.images))]

    def _on_keyframe(self, message: Keyframe) -> None:
        self.stats.count("keyframes")
        image = self.images.get(convert.stamp_to_ns(message.header.stamp))
        if image is None:
            self.problems.note("keyframes", "their left images have not come, no loops are looked for")
        if len(self.queue) >= QUEUE:
            self.problems.note("keyframes", "not looked at, because they come faster than loops are closed")
            image = None
        self.queue.append(Waiting(message, image))
        self.wake()

    # -- the worker's thread ------------------------------------------------------------------------------------------

    def step(self) -> bool:
        if not self.queue:
            return False
        message, image = self.queue.popleft()
        keyframe = self._in_one_session(message)
        if self.gnss is not None:
            self.map.add_fixes(*self.gnss.fixes(keyframe.stamp_ns, keyframe.T_odom_body))
        answer = self.map.add(keyframe, self._gray(image))  # one without image is needed too, for the odometry chain
        if isinstance(answer.closure, CoreClosure) and answer.T_map_odom is not None:
            self._publish_loop(answer.closure, answer.T_map_odom)
        if self.out_graph.get_subscription_count():
            self.out_graph.publish(self._graph(keyframe.stamp_ns, self.map.snapshot()))
        return True

    def _gray(self, message: Any) -> np.ndarray:
        """The image (H, W); black where there is none, which shows no place."""
        black = np.zeros((self.map.camera.camera.height, self.map.camera.camera.width), np.uint8)
        try:
            gray = None if message is None else convert.image_from(message, self.decoder)
        except DataError:  # the tracker names it
            return black
        return gray if gray is not None and gray.shape == black.shape else black

    def _publish_loop(self, closure: CoreClosure, T_map_odom: np.ndarray) -> None:
        self.stats.count("loops")
        self.out_loop.publish(convert.closure_to_message(closure, T_map_odom, self.config.ros.map_frame))
        if closure.relocalised:
            self.get_logger().info("relocalised in the map")

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

    def _graph(self, stamp_ns: int, snapshot: MapSnapshot) -> MarkerArray:
        """Keyframes as points, loops as lines between them."""
        positions = snapshot.T_map_body[:, :3, 3]
        points = [Point(x=x, y=y, z=z) for x, y, z in positions.tolist()]
        placed = np.isfinite(positions).all(1)
        ends = [points[i] for pair in snapshot.loops.tolist() if placed[pair].all() for i in pair]
        head = convert.header(stamp_ns, self.config.ros.map_frame)
        dots = Marker(header=head, ns="pose_graph", id=0, type=Marker.POINTS, color=ColorRGBA(r=1.0, g=0.8, a=1.0))
        dots.points = [point for point, known in zip(points, placed, strict=True) if known]
        lines = Marker(header=head, ns="pose_graph", id=1, type=Marker.LINE_LIST, points=ends)
        lines.color = ColorRGBA(r=0.2, g=0.6, b=1.0, a=1.0)
        dots.scale.x = dots.scale.y = 0.03
        lines.scale.x = 0.01
        dots.pose.orientation.w = lines.pose.orientation.w = 1.0
        return MarkerArray(markers=[dots, lines])

    # -- maps ---------------------------------------------------------------------------------------------------------

    def _save(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        return self._answered(response, lambda: self.map.save(self.config.loop.save_map))

    def _load(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        return self._answered(response, lambda: self.map.load(self.config.loop.load_map, self.config.loop.mode))

    def _save_file(self, request: SaveMap.Request, response: SaveMap.Response) -> SaveMap.Response:
        self._answered(response, lambda: self.map.save(request.file or self.config.loop.save_map))
        response.places = len(self.map)
        return response

    def _load_file(self, request: LoadMap.Request, response: LoadMap.Response) -> LoadMap.Response:
        mode = "localise" if request.localise else self.config.loop.mode
        self._answered(response, lambda: self.map.load(request.file or self.config.loop.load_map, mode))
        if response.success and mode != self.config.loop.mode:
            self.set_parameters([Parameter("loop.mode", value=mode)])
        response.places = len(self.map)
        return response

    def _set_pose(self, request: SetPose.Request, response: SetPose.Response) -> SetPose.Response:
        return self._answered(response, lambda: self._place(request.pose))

    def _answered(self, response: Any, act: Callable[[], str]) -> Any:
        try:
            response.message, response.success = act(), True
        except LetvinsError as error:
            response.message, response.success = str(error), False
        return response

    def _on_initial_pose(self, message: PoseWithCovarianceStamped) -> None:
        try:
            self.get_logger().info(self._place(message))
        except LetvinsError as error:
            self.problems.note("initialpose", str(error))

    def _place(self, message: PoseWithCovarianceStamped) -> str:
        """Take the base's pose in the map as given; LetvinsError where it cannot be used."""
        frame, wanted = message.header.frame_id.lstrip("/"), self.config.ros.map_frame
        if frame not in ("", wanted):
            raise DataError(f"the pose is in {frame}, {wanted} is needed")
        if self.T_odom_base is None:
            raise DataError("there is no odometry yet that the pose could be compared with")
        T_map_base = convert.pose_from_message(message.pose.pose)
        self.map.place(T_map_base, self.T_odom_base, np.reshape(message.pose.covariance, (6, 6)))
        x, y, z = T_map_base[:3, 3]
        return f"placed in the map at {x:.2f} {y:.2f} {z:.2f} m"

    def configured(self, config: Config) -> None:
        if hasattr(self, "map") and config.loop.mode != self.config.loop.mode:
            self.map.set_mode(config.loop.mode)

    def finish(self) -> None:
        """Write the map where the configuration names a file for it."""
        if self.config.loop.save_map and hasattr(self, "map"):
            try:
                self.get_logger().info(self.map.save(self.config.loop.save_map))
            except LetvinsError as error:
                self.crashed = error
                self.get_logger().error(str(error))

    def state_of(self) -> tuple[str, dict[str, str]]:
        values = {"queue": str(len(self.queue)), "places": str(len(self.map))}
        if self.gnss is not None:
            datum = self.map.datum
            values["datum"] = "not aligned yet" if datum is None else " ".join(f"{value:.7f}" for value in datum)
        if time.monotonic() - max(self.heard_at, self.began) > SILENT_S:
            return "no odometry on letvins/odometry: has vio initialised?", values
        lost = "not yet relocalised in the map: drive where it was made, or give initialpose"
        return (lost if self.map.T_map_odom is None else ""), values


def main() -> None:
    """Run the node; odometry goes first where cores are few."""
    os.nice(NICENESS)
    run_node(LoopClosureNode)
