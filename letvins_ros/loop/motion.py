# SPDX-License-Identifier: Apache-2.0
"""Motions with covariance: T_a_b exp(xi), xi in GTSAM's order (rotation, then position), both in frame b."""

from dataclasses import dataclass

import gtsam
import numpy as np

from letvins_ros.geometry import adjoint, inverse, transform, yaw_rotation

YAW_ONLY_STD = 1e-4  # rad, of roll and pitch where gravity fixes them
_SWAP = np.roll(np.eye(6), 3, axis=0)


@dataclass(frozen=True, eq=False)
class Motion:
    """A pose of b in a with its covariance."""

    T_a_b: np.ndarray  # (4, 4)
    covariance: np.ndarray  # (6, 6): rotation, position, both in b

    def then(self, other: "Motion") -> "Motion":
        """Compose with a motion from b to c and propagate the covariance (Barfoot 2014, eq. 30, to first order)."""
        A = adjoint(inverse(other.T_a_b))
        return Motion(self.T_a_b @ other.T_a_b, A @ self.covariance @ A.T + other.covariance)

    @property
    def position_std(self) -> float:
        """Root of the summed variances of the position, m."""
        return float(np.sqrt(np.trace(self.covariance[3:, 3:])))

    @property
    def rotation_std(self) -> float:
        """Root of the summed variances of the rotation, rad."""
        return float(np.sqrt(np.trace(self.covariance[:3, :3])))


NO_MOTION = Motion(np.eye(4), np.zeros((6, 6)))


def swap_blocks(covariance: np.ndarray) -> np.ndarray:
    """Exchange the order (position, rotation) and (rotation, position) of a covariance (6, 6)."""
    return np.asarray(_SWAP @ covariance @ _SWAP.T)


def exp(xi: np.ndarray) -> np.ndarray:
    """The pose (4, 4) of a twist (6,)."""
    return np.asarray(gtsam.Pose3.Expmap(xi).matrix())


def log(T: np.ndarray) -> np.ndarray:
    """The twist (6,) of a pose (4, 4)."""
    return np.asarray(gtsam.Pose3.Logmap(gtsam.Pose3(T)))


def mahalanobis(xi: np.ndarray, covariance: np.ndarray) -> float:
    """Squared length of a twist (6,) in standard deviations."""
    return float(xi @ np.linalg.solve(covariance, xi))


def fuse(predicted: Motion, measured: Motion) -> Motion:
    """Both estimates of one pose, weighted by their covariances (a Kalman update)."""
    P, C = predicted.covariance, measured.covariance
    K = np.linalg.solve(P + C, P).T
    T = predicted.T_a_b @ exp(K @ log(inverse(predicted.T_a_b) @ measured.T_a_b))
    return Motion(T, (np.eye(6) - K) @ P)


def nearest_yaw(R: np.ndarray) -> float:
    """Angle, rad, of the rotation about z that is nearest to a rotation (3, 3)."""
    return float(np.arctan2(R[1, 0] - R[0, 1], R[0, 0] + R[1, 1]))


def level_pose(T_a_b: np.ndarray, R_level_b: np.ndarray) -> np.ndarray:
    """Pose (4, 4) of b's level frame in a gravity-aligned frame a: a rotation about z and a position."""
    R = yaw_rotation(nearest_yaw(T_a_b[:3, :3] @ R_level_b.T))
    return transform(R, T_a_b[:3, 3])


def align_with_gravity(motion: Motion, vertical_std: float) -> tuple[Motion, float]:
    """The motion between two gravity-aligned frames, and the angle (rad) by which it was tilted before.

    Roll and pitch are measured as zero with the relative uncertainty of the verticals (rad); this corrects the
    position as far as the two are correlated.
    """
    R_yaw = yaw_rotation(nearest_yaw(motion.T_a_b[:3, :3]))
    tilt = log(transform(R_yaw.T @ motion.T_a_b[:3, :3], np.zeros(3)))[:3]
    C = motion.covariance
    gain = C[:, :2] @ np.linalg.inv(C[:2, :2] + np.eye(2) * vertical_std**2)
    T, covariance = motion.T_a_b @ exp(-gain @ tilt[:2]), C - gain @ C[:2]
    T[:3, :3] = yaw_rotation(nearest_yaw(T[:3, :3]))
    covariance[:2, :] = covariance[:, :2] = 0.0
    covariance[[0, 1], [0, 1]] = YAW_ONLY_STD**2
    return Motion(T, covariance), float(np.linalg.norm(tilt))


def rotate_frames(motion: Motion, R_levela_a: np.ndarray, R_levelb_b: np.ndarray) -> Motion:
    """The same motion between frames rotated about their origins by these rotations (3, 3)."""
    T = np.eye(4)
    T[:3, :3] = R_levela_a @ motion.T_a_b[:3, :3] @ R_levelb_b.T
    T[:3, 3] = R_levela_a @ motion.T_a_b[:3, 3]
    A = np.kron(np.eye(2), R_levelb_b)
    return Motion(T, A @ motion.covariance @ A.T)
