# SPDX-License-Identifier: Apache-2.0
"""Keypoints with descriptors from the maps of a network."""

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

    The corner pixels of the largest map lie on those of the image, as in training; a smaller one's pixels are means.
    """
    _, height, width = maps["descriptor"].shape
    place = uv * (np.array([width - 1, height - 1]) / [size[1] - 1, size[0] - 1])
    smaller = [_read(maps[name], (place + 0.5) / 2**i - 0.5) for i, name in enumerate(SMALLER, 1) if name in maps]
    found = np.concatenate([_read(maps["descriptor"], place), *smaller]).T
    return np.asarray(found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-12), np.float32)


def _read(map_: np.ndarray, place: np.ndarray) -> np.ndarray:
    """(D, N) of (D, h, w), bilinearly at places (N, 2) of it, beyond its border as at it."""
    _, height, width = map_.shape
    last = np.array([width - 1, height - 1])
    place = np.clip(place, 0, last)
    first = np.clip(place.astype(int), 0, np.maximum(last - 1, 0))
    (x, y), (fx, fy) = first.T, (place - first).T.astype(np.float32)
    right, below = np.minimum(x + 1, width - 1), np.minimum(y + 1, height - 1)
    above_ = map_[:, y, x] * (1 - fx) + map_[:, y, right] * fx
    below_ = map_[:, below, x] * (1 - fx) + map_[:, below, right] * fx
    return np.asarray(above_ * (1 - fy) + below_ * fy)


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
