# SPDX-License-Identifier: Apache-2.0
"""What the IMU says between two frames: GTSAM's combined factor (Forster 2017)."""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import pairwise

import gtsam

from letvins_ros.estimation.costs.gtsam_factors import gtsam_values
from letvins_ros.estimation.frame import Frame
from letvins_ros.estimation.state import B, V, X


def imu_factors(pairs: Iterable[tuple[Frame, Frame]]) -> list[gtsam.NonlinearFactor]:
    """Factors between neighbours that have IMU readings between them."""
    return [_imu_factor(a.index, b.index, b.pim) for a, b in pairs if b.pim is not None]


def contradiction(frames: Sequence[Frame]) -> float:
    """Mean chi-square of the intervals' IMU measurements at the frames' states, of 15 numbers each; 0 without any."""
    factors = imu_factors(pairwise(frames))
    if not factors:
        return 0.0
    graph, values = gtsam.NonlinearFactorGraph(), gtsam.Values()
    for factor in factors:
        graph.add(factor)
    for frame in frames:
        values.insert(gtsam_values(frame.state, frame.index))
    return 2 * float(graph.error(values)) / len(factors)


@lru_cache(maxsize=64)  # a window of factors: all but the newest are those of the frame before
def _imu_factor(a: int, b: int, pim: gtsam.PreintegratedCombinedMeasurements) -> gtsam.NonlinearFactor:
    return gtsam.CombinedImuFactor(X(a), V(a), X(b), V(b), B(a), B(b), pim)
