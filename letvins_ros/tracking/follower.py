# SPDX-License-Identifier: Apache-2.0
"""How features are found and found again: the part of the tracker that optical flow or a matcher fills."""

from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import numpy as np

from letvins_ros.config import TrackerConfig
from letvins_ros.errors import ConfigError
from letvins_ros.inference import Runtime, open_runtime
from letvins_ros.tracking.detection import GridDetector
from letvins_ros.tracking.flow import LearnedMaps, LucasKanade, MapMaker, equalised_maps, gray_maps
from letvins_ros.types import PlaceDescription


class Follower(Protocol):
    """Finds features in an image and finds them again in another one, later or beside it.

    A view is what a follower keeps of an image (a map, or keypoints with descriptors); nobody else looks into it.
    """

    def prepare(self, images: list[np.ndarray]) -> list[Any]:
        """Views of images (H, W) gray or (H, W, 3) RGB uint8, all of one moment."""
        ...

    def appearance(self, view: Any) -> np.ndarray | None:
        """The image (H, W) uint8 in which features are held to their first patches; None where nothing shows them."""
        ...

    def detect(self, view: Any, present_uv: np.ndarray, mask: np.ndarray | None, most: int) -> np.ndarray:
        """New features (M, 2) float32 px, away from the present ones (N, 2) and outside the mask's zeros.

        most: how many there may be in all, N + M.
        """
        ...

    def follow(self, a: Any, b: Any, uv_a: np.ndarray, guess_b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Where features (N, 2) px of view a are in view b, (N, 2) float32, and which were found (N,) bool.

        guess_b (N, 2) px is where they are expected; of those not found the positions mean nothing.
        """
        ...


@runtime_checkable
class PlaceFollower(Follower, Protocol):
    """A Follower that can also describe places for the loop closer."""

    def prepare_place(self, images: list[np.ndarray], turns: int) -> list[Any]:
        """Views as `prepare` gives them; the first can be described as so many quarter turns set it upright."""
        ...

    def describe(self, view: Any, uv: np.ndarray) -> PlaceDescription | None:
        """The place that a view shows, with descriptors of features (N, 2) px; None where it cannot tell."""
        ...


MakeFollower = Callable[[TrackerConfig], Follower]  # with the thresholds of a configuration


def make_follower(config: TrackerConfig) -> Follower:
    """The follower that the configuration asks for."""
    return open_follower(config)(config)


def open_follower(config: TrackerConfig, described: int = 0) -> MakeFollower:
    """Open what a method runs, network and matcher; the function returned makes followers of it, with any thresholds.

    described: features to describe for the loop closer, see Config.described.
    Raises BackendError, WeightsError, or ConfigError for a network that cannot be followed.
    """
    even = config.equalise == "local"
    maps: MapMaker = equalised_maps if even else gray_maps
    if config.method == "lk":
        return lambda config: _lucas_kanade(config, maps, config.pyramid_levels)
    runtime = open_runtime(config.method, config.weights, config.backend)
    if "feature" in runtime.outputs:
        learned = LearnedMaps(runtime, even)  # as they are, images may have colour
        return lambda config: _lucas_kanade(config, learned, config.pyramid_levels)
    if not {"score", "descriptor"} <= set(runtime.outputs):
        given = f"{config.weights or config.method} gives {', '.join(runtime.outputs)}"
        raise ConfigError(f"the tracker needs a network that gives feature, or score and descriptor; {given}")
    return _keypoint_follower(runtime, config, maps, described)


def _keypoint_follower(runtime: Runtime, config: TrackerConfig, maps: MapMaker, described: int) -> MakeFollower:
    from letvins_ros.inference.matcher import open_lightglue
    from letvins_ros.tracking.keypoints import KeypointFollower

    matcher = open_lightglue(config.matcher_weights) if config.matching == "lightglue" else None
    placer = open_runtime(config.method, config.weights, config.backend, with_place=True) if described else None

    def make(config: TrackerConfig) -> Follower:
        refiner = _lucas_kanade(config, maps, 1) if config.refine else None
        most, detector = config.max_keypoints, _detector(config)
        return KeypointFollower(runtime, detector, config.search_px, most, matcher, refiner, placer, described)

    return make


def _lucas_kanade(config: TrackerConfig, maps: MapMaker, levels: int) -> LucasKanade:
    return LucasKanade(maps, _detector(config), config.window_px, levels, config.forward_backward_px)


def _detector(config: TrackerConfig) -> GridDetector:
    return GridDetector(round(config.min_distance_px), config.quality)
