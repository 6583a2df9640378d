# SPDX-License-Identifier: Apache-2.0
import numpy as np


def unit(v: np.ndarray) -> np.ndarray:
    """Vectors (..., n) at length 1."""
    return np.asarray(v / np.linalg.norm(v, axis=-1, keepdims=True))
