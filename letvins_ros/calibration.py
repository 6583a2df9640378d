# SPDX-License-Identifier: Apache-2.0
"""The sensor rig."""

from dataclasses import dataclass

import numpy as np

from letvins_ros.camera import Camera


@dataclass(frozen=True, eq=False)
class MountedCamera:
    """A camera on the body."""

    camera: Camera
    T_body_cam: np.ndarray  # (4, 4)
    time_offset_s: float = 0.0  # t_imu = t_camera + time_offset_s
    mask: np.ndarray | None = None  # (H, W) uint8, zero where no features may be


@dataclass(frozen=True)
class ImuNoise:
    """Continuous-time noise densities."""

    gyro_noise: float  # rad/s/sqrt(Hz)
    accel_noise: float  # m/s^2/sqrt(Hz)
    gyro_walk: float  # rad/s^2/sqrt(Hz)
    accel_walk: float  # m/s^3/sqrt(Hz)
    rate_hz: float = 200.0


@dataclass(frozen=True, eq=False)
class Rig:
    """Cameras (left first) and IMU of one device."""

    cameras: tuple[MountedCamera, ...]
    imu: ImuNoise | None
