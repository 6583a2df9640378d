# SPDX-License-Identifier: Apache-2.0
"""The describer that the configuration names: ORB, or KP2Dtiny's local and global descriptors of unit length."""

import hashlib

import numpy as np

from letvins_ros.calibration import MountedCamera
from letvins_ros.camera import Camera
from letvins_ros.config import LoopConfig
from letvins_ros.inference import Runtime, open_runtime
from letvins_ros.inference.keypoints import choose, pad, sample
from letvins_ros.loop.features import Describer, KeyframeFeatures, with_landmarks
from letvins_ros.loop.orb import OrbDescriber
from letvins_ros.types import Keyframe
from letvins_ros.weights import default_weights

NETWORK = "kp2dtiny"
APART_PX = 8.0  # from a landmark, within which a keypoint is the same


def describer_name(config: LoopConfig) -> str:
    """The name of the configured describer, which a map file keeps: maps of different names cannot be compared."""
    return OrbDescriber.name if config.describer == "orb" else network_name()


def open_describer(config: LoopConfig, camera: MountedCamera, gravity_aligned: bool) -> Describer:
    """The configured describer; raises WeightsError, or BackendError where torch is missing.

    gravity_aligned: an IMU makes odom's z point up.
    """
    if config.describer == "orb":
        return OrbDescriber(camera, config.max_features, gravity_aligned)
    return NetworkDescriber(camera.camera, config.max_features)


class NetworkDescriber:
    """KP2Dtiny run once: read at the keyframe's landmarks and at its own best keypoints."""

    def __init__(self, camera: Camera, max_features: int, runtime: Runtime | None = None) -> None:
        """runtime: gives score, coord, descriptor and place. Raises BackendError where torch is missing."""
        self._max_features = max_features
        self._runtime = runtime or open_runtime(NETWORK, with_place=True)
        self.name = network_name()
        blank = np.zeros((camera.height, camera.width), np.uint8)
        self.place_size = self._runtime([pad(blank)])[0]["place"].size

    def describe(self, image: np.ndarray, keyframe: Keyframe) -> KeyframeFeatures:
        """See Describer."""
        padded = pad(image)
        (maps,) = self._runtime([padded])
        own, _ = choose(maps, (image.shape[0], image.shape[1]), 4 * self._max_features)
        own = own[_away_from(own, keyframe.uv)][: max(self._max_features - len(keyframe.uv), 0)]
        uv, points, ids = with_landmarks(keyframe, own)
        descriptors = sample(maps["descriptor"], uv, (padded.shape[0], padded.shape[1]))
        return KeyframeFeatures(uv, descriptors.astype(np.float16), points, ids, maps["place"])


def network_name() -> str:
    """The network with a hash of its weights: other weights make other descriptors."""
    return f"{NETWORK}-{hashlib.sha256(default_weights(NETWORK).read_bytes()).hexdigest()[:8]}"


def _away_from(uv: np.ndarray, from_uv: np.ndarray) -> np.ndarray:
    apart = ((uv[:, None] - from_uv[None]) ** 2).sum(axis=2)
    return np.asarray((apart > APART_PX**2).all(axis=1))
