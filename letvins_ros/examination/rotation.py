# SPDX-License-Identifier: Apache-2.0
"""How the left camera turned between two frames, from matches whose distances stereo knows; no gyro is asked."""

import numpy as np

from letvins_ros.geometry import exp_so3, log_so3, skew
from letvins_ros.types import Matches

LEAST_POINTS, MOST_POINTS = 15, 60
STEPS = 3
SCALE_RAD = 5e-4  # of the robust weights at least: a fraction of a pixel
LEAST_SHARE = 0.5  # of the points must agree, else something else than the camera moves


def turn_between(matches: Matches) -> np.ndarray | None:
    """Rotation vector (3,) rad of the camera from the last frame to this one, in the camera; None where unknown.

    Gauss-Newton with Cauchy weights on the angles between seen and predicted bearings, over rotation and translation.
    """
    known = np.flatnonzero(np.isfinite(matches.inverse_distance))
    if len(known) < LEAST_POINTS:
        return None
    chosen = known[:: -(-len(known) // MOST_POINTS)]
    before, w, across = matches.before[chosen], matches.inverse_distance[chosen, None], skew(matches.now[chosen])
    R, t, scale = np.eye(3), np.zeros(3), SCALE_RAD  # p_now = R p_before + t
    A = np.concatenate([across, across * w[:, :, None]], axis=2)
    for _ in range(STEPS):
        turned = before @ R.T
        error = _apart(across, turned + w * t)
        square = (error**2).sum(1)
        scale = max(1.5 * float(np.sqrt(np.median(square))), SCALE_RAD)
        weights = 1 / (1 + square / scale**2)
        A[:, :, :3] = -across @ skew(turned)
        weighted = (A * weights[:, None, None]).reshape(-1, 6).T
        H = weighted @ A.reshape(-1, 6)
        step = np.linalg.solve(H + 1e-9 * np.trace(H) * np.eye(6), -weighted @ error.ravel())
        R, t = exp_so3(step[:3]) @ R, t + step[3:]
    error = _apart(across, before @ R.T + w * t)
    agree = (error**2).sum(1) < (3 * SCALE_RAD + scale) ** 2
    return -log_so3(R) if agree.mean() > LEAST_SHARE else None


def _apart(across: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Cross products (N, 3) of the bearings seen, as matrices (N, 3, 3), and those predicted."""
    return np.asarray((across @ predicted[:, :, None])[:, :, 0])
