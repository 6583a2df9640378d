# SPDX-License-Identifier: Apache-2.0
"""The robot's frames as a node receives them on /tf, and those that it adds: base to IMU and cameras."""

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from letvins_ros.calibration import Rig
from letvins_ros.errors import DataError
from letvins_ros.geometry import pose_from_text
from letvins_ros.ros import convert
from letvins_ros.ros.frames import FrameTree, apart
from letvins_ros.ros.mount import Mount, facing
from letvins_ros.ros.node import LetvinsNode
from letvins_ros.ros.qos import LATCHED, STATIC, TF

ALONE_S = 0.5  # after so long a node knows who publishes on /tf_static; where nobody does, the mount is not waited for
WAIT_S = 1.5  # where somebody does, it is waited for so long
LOOK_S = 0.5  # how often /tf is looked at once the mount is known
FAR_M, FAR_DEG = 0.02, 2.0  # a mount in /tf so far from the calibration's is named


class RobotFrames:
    """Finds the mount of the IMU, publishes static transforms that are missing, names frames with two parents."""

    def __init__(self, node: LetvinsNode, rig: Rig) -> None:
        self._node, self._rig = node, rig
        self._tree = FrameTree()
        self._messages = convert.installed("tf2_msgs.msg")
        self._statics = node.advertise(self._messages.TFMessage, "/tf_static", LATCHED) if self._messages else None
        self._take: dict[bool, Callable[[], Iterable[Any]]] = {}  # static or not
        self._published: dict[str, np.ndarray] = {}  # T_base_child by child
        self._wrong = set[str]()  # children published by an assumed mount, which others may still hold
        self._began = self._looked = time.monotonic()
        self.mount: Mount | None = None  # None: not known yet
        self.is_assumed = False  # as nobody has said where the IMU is

    def listen(self) -> None:
        """Subscribe to /tf and /tf_static, until the node is deactivated."""
        self._began = time.monotonic()
        if self._messages:
            kind = self._messages.TFMessage
            self._take = {
                True: self._node.poll(kind, "/tf_static", STATIC),
                False: self._node.poll(kind, "/tf", TF),
            }

    def T_imu(self, frame: str) -> np.ndarray | None:
        """T_imu_frame (4, 4) of a frame on the robot; None where mount or frame are not known."""
        base = self._node.config.ros.base_frame
        T_base_frame = self._tree.static(base, frame or base)
        return None if self.mount is None or T_base_frame is None else self.mount.T_imu_base @ T_base_frame

    def look(self, imu_frame: str, camera_frames: Sequence[str]) -> None:
        """Take what was heard; imu_frame and camera_frames: names in the sensors' messages, empty where unknown."""
        now = time.monotonic()
        if self.mount is not None and now - self._looked < LOOK_S:
            return
        self._looked = now
        for static, take in self._take.items():
            for message, _ in take():
                for T in message.transforms:
                    self._add(T, static)
        for text in self._tree.conflicts():
            self._node.problems.note("tf", text)
        imu_frame = self._node.config.ros.imu_frame or imu_frame
        if not (imu_frame or camera_frames):
            self._began = now  # no sensor has been heard, whose frame could be known
        elif self.mount is None or self.is_assumed:
            alone = self._node.count_publishers("/tf_static") < 2  # one is ours
            late = now - self._node.made_at > ALONE_S if alone else now - self._began > WAIT_S
            self.mount = self._find(imu_frame, late)
        if self.mount is not None:
            self._complete(self.mount, imu_frame, camera_frames)

    def _add(self, T: Any, static: bool) -> None:
        """Take a TransformStamped into the tree, unless it is no transform."""
        try:
            pose = convert.transform_from_message(T.transform)
        except DataError as error:
            self._node.problems.note("tf", f"{T.header.frame_id} -> {T.child_frame_id}: {error}")
        else:
            own = self._published.get(T.child_frame_id)
            if own is None or not np.allclose(own, pose, atol=1e-9):  # a node hears what it publishes itself
                self._tree.add(T.header.frame_id, T.child_frame_id, pose, static=static)

    def _find(self, imu_frame: str, late: bool) -> Mount | None:
        """The mount of the configuration, or of /tf, or after a while one whose axes follow the left camera."""
        ros = self._node.config.ros
        known = self._tree.static(ros.base_frame, imu_frame)
        if ros.T_base_imu:
            source, mount = "the configuration", Mount(pose_from_text(ros.T_base_imu))
        elif known is not None:
            source, mount = "/tf_static", Mount(known)
        elif late and self.mount is None:
            source, mount = "its own axes and the left camera's", facing(self._rig.cameras[0].T_body_cam)
        else:
            return self.mount
        self.is_assumed = known is None and not ros.T_base_imu
        self._wrong, self._published = set(self._published), {}
        x, y, z = mount.T_base_imu[:3, 3]
        text = f"{ros.base_frame} has the IMU at {x:.3f} {y:.3f} {z:.3f} m, by {source}"
        self._node.get_logger().info(text)
        return mount

    def _complete(self, mount: Mount, imu_frame: str, camera_frames: Sequence[str]) -> None:
        """Publish the frames of the sensors that nobody has published; name those that are elsewhere."""
        ros = self._node.config.ros
        sensors = {imu_frame: mount.T_base_imu}
        for name, camera in zip(camera_frames, self._rig.cameras, strict=False):
            sensors[name] = mount.T_base_imu @ camera.T_body_cam
        named = {name: T for name, T in sensors.items() if name not in ("", ros.base_frame)}
        self._say_where_apart(named)
        free = {n for n in named if n not in self._published and not self._tree.parents(n)}
        missing = {n: T for n, T in named.items() if n in free | self._wrong}
        if missing and ros.publish_static_tf and self._statics is not None:
            self._published, self._wrong = self._published | missing, set()
            stamp_ns = self._node.get_clock().now().nanoseconds
            transforms = [
                convert.transform_to_message(T, stamp_ns, ros.base_frame, name) for name, T in self._published.items()
            ]
            self._statics.publish(self._messages.TFMessage(transforms=transforms))

    def _say_where_apart(self, sensors: dict[str, np.ndarray]) -> None:
        for name, T in sensors.items():
            known = self._tree.static(self._node.config.ros.base_frame, name)
            if known is None:
                continue
            metres, degrees = apart(T, known)
            if metres > FAR_M or degrees > FAR_DEG:
                text = f"{name} is {metres:.3f} m and {degrees:.1f} degrees from where the calibration has it"
                self._node.problems.note("/tf_static", text)
