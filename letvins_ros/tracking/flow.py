# SPDX-License-Identifier: Apache-2.0
"""Corners followed from image to image by pyramidal Lucas-Kanade on tracking maps."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np

from letvins_ros.contrast import equalise_contrast, to_gray
from letvins_ros.inference import Runtime
from letvins_ros.tracking.detection import GridDetector

MapMaker = Callable[[list[np.ndarray]], list[np.ndarray]]  # images to uint8 maps (H, W) or (H, W, C)


def gray_maps(images: list[np.ndarray]) -> list[np.ndarray]:
    """The gray images themselves."""
    return [to_gray(image) for image in images]


def equalised_maps(images: list[np.ndarray]) -> list[np.ndarray]:
    """The images with their local contrast evened out."""
    return [equalise_contrast(image) for image in images]


@dataclass(frozen=True)
class LearnedMaps:
    """The feature maps that a network makes of the evened-out images, or of the images as they are."""

    runtime: Runtime
    even: bool = True

    def __call__(self, images: list[np.ndarray]) -> list[np.ndarray]:
        return [maps["feature"] for maps in self.runtime(equalised_maps(images) if self.even else images)]


@dataclass(frozen=True, eq=False)
class View:
    """What is kept of an image."""

    compared: np.ndarray  # (H, W) or (H, W, C) uint8, the map
    gray: np.ndarray  # (H, W) uint8, where corners are detected
    coarse: np.ndarray | None = None  # (H/2, W/2) uint8, mean of the map's channels, where it has several

    @cached_property
    def single(self) -> np.ndarray:
        """The map (H, W) uint8, or the mean of its channels."""
        return self.compared if self.compared.ndim == 2 else _mean(self.compared)


@dataclass(frozen=True)
class LucasKanade:
    """Pyramidal Lucas-Kanade (Bouguet 2000) with a forward-backward check; a Follower."""

    maps: MapMaker
    detector: GridDetector
    window_px: int = 21
    levels: int = 3
    back_px: float = 0.5

    def prepare(self, images: list[np.ndarray]) -> list[View]:
        """See Follower."""
        maps = self.maps(images)
        return [
            View(m, m) if m.ndim == 2 else View(m, to_gray(image), _coarse(m))
            for m, image in zip(maps, images, strict=True)
        ]

    def appearance(self, view: View) -> np.ndarray:
        """See Follower."""
        return view.single

    def detect(self, view: View, present_uv: np.ndarray, mask: np.ndarray | None, most: int) -> np.ndarray:
        """See Follower."""
        return self.detector.detect(view.gray, present_uv, mask, most)

    def follow(self, a: View, b: View, uv_a: np.ndarray, guess_b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """See Follower; nothing is found in an image of another size."""
        if len(uv_a) == 0 or a.compared.shape != b.compared.shape:
            return uv_a.copy(), np.zeros(len(uv_a), bool)
        if a.coarse is not None and b.coarse is not None and self.levels > 0:
            # several channels cost as many times more, and only the finest level is worth it
            half, _ = self._flow(a.coarse, b.coarse, uv_a / 2 - 0.25, guess_b / 2 - 0.25, self.levels - 1)
            uv_b, found = self._flow(a.compared, b.compared, uv_a, half * 2 + 0.5, 0)
        else:
            uv_b, found = self._flow(a.compared, b.compared, uv_a, guess_b, self.levels)
        # the way back starts at the answer, so the finest level is enough
        uv_back, found_back = self._flow(b.compared, a.compared, uv_b, uv_a, 0)
        height, width = b.gray.shape
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
            criteria=(cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 10, 0.03),
            flags=cv2.OPTFLOW_USE_INITIAL_FLOW,
        )
        return uv_b, status[:, 0].astype(bool)


def _coarse(several: np.ndarray) -> np.ndarray:
    """Mean of the channels, at half the size (pixel centres at 2 u + 0.5)."""
    height, width = several.shape[:2]
    small = cv2.resize(several, (width // 2, height // 2), interpolation=cv2.INTER_AREA)
    return _mean(small)


def _mean(several: np.ndarray) -> np.ndarray:
    """Mean of the channels."""
    return np.asarray(cv2.transform(several, np.full((1, several.shape[2]), 1 / several.shape[2])))
