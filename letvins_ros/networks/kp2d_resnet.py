# SPDX-License-Identifier: Apache-2.0
"""KP2D's variant on a ResNet-18 encoder with a U-Net decoder."""

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from letvins_ros.networks.cells import CellPoints, check_size, conv_block, to_pixels, without_border
from letvins_ros.networks.deploy import ImageNetwork
from letvins_ros.networks.kp2d import CELL, normalise
from letvins_ros.networks.published import Renames
from letvins_ros.networks.residual import residual_layer

_ENCODED = (64, 64, 128, 256, 512)  # channels at 1/2, 1/4, 1/8, 1/16, 1/32
_DECODED = {4: 256, 3: 256, 2: 128, 1: 64}  # channels of the decoder's levels, which read 1/16, 1/8, 1/4, 1/2
_HEADS = {"scoreconv": "score", "locconv": "location", "featconv": "describe"}


class KeypointResnet(ImageNetwork):
    """(B, 3, H, W) RGB image in 0..1, sides multiples of 32 -> CellPoints: cells of 8 px, 64-d descriptors at 1/2."""

    PUBLISHED: ClassVar[Renames] = (
        (r"encoderK\.rn\.", "encoder."),
        (r"decoderK\.upconv(\d)_0\.conv\.", r"decoder.\1.narrow."),
        (r"decoderK\.upconv(\d)_1\.conv\.", r"decoder.\1.merge."),
        *((rf"decoderK\.{theirs}\.", f"{ours}.") for theirs, ours in _HEADS.items()),
    )
    outputs = ("score", "coord", "descriptor")
    precision = "bf16"  # which moves keypoints by hundredths of a pixel, and is three times as fast
    cell = CELL

    def __init__(self, dropout: bool = True) -> None:
        super().__init__()
        self.drop = nn.Dropout2d(0.2) if dropout else nn.Identity()
        self.encoder = _Encoder()
        levels = {}
        channels = _ENCODED[-1]
        for level, width in _DECODED.items():
            levels[str(level)] = _Level(channels, _ENCODED[level - 1], width)
            channels = width
        self.decoder = nn.ModuleDict(levels)
        self.score, self.location, self.describe = _head(256, 1), _head(256, 2), _head(64, 64)

    def forward(self, image: Tensor) -> CellPoints:
        """Map (B, 3, H, W) in 0..1; ConfigError for other channels or sizes."""
        check_size(image, 3, 32)
        *skips, last = self.encoder(normalise(image), self.drop)
        x = self.decoder["3"](self.decoder["4"](last, skips[3]), skips[2])
        score, offset = torch.sigmoid(self.score(x)), torch.tanh(self.location(x))
        x = self.decoder["1"](self.decoder["2"](x, skips[1]), skips[0])
        return CellPoints(without_border(score), to_pixels(offset, CELL, 2.0), self.describe(x))


class _Encoder(nn.Module):
    """ResNet-18 without its classifier; torchvision's key names."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.layer1, self.layer2 = residual_layer(64, 64, 1), residual_layer(64, 128, 2)
        self.layer3, self.layer4 = residual_layer(128, 256, 2), residual_layer(256, 512, 2)

    def forward(self, x: Tensor, drop: nn.Module) -> list[Tensor]:
        maps = [torch.relu(self.bn1(self.conv1(x)))]
        x = functional.max_pool2d(maps[0], 3, 2, padding=1)
        for layer in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = drop(layer(x))
            maps.append(x)
        return maps


class _Level(nn.Module):
    """One level of the decoder: doubles the size and joins the encoder's features."""

    def __init__(self, channels_in: int, channels_skip: int, channels_out: int) -> None:
        super().__init__()
        self.narrow = conv_block(channels_in, channels_out)
        self.merge = conv_block(channels_out + channels_skip, channels_out)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        upsampled = functional.interpolate(self.narrow(x), scale_factor=2.0, mode="nearest")
        return self.merge(torch.cat([upsampled, skip], dim=1))


def _head(channels: int, channels_out: int) -> nn.Sequential:
    return nn.Sequential(*conv_block(channels, channels), nn.ReflectionPad2d(1), nn.Conv2d(channels, channels_out, 3))
