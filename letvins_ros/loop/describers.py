# SPDX-License-Identifier: Apache-2.0
"""The describer that the configuration names: ORB, or KP2Dtiny's local and global descriptors of unit length."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np

from letvins_ros.calibration import MountedCamera
from letvins_ros.config import Config, LoopConfig
from letvins_ros.inference import Runtime, open_runtime
from letvins_ros.inference.keypoints import choose, pad
from letvins_ros.inference.opening import check_runs
from letvins_ros.inference.places import NETWORK, described, network_name, quarter_turns, turned
from letvins_ros.loop.features import Describer, KeyframeFeatures, features_of
from letvins_ros.loop.map_file import describer_of
from letvins_ros.loop.orb import OrbDescriber
from letvins_ros.types import Keyframe
from letvins_ros.weights import default_weights, load_weights

ORB = "orb"


def decided(config: Config) -> Config:
    """The configuration with another loop.describer than auto; DataError where the map to load cannot be read."""
    loop = config.loop
    if loop.describer != "auto":
        return config
    by_network = describer_of(Path(loop.load_map)).startswith(NETWORK) if loop.load_map else bool(config.described)
    return replace(config, loop=replace(loop, describer=NETWORK if by_network else ORB))


def describer_name(config: LoopConfig) -> str:
    """The name of the configured describer, which a map file keeps: maps of different names cannot be compared."""
    return network_name() if config.describer == NETWORK else OrbDescriber.name


def open_describer(
    config: LoopConfig, camera: MountedCamera, gravity_aligned: bool, *, described: bool = False
) -> Describer:
    """The configured describer, ORB for auto; raises WeightsError, or BackendError where torch is missing.

    gravity_aligned: an IMU makes odom's z point up. described: by the tracker, so that the network may never be needed.
    """
    if config.describer != NETWORK:
        return OrbDescriber(camera, config.max_features, gravity_aligned)
    check_runs(NETWORK)
    describer = NetworkDescriber(config.max_features, camera.T_body_cam if gravity_aligned else None)
    if not described:
        describer.open((camera.camera.height, camera.camera.width))
    return describer


def _open_network() -> Runtime:
    return open_runtime(NETWORK, with_place=True)


class NetworkDescriber:
    """KP2Dtiny run once on the image, upright to a quarter turn: read at landmarks and at its own best keypoints."""

    def __init__(
        self,
        max_features: int,
        T_body_cam: np.ndarray | None = None,
        open_network: Callable[[], Runtime] = _open_network,
    ) -> None:
        """T_body_cam (4, 4): where gravity is known; else images stay as they are.

        open_network: of what gives score, coord, descriptor and place; called for the first image.
        """
        self._max_features, self._network, self._T_body_cam = max_features, cache(open_network), T_body_cam
        self.name = network_name()
        self.place_size = load_weights(default_weights(NETWORK))["place.aggregator.centroids"].size

    def open(self, size: tuple[int, int]) -> None:
        """Be ready for images of (height, width)."""
        self._network()([pad(np.zeros(size, np.uint8))])

    def describe(self, image: np.ndarray, keyframe: Keyframe) -> KeyframeFeatures:
        """See Describer."""
        turns = 0 if self._T_body_cam is None else quarter_turns(keyframe.T_odom_body @ self._T_body_cam)
        upright = np.rot90(image, turns)
        (maps,), size = self._network()([pad(upright)]), (upright.shape[0], upright.shape[1])
        own = turned(choose(maps, size, 4 * self._max_features)[0], size, -turns)
        seen = described(maps, (image.shape[0], image.shape[1]), keyframe.uv, own, self._max_features, turns)
        return features_of(keyframe, seen)
