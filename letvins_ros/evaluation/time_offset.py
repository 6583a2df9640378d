# SPDX-License-Identifier: Apache-2.0
"""By how much the clock of an estimate differs from that of the truth."""

import numpy as np
from scipy.optimize import minimize_scalar

from letvins_ros import geometry
from letvins_ros.errors import DataError
from letvins_ros.evaluation.trajectory import SECOND_NS
from letvins_ros.types import Trajectory

_REACH_S = 1.0  # offsets that are tried
_STEP_S = 0.02
_MOST_POSES = 2000  # that are compared at each of them
_LEAST_SHARE = 0.5  # of the estimate's poses that the truth must cover


def estimate_offset(truth: Trajectory, estimate: Trajectory) -> float:
    """Seconds, of one at most, to add to the estimate's stamps for the smallest error after SE(3) alignment.

    Raises DataError where the truth covers less than a half of the estimate at any of them.
    """
    keep = np.unique(np.linspace(0, len(estimate) - 1, min(len(estimate), _MOST_POSES)).astype(int))
    origin = truth.stamps_ns[0]
    own = (truth.stamps_ns - origin) / SECOND_NS
    times, positions = (estimate.stamps_ns[keep] - origin) / SECOND_NS, estimate.positions[keep]

    def error(offset_s: float) -> float:
        at = times + offset_s
        inside = (at >= own[0]) & (at <= own[-1])
        if inside.sum() < max(3, _LEAST_SHARE * len(at)):
            return np.inf
        true = np.stack([np.interp(at[inside], own, truth.positions[:, i]) for i in range(3)], axis=1)
        T = geometry.align_se3(true, positions[inside])
        off = positions[inside] @ T[:3, :3].T + T[:3, 3] - true
        return float(np.sqrt((off**2).sum(axis=1).mean()))

    grid = np.arange(-_REACH_S, _REACH_S + _STEP_S / 2, _STEP_S)
    errors = [error(offset) for offset in grid]
    best = float(grid[int(np.argmin(errors))])
    if not np.isfinite(min(errors)):
        raise DataError("the offset of the clocks cannot be estimated: the truth covers too few of the poses")
    found = minimize_scalar(error, bounds=(best - _STEP_S, best + _STEP_S), method="bounded", options={"xatol": 1e-5})
    return float(found.x)
