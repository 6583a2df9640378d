# SPDX-License-Identifier: Apache-2.0
"""Where the IMU sits on the robot: its pose and velocity as those of the robot's base; needs no ROS."""

from dataclasses import dataclass
from itertools import permutations, product

import numpy as np

from letvins_ros.geometry import inverse, skew, transform
from letvins_ros.types import VioState


@dataclass(frozen=True, eq=False)
class Mount:
    """The IMU on the base; covariances are of first order, the mount itself counts as exact."""

    T_base_imu: np.ndarray  # (4, 4)

    @property
    def T_imu_base(self) -> np.ndarray:
        """(4, 4), the base in the IMU's frame."""
        return inverse(self.T_base_imu)

    def pose(self, T_odom_imu: np.ndarray) -> np.ndarray:
        """T_odom_base (4, 4)."""
        return T_odom_imu @ self.T_imu_base

    def pose_covariance(self, state: VioState) -> np.ndarray:
        """(6, 6) of the base's pose: position in odom, rotation about odom's axes, as ROS wants it."""
        R, lever = state.T_odom_body[:3, :3], self.T_imu_base[:3, 3]
        J = np.zeros((6, 6))  # the IMU's attitude error moves the base by the lever arm
        J[:3, :3], J[:3, 3:], J[3:, 3:] = np.eye(3), -R @ skew(lever), R
        return J @ state.covariance[:6, :6] @ J.T

    def twist(self, state: VioState, rate: np.ndarray) -> np.ndarray:
        """(6,) velocity of the base, m/s, and turning, rad/s, both in the base; rate (3,) is that of the IMU."""
        R_base_imu, lever = self.T_base_imu[:3, :3], self.T_imu_base[:3, 3]
        velocity = state.T_odom_body[:3, :3].T @ state.velocity_odom + np.cross(rate, lever)
        return np.concatenate([R_base_imu @ velocity, R_base_imu @ rate])

    def twist_covariance(self, state: VioState, rate_std: float) -> np.ndarray:
        """(6, 6) of twist; rate_std: noise of the rate that the twist was made from, rad/s."""
        R_imu_odom, R_base_imu = state.T_odom_body[:3, :3].T, self.T_base_imu[:3, :3]
        arm = skew(self.T_imu_base[:3, 3])
        J = np.zeros((6, 15))  # an attitude error turns the velocity, one of the gyro's bias acts at the lever arm
        J[:3, 3:6], J[:3, 6:9], J[:3, 12:] = skew(R_imu_odom @ state.velocity_odom), R_imu_odom, arm
        J[3:, 12:] = -np.eye(3)
        noise = np.vstack([-arm, np.eye(3)]) * rate_std
        turn = np.kron(np.eye(2), R_base_imu)
        return turn @ (J @ state.covariance @ J.T + noise @ noise.T) @ turn.T


def facing(T_body_cam: np.ndarray) -> Mount:
    """A base at the IMU with REP 103 axes: of the body's axes, x is the nearest to where the camera looks, z to its up.

    T_body_cam (4, 4): of a camera that looks ahead, its z forward and y down.
    """
    R = T_body_cam[:3, :3]
    wanted = np.column_stack([R[:, 2], -R[:, 0], -R[:, 1]])  # forward, left, up in the body
    turns = (np.eye(3)[list(order)] * signs for order in permutations(range(3)) for signs in product([1, -1], repeat=3))
    nearest = max((turn for turn in turns if np.linalg.det(turn) > 0), key=lambda turn: float((turn * wanted).sum()))
    return Mount(transform(nearest.T, np.zeros(3)))
