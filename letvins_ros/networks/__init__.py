# SPDX-License-Identifier: Apache-2.0
"""The networks, as plain torch modules that training and inference share: no loss, no download."""

from importlib import import_module
from typing import TYPE_CHECKING

from letvins_ros.errors import ConfigError

if TYPE_CHECKING:
    from torch import nn

_CLASSES = {"letnet2": "LetNet2"}  # module of this folder -> its class


def build(name: str, **options: int) -> "nn.Module":
    """Make the network of this name with its constructor's options, randomly initialised; ConfigError if unknown."""
    if name not in _CLASSES:
        raise ConfigError(f"unknown network {name}; known: {', '.join(sorted(_CLASSES))}")
    module: nn.Module = getattr(import_module(f"{__name__}.{name}"), _CLASSES[name])(**options)
    return module
