# SPDX-License-Identifier: Apache-2.0
"""Keypoints with descriptors from the maps of a network."""

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from letvins_ros.inference.runtime import SMALLER, Maps, Runtime

_MULTIPLE = 16  # of the image's sides
_PEAK = np.ones((9, 9), np.uint8)  # px, within which one keypoint is kept


@dataclass(frozen=True, eq=False)
class Keypoints:
    """Keypoints of one image, best first."""

    uv: np.ndarray  # (N, 2) float32 px
    scores: np.ndarray  # (N,) float32
    descriptors: np.ndarray  # (N, D) float32, of unit length


def extract(runtime: Runtime, image: np.ndarray, most: int) -> Keypoints:
    """At most so many keypoints of an image (H, W) or (H, W, 3) uint8."""
    return read(runtime([pad(image)])[0], (image.shape[0], image.shape[1]), most)


def read(maps: Maps, size: tuple[int, int], most: int) -> Keypoints:
    """At most so many keypoints of the maps of an image of (height, width), padded."""
    uv, scores = choose(maps, size, most)
    return Keypoints(uv, scores, sample(maps, uv, padded_size(size)))


def choose(maps: Maps, size: tuple[int, int], most: int) -> tuple[np.ndarray, np.ndarray]:
    """Positions (N, 2) px and scores (N,) of the best keypoints within an image of (height, width), best first."""
    uv, scores = _candidates(maps)
    inside = np.nonzero((uv <= [size[1] - 1, size[0] - 1]).all(1))[0]
    best = inside[np.argsort(-scores[inside], kind="stable")[:most]]
    return np.asarray(uv[best], np.float32), np.asarray(scores[best], np.float32)


def sample(maps: Maps, uv: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Unit descriptors (N, D), read bilinearly at uv (N, 2) px of an image of (height, width), those of all its sizes.

    The corner pixels of the largest map lie on those of the image, and smaller ones are read as if they had been
    enlarged to its size, as in training.
    """
    last = _last(maps["descriptor"])
    place = uv * (last / [size[1] - 1, size[0] - 1])
    smaller = [_enlarged(maps[name], 2**i) for i, name in enumerate(SMALLER, 1) if name in maps]
    rows = np.concatenate([_read(pixels, place, last) for pixels in (_pixels(maps["descriptor"]), *smaller)]).T
    return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12), np.float32)


Pixels = Callable[[np.ndarray, np.ndarray], np.ndarray]  # what a map has at columns and rows (N,), (D, N)


def _pixels(map_: np.ndarray) -> Pixels:
    return lambda x, y: map_[:, y, x]


def _enlarged(map_: np.ndarray, times: int) -> Pixels:
    """The pixels of the map (D, h, w) enlarged, whose own are the means of so many."""
    return lambda x, y: _read(_pixels(map_), (np.stack([x, y], axis=1) + 0.5) / times - 0.5, _last(map_))


def _read(pixels: Pixels, place: np.ndarray, last: np.ndarray) -> np.ndarray:
    """(D, N) at places (N, 2) between pixels, bilinearly; beyond the last ones (2,) and the first as at them."""
    place = np.clip(place, 0, last)
    first = np.clip(place.astype(int), 0, np.maximum(last - 1, 0))
    (x, y), (fx, fy) = first.T, (place - first).T.astype(np.float32)
    right, below = np.minimum(x + 1, last[0]), np.minimum(y + 1, last[1])
    above_ = pixels(x, y) * (1 - fx) + pixels(right, y) * fx
    below_ = pixels(x, below) * (1 - fx) + pixels(right, below) * fx
    return np.asarray(above_ * (1 - fy) + below_ * fy)


def _last(map_: np.ndarray) -> np.ndarray:
    """The last column and row (2,) of a map (D, h, w)."""
    return np.array([map_.shape[2] - 1, map_.shape[1] - 1])


def pad(image: np.ndarray) -> np.ndarray:
    """Repeat the last row and column until the sides are what every network takes."""
    height, width = padded_size((image.shape[0], image.shape[1]))
    below, right = height - image.shape[0], width - image.shape[1]
    if not below and not right:
        return image
    return cv2.copyMakeBorder(image, 0, below, 0, right, cv2.BORDER_REPLICATE)


def padded_size(size: tuple[int, int]) -> tuple[int, int]:
    """(height, width) that `pad` makes of it."""
    return size[0] + -size[0] % _MULTIPLE, size[1] + -size[1] % _MULTIPLE


def _candidates(maps: Maps) -> tuple[np.ndarray, np.ndarray]:
    """Positions (N, 2) px and scores (N,) of peaks, of the cells' keypoints or of a heat map."""
    score = maps["score"]
    if "coord" not in maps:
        peak = (score == cv2.dilate(score, _PEAK)) & (score > 1 / 65)  # more than if the network knew nothing
        row, column = np.nonzero(peak)
        mass = cv2.boxFilter(score, -1, (5, 5), normalize=False)  # the chance that the point lies within 2 px
        return np.stack([column, row], axis=1).astype(np.float32), mass[peak]
    inside = score > 0  # the outermost cells have none
    uv, score = maps["coord"][:, inside].T, score[inside]
    column, row = np.maximum(np.rint(uv), 0).astype(int).T
    heat = np.zeros((row.max(initial=0) + 1, column.max(initial=0) + 1), np.float32)
    np.maximum.at(heat, (row, column), score)
    peak = score == cv2.dilate(heat, _PEAK)[row, column]
    return uv[peak], score[peak]
