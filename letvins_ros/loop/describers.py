# SPDX-License-Identifier: Apache-2.0
"""The describer that the configuration names."""

from letvins_ros.calibration import MountedCamera
from letvins_ros.config import LoopConfig
from letvins_ros.loop import network
from letvins_ros.loop.features import Describer, OrbDescriber


def describer_name(config: LoopConfig) -> str:
    """What a map says of its descriptors."""
    return OrbDescriber.name if config.describer == "orb" else network.name()


def open_describer(config: LoopConfig, camera: MountedCamera, is_upright: bool) -> Describer:
    """is_upright: an IMU makes odom's z point up. Raises WeightsError, or BackendError where torch is missing."""
    if config.describer == "orb":
        return OrbDescriber(camera, config.max_features, is_upright)
    return network.NetworkDescriber(camera.camera, config.max_features)
