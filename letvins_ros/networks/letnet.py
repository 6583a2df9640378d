# SPDX-License-Identifier: Apache-2.0
"""LET-NET as it is trained: the shallow network of LET-NET2 with a deep helper that it sheds (arXiv 2310.15655)."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from letvins_ros.networks.deploy import ImageNetwork
from letvins_ros.networks.folding import FEATURES
from letvins_ros.networks.letnet2 import Block, LetNet2

_WIDTHS = (8, 16, 32, 64)
_POOLINGS = (2, 4, 4)  # before the second, third and fourth block
DESCRIPTOR = 64  # channels


class LetNetOutput(NamedTuple):
    """At the resolution of the image."""

    feature: Tensor  # (B, 3, H, W) 0..1, the illumination-invariant local descriptor
    score: Tensor  # (B, 1, H, W) 0..1
    descriptor: Tensor  # (B, 64, H, W) of unit length, from the helper


class LetNet(ImageNetwork):
    """(B, in_channels, H, W) image in 0..1 -> LetNetOutput; 82,584 parameters with one channel.

    `shallow()` is what runs after training. Sides that are no multiples of 32 are padded inside.
    """

    outputs = ("feature", "score")
    precision = "f16"

    def __init__(self, in_channels: int = 1, head_channels: int = 4) -> None:
        super().__init__()
        self.features, self.channels = FEATURES[head_channels], in_channels
        self.block1 = Block(in_channels, _WIDTHS[0])
        self.block2 = _Residual(_WIDTHS[0], _WIDTHS[1])
        self.block3 = _Residual(_WIDTHS[1], _WIDTHS[2])
        self.block4 = _Residual(_WIDTHS[2], _WIDTHS[3])
        quarter = DESCRIPTOR // 4
        self.conv1, self.conv2, self.conv3, self.conv4 = (nn.Conv2d(w, quarter, 1, bias=False) for w in _WIDTHS)
        self.conv_head = nn.Conv2d(quarter, head_channels, 1, bias=False)
        self.convhead2 = nn.Conv2d(DESCRIPTOR, DESCRIPTOR, 1, bias=False)

    def forward(self, image: Tensor) -> LetNetOutput:
        """Map (B, in_channels, H, W) in 0..1."""
        height, width = image.shape[-2:]
        x = self.block1(functional.pad(image, (0, -width % 32, 0, -height % 32)))
        local = torch.relu(self.conv1(x))
        scales = [local]
        for block, conv, pooling in zip(
            (self.block2, self.block3, self.block4), (self.conv2, self.conv3, self.conv4), _POOLINGS, strict=True
        ):
            x = block(functional.max_pool2d(x, pooling))
            scales.append(_enlarge(torch.relu(conv(x)), local))
        descriptor = functional.normalize(self.convhead2(torch.cat(scales, dim=1)), dim=1)
        head = torch.sigmoid(self.conv_head(local))
        maps = (head[:, : self.features], head[:, -1:], descriptor)
        return LetNetOutput(*(map_[..., :height, :width] for map_ in maps))

    def shallow(self) -> LetNet2:
        """Copy what is kept after training."""
        network = LetNet2(self.block1.conv1.in_channels, self.conv_head.out_channels)
        kept = network.state_dict().keys()
        network.load_state_dict({key: value for key, value in self.state_dict().items() if key in kept})
        return network.eval()

    @staticmethod
    def options_of(state: Mapping[str, np.ndarray]) -> dict[str, Any]:
        """Constructor options of the variant that these weights belong to."""
        return LetNet2.options_of(state)


def _enlarge(x: Tensor, like: Tensor) -> Tensor:
    return functional.interpolate(x, size=like.shape[-2:], mode="bilinear", align_corners=True)


class _Residual(Block):
    """The block with a 1x1 convolution around it."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__(channels_in, channels_out)
        self.downsample = nn.Conv2d(channels_in, channels_out, 1)

    def forward(self, x: Tensor) -> Tensor:
        inner = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))
        return torch.relu(inner + self.downsample(x))
