# SPDX-License-Identifier: Apache-2.0
"""What the IMU says between two frames: GTSAM's combined factor (Forster 2017)."""

from collections.abc import Iterable
from functools import lru_cache

import gtsam

from letvins_ros.estimation.frame import Frame
from letvins_ros.estimation.state import B, V, X


def imu_factors(pairs: Iterable[tuple[Frame, Frame]]) -> list[gtsam.NonlinearFactor]:
    """Factors between neighbours that have IMU readings between them."""
    return [_imu_factor(a.index, b.index, b.pim) for a, b in pairs if b.pim is not None]


@lru_cache(maxsize=64)  # a window of factors: all but the newest are those of the frame before
def _imu_factor(a: int, b: int, pim: gtsam.PreintegratedCombinedMeasurements) -> gtsam.NonlinearFactor:
    return gtsam.CombinedImuFactor(X(a), V(a), X(b), V(b), B(a), B(b), pim)
