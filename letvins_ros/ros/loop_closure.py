# SPDX-License-Identifier: Apache-2.0
"""Node: keyframes and images in, the map's correction out."""

import os
import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from geometry_msgs.msg import PoseWithCovarianceStamped
from nav_msgs.msg import Odometry, Path
from rclpy.parameter import Parameter
from std_srvs.srv import Trigger
from visualization_msgs.msg import MarkerArray

from letvins_ros.config import Config
from letvins_ros.datasets.ros_image import ImageDecoder
from letvins_ros.errors import DataError, LetvinsError
from letvins_ros.msg import Keyframe, LoopClosure, PlaceDescription
from letvins_ros.ros import convert
from letvins_ros.ros.gnss import GnssInput
from letvins_ros.ros.live_map import LiveMap
from letvins_ros.ros.node import LetvinsNode
from letvins_ros.ros.paths import PathOutput, graph_markers
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


class Sessions:
    """Goes on counting keyframes and resets where the vio node was restarted and counts from 0 again."""

    def __init__(self) -> None:
        self._last: tuple[int, int, int] | None = None  # session, index and resets, as they came
        self._keyframes, self._resets = 0, 0  # how many there were before this session

    def continued(self, keyframe: CoreKeyframe, session_ns: int) -> CoreKeyframe:
        """The keyframe with index and resets since the first session; session_ns: when its node was started."""
        if self._last is not None and self._last[0] != session_ns:
            self._keyframes += self._last[1] + 1
            self._resets += self._last[2] + 1
        self._last = session_ns, keyframe.index, keyframe.resets
        return replace(keyframe, index=self._keyframes + keyframe.index, resets=self._resets + keyframe.resets)


