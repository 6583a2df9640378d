# SPDX-License-Identifier: Apache-2.0
"""What a network is when it runs in the odometry or is exported: one image in, named maps out."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from letvins_ros.errors import ConfigError
from letvins_ros.networks.folding import Conv
from letvins_ros.networks.published import Renames

Precision = Literal["f32", "bf16", "f16"]


class ImageNetwork(nn.Module):
    """A network that maps one image: what it gives is said in these attributes, and nowhere else.

    Maps are `feature` (1, F, H, W) in 0..1, on which Lucas-Kanade runs, or `score` (1, 1, h, w), `coord`
    (1, 2, h, w) px where the network has it (else h, w are the image's and every pixel has a score) and `descriptor`
    (1, D, h', w'), beside which `descriptor_2` and `descriptor_4` may say more of the image at 1/2 and 1/4 of its size.
    `place` (1, G), of unit length, describes the whole image.
    """

    outputs: tuple[str, ...] = ()  # names of the maps; none: this variant gives nothing that can be followed
    optional: tuple[str, ...] = ()  # further maps, made where they are wanted
    channels: int = 3  # of the image
    precision: Precision = "f32"  # the coarsest that serves where the hardware has it
    PUBLISHED: ClassVar[Renames] = ()  # how published weights name our tensors

    def maps(self, image: Tensor, outputs: tuple[str, ...]) -> tuple[Tensor, ...]:
        """The named maps of a (1, channels, H, W) image in 0..1; to be overridden where not all need be computed."""
        out = self(image)
        return tuple(getattr(out, name) for name in outputs)

    @staticmethod
    def options_of(state: Mapping[str, np.ndarray]) -> dict[str, Any]:
        """Constructor options that the shapes of these (renamed) tensors tell; to be overridden where there are any."""
        return {}


class Deployed(nn.Module):
    """(1, channels, H, W) image in 0..white -> the maps of `outputs`, as a tuple."""

    white = 1.0  # what 255 of a uint8 image becomes

    def __init__(self, outputs: tuple[str, ...], channels: int, precision: Precision) -> None:
        super().__init__()
        self.outputs, self.channels, self.precision = outputs, channels, precision


DeployedFor = Callable[[int], Deployed]  # for images of so many channels


class DeployedNetwork(Deployed):
    """A network as it was trained."""

    def __init__(self, network: ImageNetwork, outputs: tuple[str, ...]) -> None:
        super().__init__(outputs, network.channels, network.precision)
        self.network = network

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Map one image."""
        return self.network.maps(image, self.outputs)


class Folded(Deployed):
    """LET-NET2's feature map by plain convolutions, which take the pixels as they are."""

    white = 255.0

    def __init__(self, layers: list[Conv]) -> None:
        super().__init__(("feature",), layers[0].weight.shape[1], "f16")  # it ends as 8 bits
        self.layers = layers
        for i, layer in enumerate(layers):
            weight = torch.from_numpy(layer.weight).contiguous(memory_format=torch.channels_last)
            self.register_buffer(f"weight{i}", weight)
            self.register_buffer(f"bias{i}", torch.from_numpy(layer.bias))

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Map one image."""
        x = image
        for i, layer in enumerate(self.layers):
            weight, bias = self.get_buffer(f"weight{i}"), self.get_buffer(f"bias{i}")
            x = functional.conv2d(torch.relu(x) if i else x, weight, bias, padding=layer.padding)
        return (torch.sigmoid(x),)


def deploy(network: nn.Module, *, with_place: bool = False, also: Sequence[str] = ()) -> Deployed:
    """Prepare a network for one image at a time, with further maps; ConfigError if it is no such network."""
    name = type(network).__name__
    if not isinstance(network, ImageNetwork) or not network.outputs:
        raise ConfigError(f"{name} does not map one image to what can be followed")
    if with_place and "place" not in network.optional:
        raise ConfigError(f"{name} has no descriptor of places")
    if missing := [one for one in also if one not in network.optional]:
        raise ConfigError(f"{name} has no {missing[0]}; further maps: {', '.join(network.optional) or 'none'}")
    further = dict.fromkeys([*(["place"] if with_place else []), *also])
    return DeployedNetwork(network, (*network.outputs, *further)).eval()
