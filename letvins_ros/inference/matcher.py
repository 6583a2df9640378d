# SPDX-License-Identifier: Apache-2.0
"""LightGlue between the keypoints of two images."""

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import cast

import numpy as np

from letvins_ros.errors import ConfigError
from letvins_ros.inference.keypoints import Keypoints
from letvins_ros.inference.runtime import BackendError
from letvins_ros.weights import WeightsError

Size = tuple[int, int]  # height and width of an image, px
Matcher = Callable[[Keypoints, Keypoints, Size], np.ndarray]  # (M,) int64: index in the second, -1 for none


def open_lightglue(weights: Path | str) -> Matcher:
    """Open LightGlue weights with torch; BackendError or WeightsError."""
    if find_spec("torch") is None:
        raise BackendError("matching by lightglue needs the Python package torch")
    if not weights:
        raise WeightsError("matching by lightglue needs tracker.matcher_weights, a file with weights of LightGlue")
    import torch

    from letvins_ros.networks import lightglue as networks
    from letvins_ros.networks import load

    network = cast(networks.LightGlue, load("lightglue", weights))

    def tensors(keypoints: Keypoints, size: Size) -> networks.Keypoints:
        uv, descriptors = torch.from_numpy(keypoints.uv)[None], torch.from_numpy(keypoints.descriptors)[None]
        return networks.Keypoints(uv, descriptors, (size[1], size[0]))

    def match(a: Keypoints, b: Keypoints, size: Size) -> np.ndarray:
        try:
            found = network.match(tensors(a, size), tensors(b, size))
        except ConfigError as error:
            raise WeightsError(f"{weights}: {error}") from error
        indices: np.ndarray = found.indices.numpy()
        return indices

    return match
