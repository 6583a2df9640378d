# SPDX-License-Identifier: Apache-2.0
"""Places described by KP2Dtiny: by the tracker that runs it anyway, or else by the loop closer."""

import hashlib
from functools import cache
from pathlib import Path

import numpy as np

from letvins_ros.geometry import image_roll
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


def quarter_turns(T_up_cam: np.ndarray) -> int:
    """How many quarter turns to the left set an image upright; T_up_cam (4, 4) is in a frame whose z points up."""
    return round(image_roll(T_up_cam) / (np.pi / 2)) % 4


def turned(uv: np.ndarray, size: tuple[int, int], turns: int) -> np.ndarray:
    """Pixels (N, 2) of an image of (height, width) after so many quarter turns to the left, as by np.rot90."""
    for i in range(turns % 4):
        uv = np.stack([uv[:, 1], size[(i + 1) % 2] - 1 - uv[:, 0]], axis=1)
    return uv


def described(  # noqa: PLR0913
    maps: Maps, size: tuple[int, int], uv: np.ndarray, own: np.ndarray, most: int, turns: int = 0
) -> PlaceDescription:
    """What the network's maps of an image of (height, width) say at features (N, 2) px and at some of its keypoints.

    own (K, 2) px: its keypoints, best first. most: descriptors in all, except that every feature has one. turns: the
    maps are of the image after so many quarter turns to the left.
    """
    own = own[_away_from(own, uv)][: max(most - len(uv), 0)]
    places, shape = turned(np.concatenate([uv, own]), size, turns), size[::-1] if turns % 2 else size
    descriptors = sample(maps, places, padded_size(shape))
    return PlaceDescription(network_name(), own, descriptors.astype(np.float16), maps["place"])


def _away_from(uv: np.ndarray, from_uv: np.ndarray) -> np.ndarray:
    apart = ((uv[:, None] - from_uv[None]) ** 2).sum(axis=2)
    return np.asarray((apart > APART_PX**2).all(axis=1))
