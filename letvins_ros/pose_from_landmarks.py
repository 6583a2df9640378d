# SPDX-License-Identifier: Apache-2.0
"""The pose of a frame from landmarks alone, whatever is believed of its motion (P3P in RANSAC)."""

import cv2
import numpy as np

MIN_INLIERS = 8
ITERATIONS, CONFIDENCE = 200, 0.999
AHEAD = 0.2  # least z of a unit bearing that is taken


def pose_from_landmarks(points: np.ndarray, bearings: np.ndarray, limit_rad: float) -> np.ndarray | None:
    """T_odom_cam (4, 4) from points (N, 3) in odom and their unit bearings (N, 3); None where too few agree on one.

    The same input gives the same pose.
    """
    ahead = bearings[:, 2] > AHEAD
    if ahead.sum() < MIN_INLIERS:
        return None
    plane = bearings[ahead, :2] / bearings[ahead, 2:]
    found, rotation, translation, inliers = cv2.solvePnPRansac(
        points[ahead],
        plane,
        np.eye(3),
        None,
        flags=cv2.SOLVEPNP_P3P,
        iterationsCount=ITERATIONS,
        confidence=CONFIDENCE,
        reprojectionError=limit_rad,
    )
    if not found or inliers is None or len(inliers) < max(MIN_INLIERS, ahead.sum() / 3):
        return None
    T_odom_cam = np.eye(4)
    T_odom_cam[:3, :3] = cv2.Rodrigues(rotation)[0].T
    T_odom_cam[:3, 3] = -T_odom_cam[:3, :3] @ translation[:, 0]
    return T_odom_cam
