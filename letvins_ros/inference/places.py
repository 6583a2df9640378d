# SPDX-License-Identifier: Apache-2.0
"""Places described by KP2Dtiny: by the tracker that runs it anyway, or else by the loop closer."""

import hashlib
from functools import cache
from pathlib import Path

import numpy as np

from letvins_ros.inference.keypoints import padded_size, sample
from letvins_ros.inference.runtime import Maps
from letvins_ros.types import PlaceDescription
from letvins_ros.weights import default_weights

NETWORK = "kp2dtiny"
APART_PX = 8.0  # from a feature, within which a keypoint is the same


def network_name() -> str:
    """The network with a hash of its weights: other weights make other descriptors."""
    return f"{NETWORK}-{_hash(default_weights(NETWORK))[:8]}"


@cache
def _hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def described(maps: Maps, size: tuple[int, int], uv: np.ndarray, own: np.ndarray, most: int) -> PlaceDescription:
    """What the network's maps of an image of (height, width) say at features (N, 2) px and at some of its keypoints.

    own (K, 2) px: its keypoints, best first. most: descriptors in all, except that every feature has one.
    """
    own = own[_away_from(own, uv)][: max(most - len(uv), 0)]
    descriptors = sample(maps, np.concatenate([uv, own]), padded_size(size))
    return PlaceDescription(network_name(), own, descriptors.astype(np.float16), maps["place"])


def _away_from(uv: np.ndarray, from_uv: np.ndarray) -> np.ndarray:
    apart = ((uv[:, None] - from_uv[None]) ** 2).sum(axis=2)
    return np.asarray((apart > APART_PX**2).all(axis=1))
