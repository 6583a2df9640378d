# SPDX-License-Identifier: Apache-2.0
"""Node: shows in rerun what the others publish."""

import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from nav_msgs.msg import Odometry
from rclpy.utilities import remove_ros_args
from visualization_msgs.msg import Marker, MarkerArray

from letvins_ros.datasets.ros_image import ImageDecoder
from letvins_ros.errors import DataError
from letvins_ros.geometry import inverse
from letvins_ros.msg import FeatureTracks, Keyframe, VioStatus
from letvins_ros.ros import convert
from letvins_ros.ros.node import LetvinsNode
from letvins_ros.ros.run import run_node
from letvins_ros.sensors import calibrated_rig
from letvins_ros.types import VioState
from letvins_ros.view import open_view
from letvins_ros.writing import unused

KEPT = 30  # frames whose messages wait for each other


class ViewNode(LetvinsNode):
    """Joins what is published of one frame, and shows it."""

    def __init__(self, file: Path, **options: Any) -> None:
        """Show in rerun's viewer where one runs here, and record into a file, the next free one after a restart."""
        super().__init__("view", **options)
        self._file = unused(file)

    def configure(self) -> None:
        rig = calibrated_rig(self.config)
        self._view, self._cameras = open_view(self._file, rig), len(rig.cameras)
        self._decoders = [ImageDecoder(live=True) for _ in range(self._cameras)]
        self._T_base_imu: np.ndarray | None = None
        self._images: dict[int, dict[int, np.ndarray]] = {}  # by stamp, then by camera
        self._tracks: dict[int, FeatureTracks] = {}  # by stamp, as the next
        self._odometry: dict[int, Odometry] = {}

    def activate(self) -> None:
        for camera in range(self._cameras):
            self.hear_images(camera, partial(self._on_image, camera))
        self.subscribe(FeatureTracks, "letvins/tracks", lambda m: _keep(self._tracks, m))
        self.subscribe(Odometry, "letvins/odometry", lambda m: _keep(self._odometry, m))
        self.subscribe(VioStatus, "letvins/status", self._on_status)
        self.subscribe(Keyframe, "letvins/keyframe", self._on_keyframe)
        self.subscribe(MarkerArray, "letvins/pose_graph", self._on_map)

    def step(self) -> bool:
        return False

    def _on_image(self, camera: int, message: Any) -> None:
        try:
            image = convert.image_from(message, self._decoders[camera])
        except DataError:  # the tracker names it
            return
        if image is not None:
            stamp_ns = convert.stamp_to_ns(message.header.stamp)
            self._images.setdefault(stamp_ns, {})[camera] = image
            while len(self._images) > KEPT:
                del self._images[next(iter(self._images))]

    def _on_status(self, message: VioStatus) -> None:
        """The last of a frame's messages."""
        self._view.warn(message.warnings)
        stamp_ns = convert.stamp_to_ns(message.header.stamp)
        tracks, images = self._tracks.pop(stamp_ns, None), self._images.pop(stamp_ns, {})
        state = self._state(message, self._odometry.pop(stamp_ns, None))
        if tracks is not None:
            pictures = [images.get(camera) for camera in range(self._cameras)]
            self._view.frame(pictures, convert.tracks_from(tracks), state)
            self.stats.count("frames")

    def _state(self, status: VioStatus, odometry: Odometry | None) -> VioState | None:
        """The body's pose with the base's covariance, None before there is one."""
        if odometry is None or self._T_base_imu is None:
            return None
        T_odom_base, covariance = convert.pose_from_message(odometry.pose.pose), np.zeros((15, 15))
        covariance[:6, :6] = odometry.pose.covariance.reshape(6, 6)
        covariance[6:9, 6:9] = odometry.twist.covariance.reshape(6, 6)[:3, :3]
        v = odometry.twist.twist.linear
        gyro_bias, accel_bias = (np.array([b.x, b.y, b.z]) for b in (status.gyro_bias, status.accel_bias))
        return VioState(
            convert.stamp_to_ns(status.header.stamp), convert.STATES[status.state], status.reason,
            T_odom_base @ self._T_base_imu, T_odom_base[:3, :3] @ [v.x, v.y, v.z], gyro_bias, accel_bias, covariance,
            status.resets,
        )  # fmt: skip

    def _on_keyframe(self, message: Keyframe) -> None:
        keyframe = convert.keyframe_from(message)
        odometry = self._odometry.get(keyframe.stamp_ns)
        if odometry is not None:
            self._T_base_imu = inverse(convert.pose_from_message(odometry.pose.pose)) @ keyframe.T_odom_body
        self._view.keyframe(keyframe)

    def _on_map(self, message: MarkerArray) -> None:
        points = {marker.type: np.array([[p.x, p.y, p.z] for p in marker.points]) for marker in message.markers}
        ends = points.get(Marker.LINE_LIST, np.zeros(0)).reshape(-1, 2, 3)
        self._view.map(points.get(Marker.POINTS, np.zeros(0)).reshape(-1, 3), ends)

    def finish(self) -> None:
        if hasattr(self, "_view"):
            self._view.close()


def _keep(known: dict[int, Any], message: Any) -> None:
    known[convert.stamp_to_ns(message.header.stamp)] = message
    while len(known) > KEPT:
        del known[next(iter(known))]


def main() -> None:
    """Run the node; the first argument is the file."""
    file = Path(remove_ros_args(sys.argv)[1])
    run_node(lambda: ViewNode(file))
