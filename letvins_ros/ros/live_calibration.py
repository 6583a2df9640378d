# SPDX-License-Identifier: Apache-2.0
"""A rig from what is on the topics: camera_info, static transforms, the IMU's covariances."""

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from rclpy.qos import QoSProfile
from sensor_msgs.msg import CameraInfo, Imu

from letvins_ros.calibration import TYPICAL_IMU, ImuNoise, MountedCamera, Rig
from letvins_ros.errors import Rejected
from letvins_ros.ros import convert
from letvins_ros.ros.camera_info import T_left_right, camera_of
from letvins_ros.ros.frames import FrameTree
from letvins_ros.ros.qos import STATIC, sensor_qos

READINGS = 400  # from which the IMU's rate is told
LEAST_S = 0.5  # of them
Poll = Callable[[type, str, QoSProfile], Callable[[], Iterable[Any]]]


class LiveCalibration:
    """Listens until it knows the rig; every node of a system comes to the same one."""

    def __init__(self, camera_infos: Sequence[str], imu: str, poll: Poll) -> None:
        """camera_infos, imu: topics, imu empty where it is not used; poll: LetvinsNode.poll."""
        self._topics, self._uses_imu, self._count = camera_infos, bool(imu), len(camera_infos)
        messages = convert.installed("tf2_msgs.msg")
        quality = sensor_qos(READINGS, reliable=False)
        self._take_infos = [poll(CameraInfo, topic, quality) for topic in self._topics]
        self._take_imu = poll(Imu, imu, quality) if imu else tuple
        self._take_tf = poll(messages.TFMessage, "/tf_static", STATIC) if messages else tuple
        self._infos: list[Any] = [None] * self._count
        self._imu: deque[Any] = deque(maxlen=READINGS)
        self._tree = FrameTree()

    def rig(self) -> Rig | Rejected:
        """The rig, or what is missing; raises CalibrationError where what there is cannot be used."""
        self._listen()
        missing = [topic for topic, info in zip(self._topics, self._infos, strict=True) if info is None]
        if missing:
            return Rejected(f"no calibration in the configuration, and no camera_info on {' and '.join(missing)}")
        noise = self._noise() if self._uses_imu else None
        if isinstance(noise, Rejected):
            return noise
        mounts = self._mounts()
        if isinstance(mounts, Rejected):
            return mounts
        cameras = [MountedCamera(camera_of(info), T) for info, T in zip(self._infos, mounts, strict=True)]
        return Rig(tuple(cameras), noise)

    def _listen(self) -> None:
        for i, take in enumerate(self._take_infos):
            for info, _ in take():
                self._infos[i] = info
        self._imu.extend(message for message, _ in self._take_imu())
        for message, _ in self._take_tf():
            for T in message.transforms:
                pose = convert.transform_from_message(T.transform)
                self._tree.add(T.header.frame_id, T.child_frame_id, pose, static=True)

    def _noise(self) -> ImuNoise | Rejected:
        """Densities from the messages' covariances and rate, typical ones where those say nothing."""
        stamps = [convert.stamp_to_ns(message.header.stamp) for message in self._imu]
        if len(stamps) < 2 or (stamps[-1] - stamps[0]) * 1e-9 < LEAST_S:
            return Rejected("no calibration in the configuration, and no IMU readings on imu yet")
        rate_hz = (len(stamps) - 1) / ((stamps[-1] - stamps[0]) * 1e-9)
        message = self._imu[-1]
        gyro, accel = (
            float(np.sqrt(np.mean(covariance[[0, 4, 8]]) / rate_hz)) if covariance[0] > 0 else typical
            for covariance, typical in (
                (message.angular_velocity_covariance, TYPICAL_IMU.gyro_noise),
                (message.linear_acceleration_covariance, TYPICAL_IMU.accel_noise),
            )
        )
        return ImuNoise(gyro, accel, TYPICAL_IMU.gyro_walk, TYPICAL_IMU.accel_walk, round(rate_hz, 1))

    def _mounts(self) -> list[np.ndarray] | Rejected:
        """T_body_cam (4, 4) of each camera; the body is the IMU, or the left camera without one."""
        frames = [info.header.frame_id for info in self._infos]
        body = self._imu[-1].header.frame_id if self._uses_imu else frames[0]
        T_body_left = self._tree.static(body, frames[0])
        if T_body_left is None:
            return Rejected(f"no calibration in the configuration, and /tf_static does not join {body} and {frames[0]}")
        mounts = [T_body_left]
        if self._count > 1:
            T_body_right = self._tree.static(body, frames[1]) if frames[1] != frames[0] else None
            mounts.append(T_body_left @ T_left_right(*self._infos) if T_body_right is None else T_body_right)
        return mounts