class LoopClosureNode(LetvinsNode):
    """Feeds the loop closer in a thread of its own, and puts odometry into the map."""

    def __init__(self, **options: Any) -> None:
        super().__init__("loop_closure", **options)

    def configure(self) -> None:
        self._map = LiveMap(self.config, self.get_namespace())
        self._T_odom_base: np.ndarray | None = None  # as odometry had it last
        self._gnss = GnssInput(self) if self.config.loop.gnss else None
        self._queue: deque[Waiting] = deque()
        self._images: dict[int, Any] = {}  # messages by stamp, oldest first
        self._decoder = ImageDecoder(live=True)
        self._sessions = Sessions()
        self._tracker_describes = ""  # by which network, since it first did
        self._heard_at = time.monotonic()
        self._out_odometry = self.advertise(Odometry, "letvins/map_odometry")
        self._path = PathOutput(self.config.ros, self.advertise(Path, "letvins/map_path"))
        self._out_loop = self.advertise(LoopClosure, "letvins/loop")
        self._out_graph = self.advertise(MarkerArray, "letvins/pose_graph")
        self._send_transform = self.broadcaster()
        self.serve(Trigger, "~/save_map", self._save)
        self.serve(Trigger, "~/load_map", self._load)
        self.serve(SaveMap, "~/save_map_to", self._save_file)
        self.serve(LoadMap, "~/load_map_from", self._load_file)
        self.serve(SetPose, "~/set_pose", self._set_pose)

    def activate(self) -> None:
        self.hear_images(0, self._on_image)
        if self._gnss is not None:
            self._gnss.listen()
        self.subscribe(Odometry, "letvins/odometry", self._on_odometry)
        self.subscribe(Keyframe, "letvins/keyframe", self._on_keyframe)
        self.subscribe(PoseWithCovarianceStamped, "initialpose", self._on_initial_pose)

    def _on_odometry(self, message: Odometry) -> None:
        """Send the same pose in the map; its covariance about odom's axes is turned with it."""
        ros, stamp_ns = self.config.ros, convert.stamp_to_ns(message.header.stamp)
        self._heard_at = time.monotonic()
        self.stats.count("odometry")
        self._T_odom_base = convert.pose_from_message(message.pose.pose)
        if self._gnss is not None:
            self._gnss.odometry(stamp_ns, self._T_odom_base)
        T_map_odom = self._map.T_map_odom
        if T_map_odom is None:
            return
        T_map_base = T_map_odom @ self._T_odom_base
        if ros.publish_map_tf:
            self._send_transform(convert.transform_to_message(T_map_odom, stamp_ns, ros.map_frame, ros.odom_frame))
        message.header.frame_id = ros.map_frame
        message.pose.pose = convert.pose_to_message(T_map_base)
        turn = np.kron(np.eye(2), T_map_odom[:3, :3])
        message.pose.covariance = (turn @ message.pose.covariance.reshape(6, 6) @ turn.T).ravel()
        self._out_odometry.publish(message)
        self._path.add(stamp_ns, ros.map_frame, T_map_base)

    def _on_image(self, message: Any) -> None:
        self._images[convert.stamp_to_ns(message.header.stamp)] = message
        while len(self._images) > KEPT_IMAGES:
            del self._images[next(iter(self._images))]

    def _on_keyframe(self, message: Keyframe) -> None:
        self.stats.count("keyframes")
        self._tracker_describes = message.description.describer or self._tracker_describes
        needs_image = self._tracker_describes != self._map.describer
        image = self._images.get(convert.stamp_to_ns(message.header.stamp)) if needs_image else None
        if image is None and needs_image:
            self.problems.note("keyframes", "their left images have not come, no loops are looked for")
        if len(self._queue) >= QUEUE:
            self.problems.note("keyframes", "not looked at, because they come faster than loops are closed")
            image, message.description = None, PlaceDescription()
        self._queue.append(Waiting(message, image))
        self.wake()

    # -- the worker's thread ------------------------------------------------------------------------------------------

    def step(self) -> bool:
        if not self._queue:
            return False
        message, image = self._queue.popleft()
        keyframe = self._sessions.continued(convert.keyframe_from(message), convert.stamp_to_ns(message.session))
        if self._gnss is not None:
            self._map.add_fixes(*self._gnss.fixes(keyframe.stamp_ns, keyframe.T_odom_body))
        answer = self._map.add(keyframe, self._gray(image))  # one without image is needed too, for the odometry chain
        if isinstance(answer.closure, CoreClosure) and answer.T_map_odom is not None:
            self._publish_loop(answer.closure, answer.T_map_odom)
        if self._out_graph.get_subscription_count():
            self._out_graph.publish(graph_markers(self._map.snapshot(), keyframe.stamp_ns, self.config.ros.map_frame))
        return True

    def _gray(self, message: Any) -> np.ndarray | None:
        """The image (H, W), None where there is none that can be used."""
        try:
            gray = None if message is None else convert.image_from(message, self._decoder)
        except DataError:  # the tracker names it
            return None
        camera = self._map.camera.camera
        return gray if gray is not None and gray.shape == (camera.height, camera.width) else None

    def _publish_loop(self, closure: CoreClosure, T_map_odom: np.ndarray) -> None:
        self.stats.count("loops")
        self._out_loop.publish(convert.closure_to_message(closure, T_map_odom, self.config.ros.map_frame))
        if closure.relocalised:
            self.get_logger().info("relocalised in the map")

    # -- maps ---------------------------------------------------------------------------------------------------------

    def _save(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        return self._answered(response, lambda: self._map.save(self.config.loop.save_map))

    def _load(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        return self._answered(response, lambda: self._map.load(self.config.loop.load_map, self.config.loop.mode))

    def _save_file(self, request: SaveMap.Request, response: SaveMap.Response) -> SaveMap.Response:
        self._answered(response, lambda: self._map.save(request.file or self.config.loop.save_map))
        response.places = len(self._map)
        return response

    def _load_file(self, request: LoadMap.Request, response: LoadMap.Response) -> LoadMap.Response:
        mode = "localise" if request.localise else self.config.loop.mode
        self._answered(response, lambda: self._map.load(request.file or self.config.loop.load_map, mode))
        if response.success and mode != self.config.loop.mode:
            self.set_parameters([Parameter("loop.mode", value=mode)])
        response.places = len(self._map)
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
        if self._T_odom_base is None:
            raise DataError("there is no odometry yet that the pose could be compared with")
        T_map_base = convert.pose_from_message(message.pose.pose)
        self._map.place(T_map_base, self._T_odom_base, np.reshape(message.pose.covariance, (6, 6)))
        x, y, z = T_map_base[:3, 3]
        return f"placed in the map at {x:.2f} {y:.2f} {z:.2f} m"

    def configured(self, config: Config) -> None:
        if hasattr(self, "_map") and config.loop.mode != self.config.loop.mode:
            self._map.set_mode(config.loop.mode)

    def finish(self) -> None:
        """Write the map where the configuration names a file for it."""
        if self.config.loop.save_map and hasattr(self, "_map"):
            try:
                self.get_logger().info(self._map.save(self.config.loop.save_map))
            except LetvinsError as error:
                self.crashed = error
                self.get_logger().error(str(error))

    def state_of(self) -> tuple[str, dict[str, str]]:
        values = {"queue": str(len(self._queue)), "places": str(len(self._map))}
        if self._gnss is not None:
            datum = self._map.datum
            values["datum"] = "not aligned yet" if datum is None else " ".join(f"{value:.7f}" for value in datum)
        if time.monotonic() - self._heard_at > SILENT_S:
            return "no odometry on letvins/odometry: has vio initialised?", values
        lost = "not yet relocalised in the map: drive where it was made, or give initialpose"
        return (lost if self._map.T_map_odom is None else ""), values


def main() -> None:
    """Run the node; odometry goes first where cores are few."""
    os.nice(NICENESS)
    run_node(LoopClosureNode)
