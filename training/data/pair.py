# SPDX-License-Identifier: Apache-2.0
"""Two views of one scene, for evaluation."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Pair:
    """Two views; whatever is known of how they lie to each other."""

    name: str
    image_a: np.ndarray  # (H, W, 3) RGB uint8
    image_b: np.ndarray
    H_b_a: np.ndarray | None = None  # (3, 3) px
    K_a: np.ndarray | None = None  # (3, 3)
    K_b: np.ndarray | None = None
    T_b_a: np.ndarray | None = None  # (4, 4)
