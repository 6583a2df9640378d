# SPDX-License-Identifier: Apache-2.0
"""GNSS fixes on their way to the map, and where on the robot their antenna is."""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from sensor_msgs.msg import NavSatFix, NavSatStatus

from letvins_ros.errors import DataError
from letvins_ros.geometry import inverse
from letvins_ros.ros import convert
from letvins_ros.ros.frames import FrameTree
from letvins_ros.ros.node import LetvinsNode
from letvins_ros.ros.qos import STATIC
from letvins_ros.types import GnssFixes

DEPTH = 50
KEPT = 60  # poses of the base, for the keyframes of their times


class GnssInput:
    """Fixes of the topic `gnss`; the antenna is where /tf_static has the messages' frame, unless configured."""

    def __init__(self, node: LetvinsNode) -> None:
        self._node, self._tree = node, FrameTree()
        self._take: Callable[[], Iterable[Any]] = tuple
        self._take_tf: Callable[[], Iterable[Any]] = tuple
        self._T_odom_base: dict[int, np.ndarray] = {}  # by stamp
        self._T_imu_base: np.ndarray | None = None

    def listen(self) -> None:
        """Subscribe until the node is deactivated."""
        self._take = self._node.poll(NavSatFix, "gnss", self._node.sensor_qos(DEPTH))
        messages = convert.installed("tf2_msgs.msg")
        if messages is not None:
            self._take_tf = self._node.poll(messages.TFMessage, "/tf_static", STATIC)

    def odometry(self, stamp_ns: int, T_odom_base: np.ndarray) -> None:
        """The base's pose (4, 4) at a time."""
        self._T_odom_base[stamp_ns] = T_odom_base
        while len(self._T_odom_base) > KEPT:
            del self._T_odom_base[next(iter(self._T_odom_base))]

    def fixes(self, stamp_ns: int, T_odom_imu: np.ndarray) -> tuple[GnssFixes, np.ndarray | None]:
        """What has come, and the antenna (3,) in the IMU's frame, None where it is the configured one.

        T_odom_imu (4, 4): a keyframe's pose at stamp_ns, which with the base's gives the IMU's place on the robot.
        """
        T_odom_base = self._T_odom_base.pop(stamp_ns, None)
        if T_odom_base is not None:
            self._T_imu_base = inverse(T_odom_imu) @ T_odom_base
        rows: list[tuple[int, np.ndarray]] = []
        frame = ""
        for message, _ in self._take():
            self._node.stats.count("gnss")
            row = fix_row(message)
            if not np.isfinite(row[1][:3]).all():
                self._node.problems.note("gnss", "messages without a fix, left out")
            elif rows and row[0] <= rows[-1][0]:
                self._node.problems.note("gnss", "stamps repeated or back, left out")
            else:
                frame = message.header.frame_id
                rows.append(row)
        stamps, values = np.array([row[0] for row in rows], np.int64), np.array([row[1] for row in rows])
        fixes = GnssFixes.of_rows(stamps, values.reshape(-1, 6))
        return fixes, self._antenna(frame) if rows else None

    def _antenna(self, frame: str) -> np.ndarray | None:
        if self._node.config.loop.gnss_antenna:
            return None
        for message, _ in self._take_tf():
            for T in message.transforms:
                try:
                    pose = convert.transform_from_message(T.transform)
                except DataError:  # vio names it
                    continue
                self._tree.add(T.header.frame_id, T.child_frame_id, pose, static=True)
        base = self._node.config.ros.base_frame
        T_base_antenna = self._tree.static(base, frame or base)
        if T_base_antenna is None:
            text = f"/tf_static does not join {base} and {frame}, the antenna is taken to be at the IMU"
            self._node.problems.note("gnss", text)
        if T_base_antenna is None or self._T_imu_base is None:
            return None
        return np.asarray((self._T_imu_base @ T_base_antenna)[:3, 3])


def fix_row(message: NavSatFix) -> tuple[int, np.ndarray]:
    """Stamp, and (6,) latitude, longitude, height, NaN without a fix, with standard deviations, 0 where unknown."""
    variances = np.reshape(message.position_covariance, (3, 3)).diagonal()
    known = message.position_covariance_type != NavSatFix.COVARIANCE_TYPE_UNKNOWN
    std = np.sqrt(np.maximum(variances, 0.0)) if known else np.zeros(3)
    place = [message.latitude, message.longitude, message.altitude] if message.status.status >= 0 else [np.nan] * 3
    return convert.stamp_to_ns(message.header.stamp), np.array([*place, *std])


def fix_message(stamp_ns: int, place: np.ndarray, std: np.ndarray, frame_id: str) -> NavSatFix:
    """A fix as a message."""
    message = NavSatFix(header=convert.header(stamp_ns, frame_id))
    message.status.status = NavSatStatus.STATUS_FIX  # the default says that it is not known
    message.latitude, message.longitude, message.altitude = (float(value) for value in place)
    if np.isfinite(std).all():
        message.position_covariance = np.diag(std**2).ravel()
        message.position_covariance_type = NavSatFix.COVARIANCE_TYPE_DIAGONAL_KNOWN
    return message
