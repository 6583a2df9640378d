# SPDX-License-Identifier: Apache-2.0
"""The error that the KITTI odometry benchmark ranks by (Geiger 2012): drift over parts of the path."""

from dataclasses import dataclass

import numpy as np

from letvins_ros import geometry
from letvins_ros.evaluation.trajectory import poses
from letvins_ros.types import Trajectory

_STEP = 10  # frames from the beginning of one part to that of the next
_SHORTEST_M = (100.0, 10.0, 1.0)  # KITTI's own, and what a path that is too short for it is divided into


@dataclass(frozen=True)
class KittiError:
    """Means over all parts of 1, 2, .. 8 times the shortest length."""

    translation_percent: float
    rotation_deg_per_m: float
    shortest_m: float  # 100 as in the benchmark, less for shorter paths


def kitti_error(truth: Trajectory, estimate: Trajectory) -> KittiError | None:
    """Drift of paired poses; None where the path is shorter than 1 m."""
    T_true, T_est = poses(truth), poses(estimate)
    steps = np.linalg.norm(np.diff(truth.positions, axis=0), axis=1)
    along = np.concatenate([[0.0], np.cumsum(steps)])
    for shortest in _SHORTEST_M:
        errors = _parts(T_true, T_est, along, shortest)
        if len(errors):
            translation, rotation = errors.mean(axis=0)
            return KittiError(100 * float(translation), float(np.degrees(rotation)), shortest)
    return None


def kitti_metrics(truth: Trajectory, estimate: Trajectory) -> dict[str, float | None]:
    """The error by its keys in metrics.json; null where the path is too short for it."""
    error = kitti_error(truth, estimate)
    keys = ("kitti_trans_percent", "kitti_rot_deg_per_m", "kitti_shortest_m")
    if error is None:
        return dict.fromkeys(keys)
    return dict(zip(keys, (error.translation_percent, error.rotation_deg_per_m, error.shortest_m), strict=True))


def _parts(T_true: np.ndarray, T_est: np.ndarray, along: np.ndarray, shortest: float) -> np.ndarray:
    """Translation error and rotation error (rad) per metre (M, 2) of all parts that the path has."""
    first, length = (
        a.ravel() for a in np.meshgrid(np.arange(0, len(along), _STEP), shortest * np.arange(1, 9), indexing="ij")
    )
    last = np.searchsorted(along, along[first] + length, side="right")
    whole = last < len(along)
    first, last, length = first[whole], last[whole], length[whole]
    moved_true = geometry.inverse(T_true[first]) @ T_true[last]
    moved_est = geometry.inverse(T_est[first]) @ T_est[last]
    error = geometry.inverse(moved_est) @ moved_true
    if not len(error):
        return np.empty((0, 2))
    angles = np.linalg.norm(geometry.log_so3(error[:, :3, :3]), axis=-1)
    return np.column_stack([np.linalg.norm(error[:, :3, 3], axis=1), angles]) / length[:, None]
