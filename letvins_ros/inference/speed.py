# SPDX-License-Identifier: Apache-2.0
"""How long a network takes for one image."""

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from letvins_ros.inference.backend import open_backend
from letvins_ros.inference.graphs import open_graph

_WARM, _TIMED = 3, 15  # runs


def time_network(network: str, file: Path, backend: str, size: tuple[int, int]) -> tuple[str, float]:
    """What runs the network, and the median milliseconds for a gray uint8 image of (height, width), maps included."""
    image = np.random.default_rng(0).integers(0, 256, size, dtype=np.uint8)
    if network == "letnet2":
        maps = open_backend(backend, file)
        return maps.name, _median_ms(lambda: maps([image]))
    graph = open_graph(network, file, backend)
    return graph.name, _median_ms(lambda: graph(image))


def _median_ms(run: Callable[[], object]) -> float:
    took = []
    for _ in range(_WARM + _TIMED):
        start = time.perf_counter()
        run()
        took.append(time.perf_counter() - start)
    return float(np.median(took[_WARM:])) * 1e3
