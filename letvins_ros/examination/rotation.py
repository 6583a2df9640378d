# SPDX-License-Identifier: Apache-2.0
"""How the left camera turned between two frames, from matches whose distances stereo knows; no gyro is asked."""

from collections.abc import Sequence

import numpy as np

from letvins_ros.geometry import exp_so3, log_so3, skew
from letvins_ros.types import Matches

LEAST_POINTS, MOST_POINTS = 15, 60
STEPS = 3
SCALE_RAD = 5e-4  # of the robust weights at least: a fraction of a pixel
LEAST_SHARE = 0.5  # of the points must agree, else something else than the camera moves


def turns_between(pairs: Sequence[Matches]) -> np.ndarray:
    """Rotation vectors (K, 3) rad of the camera between the two frames of each pair, in the camera; NaN where unknown.

    Gauss-Newton with Cauchy weights on the angles between seen and predicted bearings, over rotation and translation,
    for all pairs at once.
    """
    before, now, w, there = (np.stack(column) for column in zip(*map(_points, pairs), strict=True))
    across, count = skew(now), len(pairs)
    R, t, scale = np.tile(np.eye(3), (count, 1, 1)), np.zeros((count, 3)), np.full(count, SCALE_RAD)
    A = np.concatenate([across, across * w[..., None, None]], axis=3)  # p_now = R p_before + t
    for _ in range(STEPS):
        turned = before @ np.swapaxes(R, 1, 2)
        error = _apart(across, turned + w[..., None] * t[:, None])
        square = (error**2).sum(2)
        scale = np.maximum(1.5 * np.sqrt(_median(square, there)), SCALE_RAD)
        weights = there / (1 + square / scale[:, None] ** 2)
        A[..., :3] = -across @ skew(turned)
        weighted = (A * weights[..., None, None]).reshape(count, -1, 6).swapaxes(1, 2)
        H = weighted @ A.reshape(count, -1, 6)
        damped = H + (1e-9 * np.trace(H, axis1=1, axis2=2) + 1e-12)[:, None, None] * np.eye(6)
        step = np.linalg.solve(damped, -weighted @ error.reshape(count, -1, 1))[..., 0]
        R, t = exp_so3(step[:, :3]) @ R, t + step[:, 3:]
    error = _apart(across, before @ np.swapaxes(R, 1, 2) + w[..., None] * t[:, None])
    agree = ((error**2).sum(2) < (3 * SCALE_RAD + scale[:, None]) ** 2) & there
    enough = there.sum(1) >= LEAST_POINTS
    known = enough & (agree.sum(1) > LEAST_SHARE * there.sum(1))
    return np.where(known[:, None], -log_so3(R), np.nan)


def _points(matches: Matches) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Bearings before and now (P, 3), inverse distances (P,) of matches that have one; which of the P there are."""
    known = np.flatnonzero(np.isfinite(matches.inverse_distance))
    chosen = known[:: max(-(-len(known) // MOST_POINTS), 1)]
    n, ahead = len(chosen), np.tile([0.0, 0.0, 1.0], (MOST_POINTS, 1))
    before, now, w = ahead.copy(), ahead.copy(), np.zeros(MOST_POINTS)
    before[:n], now[:n], w[:n] = matches.before[chosen], matches.now[chosen], matches.inverse_distance[chosen]
    return before, now, w, np.arange(MOST_POINTS) < n


def _median(values: np.ndarray, there: np.ndarray) -> np.ndarray:
    """Median (K,) of those of the values (K, P) that are there; 0 where none is."""
    last = np.sort(np.where(there, values, np.inf), axis=1)
    middle = np.maximum(there.sum(1) - 1, 0) // 2
    found = np.take_along_axis(last, middle[:, None], axis=1)[:, 0]
    return np.where(there.any(1), found, 0.0)


def _apart(across: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Cross products (..., 3) of the bearings seen, as matrices (..., 3, 3), and those predicted."""
    return np.asarray((across @ predicted[..., None])[..., 0])
