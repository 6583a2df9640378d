# SPDX-License-Identifier: Apache-2.0
"""LET-NET2: a tiny full-resolution network whose feature map keeps its looks when the light changes."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from letvins_ros.networks.deploy import ImageNetwork
from letvins_ros.networks.folding import FEATURES, LUMINANCE


class LetNet2Output(NamedTuple):
    """Both in 0..1, at the resolution of the image."""

    feature: Tensor  # (B, F, H, W), the map on which Lucas-Kanade runs; F is 3, or 1 with two head channels
    score: Tensor  # (B, 1, H, W)


class Block(nn.Module):
    """Two 3x3 convolutions, each with batch norm and ReLU."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels_out, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels_out)
        self.conv2 = nn.Conv2d(channels_out, channels_out, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels_out)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.bn1(self.conv1(x)))
        return torch.relu(self.bn2(self.conv2(x)))


class LetNet2(ImageNetwork):
    """(B, in_channels, H, W) image in 0..1 -> LetNet2Output; 5x5 receptive field, stride 1.

    1,016 parameters for RGB with four head channels: three features and the score (Lin et al., arXiv 2310.15655).
    With three head channels the last one is feature and score at once, with two there is one feature and the score,
    as in the authors' training scripts.
    """

    outputs = ("feature", "score")
    precision = "f16"

    def __init__(self, in_channels: int = 3, head_channels: int = 4) -> None:
        super().__init__()
        if in_channels not in (1, 3) or head_channels not in FEATURES:
            raise ValueError(
                f"in_channels 1 or 3 and head_channels 2, 3 or 4 wanted, got {in_channels}, {head_channels}"
            )
        self.features, self.channels = FEATURES[head_channels], in_channels
        self.block1 = Block(in_channels, 8)
        self.conv1 = nn.Conv2d(8, 16, 1, bias=False)
        self.conv_head = nn.Conv2d(16, head_channels, 1, bias=False)

    def forward(self, image: Tensor) -> LetNet2Output:
        """Map (B, in_channels, H, W) in 0..1."""
        head = torch.sigmoid(self.conv_head(torch.relu(self.conv1(self.block1(image)))))
        return LetNet2Output(head[:, : self.features], head[:, -1:])

    @staticmethod
    def options_of(state: Mapping[str, np.ndarray]) -> dict[str, Any]:
        """Constructor options of the variant that these weights belong to."""
        head = state["conv_head.weight"]
        return {"in_channels": state["block1.conv1.weight"].shape[1], "head_channels": head.shape[0]}


def image_to_tensor(image: np.ndarray, channels: int) -> Tensor:
    """(H, W) or (H, W, 3) RGB uint8 -> (1, channels, H, W) float32 in 0..1; gray is replicated, RGB made luminance."""
    tensor = torch.from_numpy(image).float() / 255
    if tensor.ndim == 2:
        return tensor.expand(1, channels, *tensor.shape)
    if channels == 1:
        return (tensor @ torch.from_numpy(LUMINANCE))[None, None]
    return tensor.permute(2, 0, 1)[None]
