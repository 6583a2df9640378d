# SPDX-License-Identifier: Apache-2.0
"""How long a network takes, and what one of keypoints loses by rounding."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np

from letvins_ros.inference.keypoints import extract
from letvins_ros.inference.opening import open_runtime
from letvins_ros.inference.runtime import Runtime

_WARM, _TIMED = 3, 15  # runs
_RIGHT_PX = 3.0
_MOST = 500
_TURN_DEG, _SCALE = 10.0, 0.9


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


def share_matched(runtime: Runtime, images: Sequence[np.ndarray]) -> float:
    """Share of keypoints whose mutually nearest descriptor in the turned, smaller image is within 3 px of the truth.

    images are (H, W) or (H, W, 3) uint8. Keypoints that the other image does not show do not count.
    """
    return float(np.mean([_share(runtime, image) for image in images]))


def _share(runtime: Runtime, image: np.ndarray) -> float:
    height, width = image.shape[:2]
    turn = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), _TURN_DEG, _SCALE)
    a = extract(runtime, image, _MOST)
    b = extract(runtime, cv2.warpAffine(image, turn, (width, height)), _MOST)
    truth = a.uv @ turn[:, :2].T + turn[:, 2]
    shown = ((truth >= 0) & (truth < [width, height])).all(1)
    if not shown.any() or not len(b.uv):
        return 0.0
    likeness = a.descriptors @ b.descriptors.T
    there = likeness.argmax(axis=1)
    mutual = likeness.argmax(axis=0)[there] == np.arange(len(there))
    right = np.linalg.norm(b.uv[there] - truth, axis=1) < _RIGHT_PX
    return float((mutual & right)[shown].mean())
