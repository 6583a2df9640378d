# SPDX-License-Identifier: Apache-2.0
"""Matches between two images, predicted by descriptors or by Lucas-Kanade, kept on disk for the figures."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from letvins_ros.errors import DataError
from letvins_ros.writing import atomic_path
from training.data.homographies import transfer
from training.data.pair import Pair
from training.features import Extractor, Features, apart


@dataclass(frozen=True)
class Choice:
    """Which keypoints of an image are taken."""

    top_k: int  # strongest ones
    apart_px: float = 0.0  # thinned out to this distance before
    square: bool = False  # by squares of twice that side instead of discs

    def __str__(self) -> str:
        thin = f", {self.apart_px:g} px apart" if self.apart_px else ""
        return f"top {self.top_k}{thin}"


class Prediction(NamedTuple):
    """What a model says of a pair."""

    uv_a: np.ndarray  # (N, 2) best keypoints among those that the other view shows
    uv_b: np.ndarray  # (M, 2)
    forward: np.ndarray  # (N, 2) where each keypoint of a is in b, NaN if lost
    backward: np.ndarray  # (M, 2)
    forward_confidence: np.ndarray  # (N,)
    backward_confidence: np.ndarray  # (M,)
    matches: np.ndarray  # (K, 4) u, v in a and in b, those that agree both ways
    confidence: np.ndarray  # (K,)
    best_a: np.ndarray  # (N', 4) u, v of the best keypoints, shown in the other view or not, and where each is there
    best_b: np.ndarray  # (M', 4)

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


PairModel = Callable[[Pair, Sequence[Choice]], list[Prediction]]  # a prediction for each choice of keypoints


class Partners(NamedTuple):
    """Which keypoints of two images are of the same point."""

    to_b: np.ndarray  # (N,) int, index in b, -1 for none
    to_a: np.ndarray  # (M,)
    sure_a: np.ndarray  # (N,) the larger the surer
    sure_b: np.ndarray  # (M,)


Size = tuple[int, int]  # height, width
Pairing = Callable[[Features, Features, tuple[Size, Size]], Partners]


def nearest(a: Features, b: Features, sizes: tuple[Size, Size]) -> Partners:
    """Nearest neighbours by descriptor, both ways; none where there are no keypoints."""
    if len(a.uv) == 0 or len(b.uv) == 0:
        none, unsure = (np.full(len(x.uv), -1) for x in (a, b)), (np.full(len(x.uv), -np.inf) for x in (a, b))
        return Partners(*none, *unsure)
    distance = _distances(a.descriptor, b.descriptor)
    return Partners(distance.argmin(axis=1), distance.argmin(axis=0), -distance.min(axis=1), -distance.min(axis=0))


@dataclass(frozen=True)
class KeypointMatcher:
    """Pairs of the strongest keypoints, kept where both ways agree.

    Where a homography is known, those that the other view cannot show are left out before the strongest are taken, as
    SuperPoint's and KP2D's authors do; best_a and best_b are the strongest of all.
    """

    extract: Extractor
    pairing: Pairing = nearest

    def __call__(self, pair: Pair, choices: Sequence[Choice]) -> list[Prediction]:
        """Look at both images once."""
        both = self.extract(pair.image_a), self.extract(pair.image_b)
        return [self._choose(pair, choice, *both) for choice in choices]

    def _choose(self, pair: Pair, choice: Choice, a: Features, b: Features) -> Prediction:
        if choice.apart_px:
            a, b = (apart(x, choice.apart_px, choice.square) for x in (a, b))
        sizes = pair.image_a.shape[:2], pair.image_b.shape[:2]
        best_a, best_b = (_first(x, choice.top_k) for x in (a, b))
        found = self.pairing(best_a, best_b, sizes)
        both = np.hstack([best_a.uv, _at(best_b, found.to_b)]), np.hstack([best_b.uv, _at(best_a, found.to_a)])
        if pair.H_b_a is None:
            return _predict(best_a, best_b, found, both)
        seen = _visible(a, pair.H_b_a, pair.image_b.shape), _visible(b, np.linalg.inv(pair.H_b_a), pair.image_a.shape)
        shown_a, shown_b = (_first(x, choice.top_k) for x in seen)
        return _predict(shown_a, shown_b, self.pairing(shown_a, shown_b, sizes), both)


def lucas_kanade(pair: Pair, choices: Sequence[Choice]) -> list[Prediction]:
    """Corners (Shi & Tomasi 1994) followed by pyramidal Lucas-Kanade there and back."""
    size = np.maximum(pair.image_a.shape[:2], pair.image_b.shape[:2])
    a, b = (cv2.cvtColor(_padded(image, size), cv2.COLOR_RGB2GRAY) for image in (pair.image_a, pair.image_b))
    return [_follow(a, b, choice.top_k) for choice in choices]


def _padded(image: np.ndarray, size: np.ndarray) -> np.ndarray:
    """Black to the right and below up to (height, width)."""
    below, right = size - image.shape[:2]
    return cv2.copyMakeBorder(image, 0, below, 0, right, cv2.BORDER_CONSTANT) if below or right else image


def _first(features: Features, count: int) -> Features:
    return Features(*(x[:count] for x in features))


def _visible(features: Features, H: np.ndarray, shape: tuple[int, ...]) -> Features:
    there = transfer(H, features.uv)
    seen = ((there >= 0) & (there < np.array(shape[1::-1]))).all(axis=1)
    return Features(*(x[seen] for x in features))


def _predict(a: Features, b: Features, found: Partners, best: tuple[np.ndarray, np.ndarray]) -> Prediction:
    forward, backward = _at(b, found.to_b), _at(a, found.to_a)
    agree = np.flatnonzero(found.to_b >= 0)
    agree = agree[found.to_a[found.to_b[agree]] == agree]
    matches = np.hstack([a.uv, forward])[agree]
    return Prediction(a.uv, b.uv, forward, backward, found.sure_a, found.sure_b, matches, found.sure_a[agree], *best)


def _at(features: Features, index: np.ndarray) -> np.ndarray:
    """Keypoints (N, 2) of these numbers, NaN where there are none."""
    if len(features.uv) == 0:
        return np.full((len(index), 2), np.nan, np.float32)
    return np.where((index >= 0)[:, None], features.uv[index], np.float32(np.nan))


def _distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(N, M) Hamming distances of binary, Euclidean distances of other descriptors."""
    if a.dtype == np.uint8:
        bits_a, bits_b = (np.unpackbits(x, axis=1).astype(np.float32) for x in (a, b))
        return np.asarray(bits_a @ (1 - bits_b.T) + (1 - bits_a) @ bits_b.T)
    return np.asarray(np.sqrt(np.maximum(2 - 2 * a @ b.T, 0)))


def _follow(a: np.ndarray, b: np.ndarray, top_k: int) -> Prediction:
    uv_a, uv_b = _corners(a, top_k), _corners(b, top_k)
    (forward, again), (backward, again_b) = _there_and_back(a, b, uv_a), _there_and_back(b, a, uv_b)
    sure, sure_b = -np.linalg.norm(again - uv_a, axis=1), -np.linalg.norm(again_b - uv_b, axis=1)
    both = np.hstack([uv_a, forward])
    kept = sure > -1
    return Prediction(
        uv_a, uv_b, forward, backward, sure, sure_b, both[kept], sure[kept], both, np.hstack([uv_b, backward])
    )


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
