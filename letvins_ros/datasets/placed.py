# SPDX-License-Identifier: Apache-2.0
"""A recording's own calibration, with where its truth belongs."""

from dataclasses import dataclass

import numpy as np

from letvins_ros import geometry
from letvins_ros.calibration import Rig
from letvins_ros.types import ImuSamples, Trajectory


@dataclass(frozen=True, eq=False)
class Placed:
    """The calibration that lies in a folder, as far as there is one."""

    rig: Rig | None
    T_truth_body: np.ndarray | None = None  # (4, 4) the body in the frame whose poses are the truth; None: left camera
    imu_mounted: bool = True  # the body is the IMU
    reason: str = ""  # why there is no rig, or no place of the IMU
    imu_intrinsics: np.ndarray | None = None  # (2, 3, 4) [M | b] of gyro and accelerometer: M raw - b is the reading

    def corrected(self, imu: ImuSamples) -> ImuSamples:
        """The readings with scale, misalignment and bias of the factory's calibration taken out."""
        if self.imu_intrinsics is None:
            return imu
        raw = (imu.gyro, imu.accel)
        gyro, accel = (x @ m[:, :3].T - m[:, 3] for x, m in zip(raw, self.imu_intrinsics, strict=True))
        return ImuSamples(imu.stamps_ns, gyro, accel)


def move_truth(truth: Trajectory, T_truth_body: np.ndarray) -> Trajectory:
    """Poses of the body from those of the frame in which it sits at T_truth_body (4, 4)."""
    T = geometry.from_quaternion(truth.positions, truth.quaternions) @ T_truth_body
    return Trajectory(truth.stamps_ns, T[:, :3, 3], geometry.quaternion_xyzw(T[:, :3, :3]))
