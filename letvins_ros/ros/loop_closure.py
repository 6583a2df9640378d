# SPDX-License-Identifier: Apache-2.0
"""Node: keyframes and images in, the map's correction out."""

import os
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path as File
from typing import Any, NamedTuple

import numpy as np
from geometry_msgs.msg import Point
from nav_msgs.msg import Odometry, Path
from std_msgs.msg import ColorRGBA
from std_srvs.srv import Trigger
from visualization_msgs.msg import Marker, MarkerArray

from letvins_ros import __version__
from letvins_ros.config_io import to_yaml
from letvins_ros.errors import DataError, LetvinsError
from letvins_ros.loop.closer import LoopCloser, MapSnapshot
from letvins_ros.loop.describers import describer_name
from letvins_ros.loop.map_file import MapInfo, load_map, save_map
from letvins_ros.msg import Keyframe, LoopClosure
from letvins_ros.ros import convert
from letvins_ros.ros.node import LetvinsNode, run_node
from letvins_ros.ros.paths import ThinnedPath
from letvins_ros.sensors import calibrated_rig
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
        rig, upright = calibrated_rig(self.config), self.config.mode != "stereo"
        self.camera = rig.cameras[0]
        settings = to_yaml(replace(self.config, rig=rig))
        describer, origin = describer_name(self.config.loop), {"source": self.get_namespace(), "made_by": __version__}
        self.info = MapInfo.of(self.camera, upright, settings, describer, **origin)
        self.using = threading.Lock()  # of the closer
        self.closer = self._closer(self.config.loop.load_map)
        self.T_map_odom: np.ndarray | None = np.eye(4)
        if self.config.loop.load_map:
            self.T_map_odom = None  # until it has found itself
        self.queue: deque[Waiting] = deque()
        self.images: dict[int, Any] = {}  # messages by stamp, oldest first
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

    def _closer(self, file: str) -> LoopCloser:
        """A closer that begins with nothing, or with the map of a file; LetvinsError where that cannot be used."""
        places = load_map(File(file), self.info)[0] if file else None
        return LoopCloser(self.config.loop, self.camera, self.info.gravity_aligned, places)

    def activate(self) -> None:
        self.hear_images(0, self._on_image)
        self.hear(Odometry, "letvins/odometry", self._on_odometry)
        self.hear(Keyframe, "letvins/keyframe", self._on_keyframe)

    def _on_odometry(self, message: Odometry) -> None:
        """Send the same pose in the map; its covariance about odom's axes is turned with it."""
        ros, stamp_ns = self.config.ros, convert.stamp_to_ns(message.header.stamp)
        self.heard_at = time.monotonic()
        self.stats.count("odometry")
        T_map_odom = self.T_map_odom
        if T_map_odom is None:
            return
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
        with self.using:  # one without image is needed too, for the way
            answer = self.closer.add(keyframe, self._gray(image))
            if answer.T_map_odom is not None:
                self.T_map_odom = answer.T_map_odom
            wanted = self.out_graph.get_subscription_count() > 0
            snapshot = self.closer.snapshot() if wanted else None
        if isinstance(answer.closure, CoreClosure) and answer.T_map_odom is not None:
            self._publish_loop(answer.closure, answer.T_map_odom)
        if snapshot is not None:
            self.out_graph.publish(self._graph(keyframe.stamp_ns, snapshot))
        return True

    def _gray(self, message: Any) -> np.ndarray:
        """The image (H, W); black where there is none, which shows no place."""
        black = np.zeros((self.camera.camera.height, self.camera.camera.width), np.uint8)
        try:
            gray = None if message is None else convert.image_from(message)
        except DataError:  # the tracker names it
            return black
        return gray if gray is not None and gray.shape == black.shape else black

    def _publish_loop(self, closure: CoreClosure, T_map_odom: np.ndarray) -> None:
        self.stats.count("loops")
        self.out_loop.publish(convert.closure_to_message(closure, T_map_odom, self.config.ros.map_frame))
        if closure.relocalised:
            self.get_logger().info("found itself in the map")

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
        file = self.config.loop.save_map
        return self._answered(response, file, "loop.save_map", lambda: self._save_to(File(file)))

    def _save_to(self, file: File) -> str:
        with self.using:
            places = self.closer.optimised_map()
            save_map(file, places, self.info)
            return f"{len(places)} places saved to {file}"

    def _load(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        file = self.config.loop.load_map
        return self._answered(response, file, "loop.load_map", lambda: self._load_from(file))

    def _load_from(self, file: str) -> str:
        closer = self._closer(file)
        with self.using:
            self.closer, self.T_map_odom = closer, None
            return f"{len(closer.places)} places loaded from {file}; map->odom comes once it has found itself"

    def _answered(self, response: Trigger.Response, file: str, name: str, act: Callable[[], str]) -> Trigger.Response:
        response.success, response.message = False, f"set the parameter {name} to a file first"
        try:
            if file:
                response.message, response.success = act(), True
        except LetvinsError as error:
            response.message = str(error)
        return response

    def state_of(self) -> tuple[str, dict[str, str]]:
        values = {"queue": str(len(self.queue)), "places": str(len(self.closer.places))}
        if time.monotonic() - max(self.heard_at, self.began) > SILENT_S:
            return "no odometry on letvins/odometry: has vio initialised?", values
        return ("it has not found itself in the map yet" if self.T_map_odom is None else ""), values


def main() -> None:
    """Run the node; odometry goes first where cores are few."""
    os.nice(NICENESS)
    run_node(LoopClosureNode)
