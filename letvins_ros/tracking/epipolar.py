# SPDX-License-Identifier: Apache-2.0
"""Two-view checks on unit bearings, so that they hold for every camera model."""

import cv2
import numpy as np

from letvins_ros.calibration import MountedCamera
from letvins_ros.geometry import inverse, skew


def epipolar_error(E: np.ndarray, bearings_a: np.ndarray, bearings_b: np.ndarray) -> np.ndarray:
    """Sampson angles (..., N), rad, of bearing pairs (N, 3) under essential matrices E (..., 3, 3): b_b^T E b_a = 0."""
    lines_b = bearings_a @ np.swapaxes(E, -1, -2)
    lines_a = bearings_b @ E
    algebraic = (lines_b * bearings_b).sum(-1)
    # only the part of a line's normal across the bearing moves the error
    slope = (lines_b**2).sum(-1) + (lines_a**2).sum(-1) - 2 * algebraic**2
    return np.asarray(np.abs(algebraic) / np.sqrt(np.maximum(slope, 1e-18)))


def inliers_known_rotation(
    bearings_a: np.ndarray, bearings_b: np.ndarray, R_b_a: np.ndarray, limit_rad: float, seed: int
) -> np.ndarray:
    """Which pairs (N,) bool agree with one direction of travel, by two-point RANSAC with the rotation known."""
    n = len(bearings_a)
    if n < 8:
        return np.ones(n, bool)
    turned = bearings_a @ R_b_a.T
    normals = np.cross(turned, bearings_b)  # each holds t . normal = 0
    pairs = np.random.default_rng(seed).integers(0, n, (60, 2))
    directions = np.cross(normals[pairs[:, 0]], normals[pairs[:, 1]])
    lengths = np.linalg.norm(directions, axis=1)
    directions = directions[lengths > 0] / lengths[lengths > 0, None]
    if not len(directions):
        return np.ones(n, bool)
    # epipolar_error of skew(directions), whose lines are cross products of unit vectors
    algebraic, ahead_a, ahead_b = directions @ normals.T, directions @ turned.T, directions @ bearings_b.T
    slope = 2 - ahead_a**2 - ahead_b**2 - 2 * algebraic**2
    errors = np.abs(algebraic) / np.sqrt(np.maximum(slope, 1e-18))
    best = np.minimum(errors, limit_rad).sum(1).argmin()
    return np.asarray(errors[best] < limit_rad)


def inliers_unknown_rotation(bearings_a: np.ndarray, bearings_b: np.ndarray, limit_rad: float) -> np.ndarray:
    """Which pairs (N,) bool agree with one essential matrix (five points, MAGSAC++); those far to the side pass."""
    ahead = (bearings_a[:, 2] > 0.2) & (bearings_b[:, 2] > 0.2)
    keep = np.ones(len(bearings_a), bool)
    if ahead.sum() < 12:
        return keep
    plane_a = bearings_a[ahead, :2] / bearings_a[ahead, 2:]
    plane_b = bearings_b[ahead, :2] / bearings_b[ahead, 2:]
    cv2.setRNGSeed(0)
    _, inlier = cv2.findEssentialMat(plane_a, plane_b, np.eye(3), cv2.USAC_MAGSAC, 0.999, limit_rad, 200)
    if inlier is not None and inlier.sum() >= 8:
        keep[ahead] = inlier.ravel() > 0
    return keep


class StereoGeometry:
    """Epipolar geometry of the left and the right camera of a rig."""

    def __init__(self, left: MountedCamera, right: MountedCamera) -> None:
        self.left, self.right = left.camera, right.camera
        self.T_right_left = inverse(right.T_body_cam) @ left.T_body_cam
        R, t = self.T_right_left[:3, :3], self.T_right_left[:3, 3]
        self._E = skew(t / np.linalg.norm(t)) @ R
        self.focal_px = self.right.focal_px
        self.of_a_pixel = float(1.0 / (self.focal_px * np.linalg.norm(t)))  # 1/m, a pixel of disparity

    def guess_right(self, bearings_left: np.ndarray, inverse_distance: np.ndarray) -> np.ndarray:
        """Right pixels (N, 2), NaN outside, of left bearings (N, 3) at inverse distances (N,), 1/m."""
        R, t = self.T_right_left[:3, :3], self.T_right_left[:3, 3]
        uv, valid = self.right.project(bearings_left @ R.T + t * inverse_distance[:, None])
        uv[~valid] = np.nan
        return np.asarray(uv)

    def inverse_distance(self, bearings_left: np.ndarray, bearings_right: np.ndarray) -> np.ndarray:
        """Inverse distances (N,), 1/m, of bearing pairs (N, 3) by least squares; negative means behind."""
        R, t = self.T_right_left[:3, :3], self.T_right_left[:3, 3]
        # b_r x (R b_l + w t) = 0
        along, across = np.cross(bearings_right, bearings_left @ R.T), np.cross(bearings_right, t)
        return np.asarray(-(along * across).sum(1) / np.maximum((across**2).sum(1), 1e-18))

    def agree(
        self, bearings_left: np.ndarray, bearings_right: np.ndarray, limit_px: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """Which pairs (N,) bool lie on their epipolar lines and in front of both cameras, and `inverse_distance`."""
        error = epipolar_error(self._E, bearings_left, bearings_right)
        w = self.inverse_distance(bearings_left, bearings_right)
        return np.asarray((error < limit_px / self.focal_px) & (w > -self.of_a_pixel) & (w < 10.0)), w
