# SPDX-License-Identifier: Apache-2.0
"""Matches between two images, predicted by descriptors or by Lucas-Kanade, kept on disk for the figures."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from letvins_ros.errors import DataError
from letvins_ros.writing import atomic_path
from training.data.homographies import transfer
from training.data.pair import Pair
from training.features import Extractor, Features, apart, open_extractor


class Prediction(NamedTuple):
    """What a model says of a pair."""

    uv_a: np.ndarray  # (N, 2) keypoints
    uv_b: np.ndarray  # (M, 2)
    forward: np.ndarray  # (N, 2) where each keypoint of a is in b, NaN if lost
    backward: np.ndarray  # (M, 2)
    matches: np.ndarray  # (K, 4) u, v in a and in b, those that agree both ways
    confidence: np.ndarray  # (K,)

    def save(self, path: Path) -> None:
        """Write an .npz file, complete or not at all."""
        with atomic_path(path) as part:
            np.savez_compressed(part, **self._asdict())

    @classmethod
    def load(cls, path: Path) -> "Prediction":
        """Read what `save` wrote."""
        try:
            with np.load(path, allow_pickle=False) as file:
                return cls(**{name: file[name] for name in cls._fields})
        except (OSError, ValueError, KeyError) as error:
            raise DataError(f"{path}: not a prediction ({error})") from error


PairModel = Callable[[Pair, int], Prediction]  # of a pair and the number of keypoints


@dataclass(frozen=True)
class DescriptorMatcher:
    """Mutual nearest neighbours of the strongest keypoints; those that the other view cannot show are left out.

    The latter, as in KP2D's protocol, only where a homography is known.
    """

    extract: Extractor
    apart_px: float = 0.0  # keypoints are thinned out to this distance

    def __call__(self, pair: Pair, top_k: int) -> Prediction:
        a, b = self.extract(pair.image_a), self.extract(pair.image_b)
        if self.apart_px:
            a, b = apart(a, self.apart_px), apart(b, self.apart_px)
        if pair.H_b_a is not None:
            a = _visible(a, pair.H_b_a, pair.image_b.shape)
            b = _visible(b, np.linalg.inv(pair.H_b_a), pair.image_a.shape)
        return _match(*(Features(*(x[:top_k] for x in f)) for f in (a, b)))


def lucas_kanade(pair: Pair, top_k: int) -> Prediction:
    """Corners (Shi & Tomasi 1994) followed by pyramidal Lucas-Kanade there and back."""
    a, b = (cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) for image in (pair.image_a, pair.image_b))
    uv_a, uv_b = _corners(a, top_k), _corners(b, top_k)
    forward, again = _there_and_back(a, b, uv_a)
    backward, _ = _there_and_back(b, a, uv_b)
    off = np.linalg.norm(again - uv_a, axis=1)
    kept = off < 1
    return Prediction(uv_a, uv_b, forward, backward, np.hstack([uv_a, forward])[kept], -off[kept])


def open_pair_model(name: str, apart_px: float = 0.0) -> PairModel:
    """`gftt-lk`, or what `training.features.open_extractor` knows."""
    return lucas_kanade if name == "gftt-lk" else DescriptorMatcher(open_extractor(name), apart_px)


def _visible(features: Features, H: np.ndarray, shape: tuple[int, ...]) -> Features:
    there = transfer(H, features.uv)
    seen = ((there >= 0) & (there <= np.array(shape[1::-1]) - 1)).all(axis=1)
    return Features(*(x[seen] for x in features))


def _match(a: Features, b: Features) -> Prediction:
    if len(a.uv) == 0 or len(b.uv) == 0:
        nothing = np.full_like(a.uv, np.nan), np.full_like(b.uv, np.nan)
        return Prediction(a.uv, b.uv, *nothing, np.zeros((0, 4), np.float32), np.zeros(0, np.float32))
    distance = _distances(a.descriptor, b.descriptor)
    to_b, to_a = distance.argmin(axis=1), distance.argmin(axis=0)
    mutual = to_a[to_b] == np.arange(len(to_b))
    matches = np.hstack([a.uv, b.uv[to_b]])[mutual]
    return Prediction(a.uv, b.uv, b.uv[to_b], a.uv[to_a], matches, -distance.min(axis=1)[mutual])


def _distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(N, M) Hamming distances of binary, Euclidean distances of other descriptors."""
    if a.dtype == np.uint8:
        bits_a, bits_b = (np.unpackbits(x, axis=1).astype(np.float32) for x in (a, b))
        return np.asarray(bits_a @ (1 - bits_b.T) + (1 - bits_a) @ bits_b.T)
    return np.asarray(np.sqrt(np.maximum(2 - 2 * a @ b.T, 0)))


def _corners(gray: np.ndarray, count: int) -> np.ndarray:
    found = cv2.goodFeaturesToTrack(gray, count, 0.005, 5)
    return np.zeros((0, 2), np.float32) if found is None else np.asarray(found[:, 0])


def _there_and_back(a: np.ndarray, b: np.ndarray, uv: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if len(uv) == 0:
        return uv, uv
    there, found, _ = cv2.calcOpticalFlowPyrLK(a, b, uv, uv.copy(), winSize=(21, 21), maxLevel=3)
    back, found_back, _ = cv2.calcOpticalFlowPyrLK(b, a, there, there.copy(), winSize=(21, 21), maxLevel=3)
    lost = (found[:, 0] == 0) | (found_back[:, 0] == 0)
    there[lost], back[lost] = np.nan, np.nan
    return there, back
