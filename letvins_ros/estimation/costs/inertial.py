# SPDX-License-Identifier: Apache-2.0
"""What the IMU says between two frames: GTSAM's combined factor (Forster 2017)."""

from collections.abc import Iterable

import gtsam

from letvins_ros.estimation.frame import Frame
from letvins_ros.estimation.state import B, V, X


def imu_factors(pairs: Iterable[tuple[Frame, Frame]]) -> list[gtsam.NonlinearFactor]:
    """Factors between neighbours that have IMU readings between them."""
    return [
        gtsam.CombinedImuFactor(X(a.index), V(a.index), X(b.index), V(b.index), B(a.index), B(b.index), b.pim)
        for a, b in pairs
        if b.pim is not None
    ]
