# SPDX-License-Identifier: Apache-2.0
"""Following points from one image to another by pyramidal Lucas-Kanade on tracking maps."""

from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np

from letvins_ros.inference import Backend


class MapMaker(Protocol):
    """Turns gray images into the uint8 maps (H, W) or (H, W, C) that Lucas-Kanade runs on."""

    def __call__(self, images: list[np.ndarray]) -> list[np.ndarray]: ...


class PlainMaps:
    """The gray images themselves."""

    def __call__(self, images: list[np.ndarray]) -> list[np.ndarray]:
        return images


class EqualisedMaps:
    """Contrast-limited adaptive histogram equalisation."""

    def __init__(self, clip: float = 3.0, tiles: int = 8) -> None:
        self._clahe = cv2.createCLAHE(clip, (tiles, tiles))

    def __call__(self, images: list[np.ndarray]) -> list[np.ndarray]:
        return [self._clahe.apply(image) for image in images]


class NetworkMaps:
    """LET-NET2 feature maps."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    def __call__(self, images: list[np.ndarray]) -> list[np.ndarray]:
        return self._backend(images)


@dataclass(frozen=True)
class LucasKanade:
    """Pyramidal Lucas-Kanade (Bouguet 2000) with a forward-backward check."""

    window_px: int = 21
    levels: int = 3
    back_px: float = 0.5

    def follow(
        self, a: np.ndarray, b: np.ndarray, uv_a: np.ndarray, guess_b: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Positions (N, 2) in map b of points (N, 2) of map a, from starting points, and which were found (N,) bool."""
        if len(uv_a) == 0:
            return uv_a.copy(), np.zeros(0, bool)
        uv_b, found = self._flow(a, b, uv_a, guess_b, self.levels)
        # the way back starts at the answer, so the finest level is enough
        uv_back, found_back = self._flow(b, a, uv_b, uv_a, 0)
        height, width = b.shape[:2]
        inside = ((uv_b >= 1) & (uv_b < [width - 2, height - 2])).all(1)
        close = ((uv_back - uv_a) ** 2).sum(1) < self.back_px**2
        return uv_b, found & found_back & inside & close

    def _flow(
        self, a: np.ndarray, b: np.ndarray, uv_a: np.ndarray, guess_b: np.ndarray, levels: int
    ) -> tuple[np.ndarray, np.ndarray]:
        uv_b, status, _ = cv2.calcOpticalFlowPyrLK(
            a,
            b,
            np.ascontiguousarray(uv_a, np.float32),
            np.array(guess_b, np.float32),  # a copy: OpenCV writes into it
            winSize=(self.window_px, self.window_px),
            maxLevel=levels,
            criteria=(cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 15, 0.02),
            flags=cv2.OPTFLOW_USE_INITIAL_FLOW,
        )
        return uv_b, status[:, 0].astype(bool)
