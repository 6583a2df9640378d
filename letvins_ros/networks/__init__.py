# SPDX-License-Identifier: Apache-2.0
"""The networks, as plain torch modules that training and inference share: no loss, no download."""

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from letvins_ros.errors import ConfigError
from letvins_ros.weights import WeightsError, load_checkpoint

if TYPE_CHECKING:
    from torch import nn

    from letvins_ros.networks.folding import Fold

_CLASSES = {  # name -> module of this folder and its class
    "inlier_net": ("kp2d_inliers", "InlierNet"),
    "keypointformer": ("keypointformer", "KeypointFormer"),
    "kp2d": ("kp2d", "KeypointNet"),
    "kp2d_resnet": ("kp2d_resnet", "KeypointResnet"),
    "kp2dtiny": ("kp2dtiny", "KP2DTiny"),
    "letnet": ("letnet", "LetNet"),
    "letnet2": ("letnet2", "LetNet2"),
    "lightglue": ("lightglue", "LightGlue"),
    "loftr": ("loftr", "LoFTR"),
    "superpoint": ("superpoint", "SuperPoint"),
}

_FOLDED = {"letnet2": ("folding", "fold_letnet2")}  # those that numpy makes plain convolutions of


def build(name: str, **options: Any) -> "nn.Module":
    """Make the network of this name with its constructor's options, randomly initialised; ConfigError if unknown."""
    module: nn.Module = _network_class(name)(**options)
    return module


def load(name: str, weights: Path | str, **options: Any) -> "nn.Module":
    """Make the network that a weights file belongs to and load it strictly, in evaluation mode.

    The file has our key names or the published ones. What its shapes do not tell is what the file's configuration says,
    or can be given as options. Raises ConfigError for an unknown name and WeightsError, which names the file, for what
    does not fit or is not told.
    """
    path, told = Path(weights), getattr(_network_class(name), "told_by", None)
    try:
        state, config = load_checkpoint(path)
        if told is not None and not options:
            options = told(config, path.stem)
        return from_state(name, state, **options)
    except (WeightsError, ConfigError) as error:
        raise WeightsError(f"{weights}: {str(error).removeprefix(f'{weights}: ')}") from error


def from_state(name: str, state: Mapping[str, np.ndarray], **options: Any) -> "nn.Module":
    """Make a network from named arrays; see `load`."""
    from letvins_ros.networks.published import load_strictly, rename  # needs torch

    network_class = _network_class(name)
    renamed = rename(state, network_class.PUBLISHED)
    try:
        told = network_class.options_of(renamed)
        if renamed.keys() != state.keys():
            told |= getattr(network_class, "PUBLISHED_OPTIONS", {})
        network: nn.Module = network_class(**{**told, **options})
    except (KeyError, ConfigError) as error:
        raise WeightsError(f"not the weights of {name}: {error}") from error
    load_strictly(network, renamed, name)
    return network.eval()


def fold_of(name: str) -> "Fold | None":
    """What makes plain convolutions of a network's weights, for images of so many channels; most networks have none."""
    if name not in _FOLDED:
        return None
    module, function = _FOLDED[name]
    fold: Fold = getattr(import_module(f"{__name__}.{module}"), function)
    return fold


def _network_class(name: str) -> Any:
    if name not in _CLASSES:
        raise ConfigError(f"unknown network {name}; known: {', '.join(sorted(_CLASSES))}")
    module, class_name = _CLASSES[name]
    return getattr(import_module(f"{__name__}.{module}"), class_name)
