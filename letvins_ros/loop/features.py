# SPDX-License-Identifier: Apache-2.0
"""Features of a keyframe: local descriptors to match, and a global one by which its place is found again."""

from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from letvins_ros.geometry import apply
from letvins_ros.types import Keyframe, PlaceDescription


@dataclass(frozen=True, eq=False)
class KeyframeFeatures:
    """Local and global descriptors of one keyframe."""

    uv: np.ndarray  # (N, 2) float32 left pixels
    descriptors: np.ndarray  # (N, B) uint8, compared bit by bit, or (N, C) float16 of unit length
    points_body: np.ndarray  # (N, 3) float32 m, NaN where the depth is unknown
    ids: np.ndarray  # (N,) int64 of landmarks, -1 for corners that are none
    place: np.ndarray  # (D,) float32, unit: the inner product of two says how alike they are

    def __post_init__(self) -> None:
        n = len(self.uv)
        if self.uv.shape != (n, 2) or self.points_body.shape != (n, 3) or len(self.descriptors) != n:
            raise ValueError(f"{n} pixels, {self.descriptors.shape} descriptors, {self.points_body.shape} points")

    def __len__(self) -> int:
        return len(self.uv)


class Describer(Protocol):
    """What place recognition needs of a method, ORB or a network."""

    name: str  # maps of another name cannot be compared
    place_size: int

    def describe(self, image: np.ndarray, keyframe: Keyframe) -> KeyframeFeatures:
        """Features of a gray image (H, W) uint8; the keyframe's own landmarks come first."""
        ...


def with_landmarks(keyframe: Keyframe, more_uv: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pixels, points and ids for KeyframeFeatures: of the keyframe's landmarks, then of further pixels (M, 2)."""
    uv = np.concatenate([keyframe.uv, more_uv]).astype(np.float32)
    points, ids = np.full((len(uv), 3), np.nan, np.float32), np.full(len(uv), -1)
    points[: len(keyframe.uv)], ids[: len(keyframe.uv)] = keyframe.points_body, keyframe.ids
    return uv, points, ids


def features_of(keyframe: Keyframe, described: PlaceDescription) -> KeyframeFeatures:
    """Features of a keyframe as a network has described its image."""
    uv, points, ids = with_landmarks(keyframe, described.more_uv)
    return KeyframeFeatures(uv, described.descriptors, points, ids, described.place)


def update_landmarks(features: KeyframeFeatures, T_body_later: np.ndarray, later: Keyframe) -> KeyframeFeatures:
    """The features with landmarks as a later keyframe estimates them; T_body_later (4, 4) is of the same estimate."""
    known = np.flatnonzero(np.isfinite(later.points_body[:, 0]))
    _, rows, of_known = np.intersect1d(features.ids, later.ids[known], return_indices=True)
    if not len(rows):
        return features
    points = features.points_body.copy()
    points[rows] = apply(T_body_later, later.points_body[known[of_known]])
    return replace(features, points_body=points)
