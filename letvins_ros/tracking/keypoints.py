# SPDX-License-Identifier: Apache-2.0
"""Keypoints of a network found in every image and matched by their descriptors; a Follower."""

from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from letvins_ros.inference.graphs import Graph
from letvins_ros.inference.keypoints import Keypoints, extract
from letvins_ros.inference.matcher import Matcher
from letvins_ros.tracking.detection import GridDetector

_SAME_PX = 0.01  # a feature is the keypoint at its place


@dataclass(frozen=True, eq=False)
class KeypointView:
    """What is kept of an image."""

    keypoints: Keypoints
    shape: tuple[int, int]  # height and width, px


@dataclass(frozen=True)
class KeypointFollower:
    """Detects keypoints by a network in every image and matches them; a Follower.

    A match is mutually best among what lies within search_px of where the guess expects it, or what the matcher says.
    """

    graph: Graph
    detector: GridDetector  # spreads them
    search_px: float
    most: int  # keypoints of an image that can be matched
    matcher: Matcher | None = None

    def prepare(self, images: list[np.ndarray]) -> list[KeypointView]:
        """See Follower."""
        return [
            KeypointView(extract(self.graph, image, self.most), (image.shape[0], image.shape[1])) for image in images
        ]

    def detect(self, view: KeypointView, present_uv: np.ndarray, mask: np.ndarray | None) -> np.ndarray:
        """See Follower."""
        return self.detector.choose(view.keypoints.uv, view.keypoints.scores, view.shape, present_uv, mask)

    def follow(
        self, a: KeypointView, b: KeypointView, uv_a: np.ndarray, guess_b: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """See Follower."""
        lost = uv_a.astype(np.float32), np.zeros(len(uv_a), bool)
        if not len(uv_a) or not len(a.keypoints.uv) or not len(b.keypoints.uv):
            return lost
        distance, index = cKDTree(a.keypoints.uv).query(uv_a)
        if self.matcher is None:
            partner = mutual_nearest(a.keypoints, b.keypoints, index, guess_b - uv_a, self.search_px)
        else:
            partner = self.matcher(a.keypoints, b.keypoints, a.shape)[index]
        uv_b = b.keypoints.uv[partner]
        near = np.linalg.norm(uv_b - guess_b, axis=1) < self.search_px
        return uv_b, (partner >= 0) & (distance < _SAME_PX) & near


def mutual_nearest(a: Keypoints, b: Keypoints, index: np.ndarray, shift: np.ndarray, search_px: float) -> np.ndarray:
    """For keypoints index (N,) of a, expected at uv + shift (N, 2) in b: their index there (N,), -1 for none.

    The nearest descriptor within search_px, whose own nearest in a, sought with the same shift, is the keypoint.
    """
    there = _nearest(a.descriptors[index], a.uv[index] + shift, b, search_px)
    back = _nearest(b.descriptors[there], b.uv[there] - shift, a, search_px)
    return np.where((there >= 0) & (back == index), there, -1)


def _nearest(descriptors: np.ndarray, expected_uv: np.ndarray, among: Keypoints, search_px: float) -> np.ndarray:
    """Index (N,) of the most alike keypoint within search_px of where it is expected, -1 for none."""
    likeness = descriptors @ among.descriptors.T
    far = ((expected_uv[:, None] - among.uv[None]) ** 2).sum(-1) > search_px**2
    likeness[far] = -np.inf
    best = likeness.argmax(axis=1)
    return np.where(np.isfinite(likeness[np.arange(len(best)), best]), best, -1)
