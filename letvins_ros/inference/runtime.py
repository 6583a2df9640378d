# SPDX-License-Identifier: Apache-2.0
"""What every open network is, whatever library does the arithmetic: images in, named maps out."""

import ctypes
import sys
from collections.abc import Sequence
from typing import Protocol

import cv2
import numpy as np

from letvins_ros.errors import LetvinsError
from letvins_ros.networks.folding import LUMINANCE

THREADS = 2  # on a CPU: more gain little on networks of this size, and leave nothing to the estimator


def threads() -> int:
    """How many threads a network takes on a CPU: those that OpenCV may use in this process, THREADS at most."""
    return min(THREADS, max(cv2.getNumThreads(), 1))


def give_back() -> None:
    """Let the system have the memory that is free again: after a conversion some 400 MB, which glibc would keep."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        trim(0)


SMALLER = ("descriptor_2", "descriptor_4")
MAPS = ("feature", "score", "coord", "descriptor", *SMALLER, "place")
Maps = dict[str, np.ndarray]
"""By name, of an image (H, W):

- feature: (H, W) or (H, W, F) uint8, contiguous, on which Lucas-Kanade runs
- score: (h, w) float32
- coord: (2, h, w) float32 px, where the network has it; else every pixel has a score
- descriptor: (D, h', w') float32
- descriptor_2, descriptor_4: (D, h'/2, w'/2) and a quarter, rounded up, where the network has them: more numbers
- place: (G,) float32, of unit length
"""


class BackendError(LetvinsError):
    """A backend that is unknown or cannot run on this machine."""


class Runtime(Protocol):
    """A network that is open. The same image gives the same bytes."""

    name: str  # of what runs it: tensorrt, torch-cuda, openvino or torch
    outputs: tuple[str, ...]  # names of its maps

    def __call__(self, images: Sequence[np.ndarray]) -> list[Maps]:
        """Maps of each (H, W) gray or (H, W, 3) RGB uint8 image; images of one shape are fastest together."""
        ...


def with_channels(image: np.ndarray, channels: int) -> np.ndarray:
    """(H, W, channels) uint8, contiguous, of a gray or RGB image: gray repeated, or RGB made gray."""
    if image.ndim == 2:
        image = image[..., None]
    if image.shape[2] > channels:
        image = np.rint(image @ LUMINANCE).astype(np.uint8)[..., None]
    return np.array(np.broadcast_to(image, (*image.shape[:2], channels)))


def as_map(name: str, batch: np.ndarray) -> np.ndarray:
    """The map of one image, as Maps has it, of (1, C, h, w), or of a feature's (1, H, W, F) uint8."""
    if name == "score":
        return batch[0, 0]
    if name == "feature" and batch.shape[3] == 1:
        return batch[0, ..., 0]
    return batch[0]
