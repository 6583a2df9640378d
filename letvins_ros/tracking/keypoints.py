# SPDX-License-Identifier: Apache-2.0
"""Keypoints of a network found in every image and matched by their descriptors; a Follower."""

from dataclasses import dataclass, replace

import numpy as np
from scipy.spatial import cKDTree

from letvins_ros.inference import Runtime
from letvins_ros.inference.keypoints import Keypoints, pad, read
from letvins_ros.inference.matcher import Matcher
from letvins_ros.inference.places import described
from letvins_ros.inference.runtime import Maps
from letvins_ros.tracking.detection import GridDetector
from letvins_ros.tracking.flow import LucasKanade, View
from letvins_ros.types import PlaceDescription

_SAME_PX = 0.01  # a feature is the keypoint at its place
_REFINED_PX = 4.0  # or about there, where flow has moved it


@dataclass(frozen=True, eq=False)
class KeypointView:
    """What is kept of an image."""

    keypoints: Keypoints
    shape: tuple[int, int]  # height and width, px
    flow: View | None  # for refining
    maps: Maps  # empty where no place is to be described from them: they are large
    turns: int = 0  # quarter turns to the left of the image that the maps are of


@dataclass(frozen=True)
class KeypointFollower:
    """Detects keypoints by a network in every image and matches them; a PlaceFollower.

    A match is mutually best among what lies within search_px of where the guess expects it, or what the matcher says.
    Networks place keypoints to about a pixel, each time anew; refining by flow from the match makes that a tenth.
    """

    runtime: Runtime
    detector: GridDetector  # spreads them
    search_px: float
    most: int  # keypoints of an image that can be matched
    matcher: Matcher | None = None
    refiner: LucasKanade | None = None
    placer: Runtime | None = None  # the same network, which tells the place too
    most_described: int = 0

    def prepare(self, images: list[np.ndarray]) -> list[KeypointView]:
        """See Follower."""
        return self._views(images, self.runtime)

    def prepare_place(self, images: list[np.ndarray], turns: int) -> list[KeypointView]:
        """See PlaceFollower; an image that is not upright costs another run of the network."""
        if self.placer is None or not turns:
            return self._views(images, self.placer or self.runtime)
        first, *others = self._views(images, self.runtime)
        (maps,) = self.placer([pad(np.rot90(images[0], turns))])
        return [replace(first, maps=maps, turns=turns), *others]

    def _views(self, images: list[np.ndarray], of_first: Runtime) -> list[KeypointView]:
        flows = self.refiner.prepare(images) if self.refiner else [None] * len(images)
        return list(map(self._view, [of_first, *[self.runtime] * len(images)], images, flows))

    def _view(self, runtime: Runtime, image: np.ndarray, flow: View | None) -> KeypointView:
        (maps,), size = runtime([pad(image)]), (image.shape[0], image.shape[1])
        return KeypointView(read(maps, size, self.most), size, flow, maps if "place" in maps else {})

    def describe(self, view: KeypointView, uv: np.ndarray) -> PlaceDescription | None:
        """See PlaceFollower."""
        if not self.most_described or "place" not in view.maps:
            return None
        return described(view.maps, view.shape, uv, view.keypoints.uv, self.most_described, view.turns)

    def appearance(self, view: KeypointView) -> np.ndarray | None:
        """See Follower; what is matched without refinement stays where the network has put it."""
        return None if self.refiner is None or view.flow is None else self.refiner.appearance(view.flow)

    def detect(self, view: KeypointView, present_uv: np.ndarray, mask: np.ndarray | None, most: int) -> np.ndarray:
        """See Follower."""
        return self.detector.choose(view.keypoints, view.shape, present_uv, mask, most)

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
        found = (partner >= 0) & (distance < (_REFINED_PX if self.refiner else _SAME_PX))
        found &= np.linalg.norm(uv_b - guess_b, axis=1) < self.search_px
        return self._refine(a, b, uv_a, uv_b + uv_a - a.keypoints.uv[index], found)

    def _refine(
        self, a: KeypointView, b: KeypointView, uv_a: np.ndarray, uv_b: np.ndarray, found: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Move matches to where flow from them ends, and drop those that it takes to another place."""
        if self.refiner is None or a.flow is None or b.flow is None:
            return uv_b.astype(np.float32), found
        refined, tracked = self.refiner.follow(a.flow, b.flow, uv_a, uv_b)
        close = np.linalg.norm(refined - uv_b, axis=1) < _REFINED_PX
        return refined, found & tracked & close


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
