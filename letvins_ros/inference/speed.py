# SPDX-License-Identifier: Apache-2.0
"""How long a network takes for one image."""

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from letvins_ros.inference.opening import open_runtime

_WARM, _TIMED = 3, 15  # runs


def time_network(network: str, file: Path, backend: str, size: tuple[int, int]) -> tuple[str, float]:
    """What runs the network, and the median milliseconds for a gray uint8 image of (height, width), maps included."""
    image = np.random.default_rng(0).integers(0, 256, size, dtype=np.uint8)
    runtime = open_runtime(network, file, backend)
    return runtime.name, _median_ms(lambda: runtime([image]))


def _median_ms(run: Callable[[], object]) -> float:
    took = []
    for _ in range(_WARM + _TIMED):
        start = time.perf_counter()
        run()
        took.append(time.perf_counter() - start)
    return float(np.median(took[_WARM:])) * 1e3
