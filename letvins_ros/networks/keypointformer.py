# SPDX-License-Identifier: Apache-2.0
"""KeypointFormer: the tasks of KP2Dtiny on a mix transformer (SegFormer's encoder, Xie et al. 2021)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from letvins_ros.errors import ConfigError
from letvins_ros.networks.aggregators import NetVLAD
from letvins_ros.networks.cells import check_size, to_pixels, without_border
from letvins_ros.networks.deploy import ImageNetwork
from letvins_ros.networks.efficient_attention import FEED_RENAMES, AttentionBlock
from letvins_ros.networks.kp2dtiny import KP2DTinyOutput
from letvins_ros.networks.published import Renames

CELL = 8
_PATCHES = ((7, 4, 3), (3, 2, 1), (3, 2, 1), (3, 2, 1))  # kernel, stride, padding of the four stages
_CLUSTERS = 64


@dataclass(frozen=True)
class FormerConfig:
    """Sizes of the four stages and of the heads."""

    widths: tuple[int, int, int, int] = (32, 64, 160, 256)
    heads: tuple[int, int, int, int] = (1, 2, 5, 8)
    expansions: tuple[int, int, int, int] = (8, 8, 4, 4)
    reductions: tuple[int, int, int, int] = (8, 4, 2, 1)
    decoder: int = 256
    features: int = 256


CONFIGS = {
    "default": FormerConfig(),
    "tiny": FormerConfig((16, 32, 64, 64), (1, 2, 4, 4), (4, 4, 2, 2), (8, 4, 4, 2), 64, 64),
}


class KeypointFormer(ImageNetwork):
    """(B, 3, H, W) RGB image in 0..1, sides multiples of 32 -> KP2DTinyOutput with cells of 8 px and no depth."""

    PUBLISHED: ClassVar[Renames] = (
        (r"mit\.stages\.(\d)\.1\.", r"stages.\1.patches."),
        (r"mit\.stages\.(\d)\.2\.(\d)\.0\.norm\.", r"stages.\1.blocks.\2.norm1."),
        (r"mit\.stages\.(\d)\.2\.(\d)\.1\.norm\.", r"stages.\1.blocks.\2.norm2."),
        (r"mit\.stages\.(\d)\.2\.(\d)\.0\.fn\.", r"stages.\1.blocks.\2.attend."),
        (r"mit\.stages\.(\d)\.2\.(\d)\.1\.fn\.", r"stages.\1.blocks.\2.mff.fn."),
        (r"to_fused\.", "fuse."),
        (r"segmentation_head\.", "segment."),
        (r"score_head\.", "score."),
        (r"loc_head\.", "location."),
        (r"feat_head\.", "describe."),
        (r"vlad_head\.", "place."),
        (r"netvlad\.conv\.", "aggregator.assign."),
        (r"netvlad\.", "aggregator."),
        *FEED_RENAMES,
    )
    outputs = ("score", "coord", "descriptor")
    precision = "bf16"  # which moves keypoints by hundredths of a pixel, and is three times as fast
    optional = ("place", "segmentation")
    cell = CELL

    def __init__(self, config: str = "default", classes: int = 28) -> None:
        super().__init__()
        if config not in CONFIGS:
            raise ConfigError(f"unknown config {config} of keypointformer; known: {', '.join(CONFIGS)}")
        c = CONFIGS[config]
        d, joined = c.decoder, 4 * c.decoder
        self.stages = nn.ModuleList(_Stage(c, i) for i in range(4))
        self.fuse = nn.ModuleList(
            nn.Sequential(*_conv(width, d, 1), nn.Upsample(scale_factor=float(2**i)))
            for i, width in enumerate(c.widths)
        )
        self.segment = nn.Sequential(*_conv(joined, d, 1), nn.Conv2d(d, classes, 1))
        self.score = nn.Sequential(*_conv(joined, d, 3, stride=2), nn.Conv2d(d, 1, 1))
        self.location = nn.Sequential(*_conv(joined, d, 3, stride=2), nn.Conv2d(d, 2, 1))
        self.describe = nn.Sequential(*_conv(joined, d, 1), *_conv(d, d, 3), nn.Conv2d(d, c.features, 1))
        halve = nn.Conv2d(joined, d, 1, stride=2, padding=1)  # the authors': its border sees nothing
        self.place = nn.Sequential(halve, nn.BatchNorm2d(d), nn.ReLU(), nn.Conv2d(d, c.features, 1))
        self.aggregator = NetVLAD(c.features, _CLUSTERS, bias=True)

    def forward(self, image: Tensor) -> KP2DTinyOutput:
        """Map (B, 3, H, W) in 0..1; ConfigError for other channels or sizes."""
        check_size(image, 3, 32)
        x, maps = 2 * image - 1, []
        for stage, fuse in zip(self.stages, self.fuse, strict=True):
            x = stage(x)
            maps.append(fuse(x))
        x = torch.cat(maps, dim=1)
        score, offset = torch.sigmoid(self.score(x)), torch.tanh(self.location(x))
        return KP2DTinyOutput(
            without_border(score),
            to_pixels(offset, CELL, 2.0),
            self.describe(x),
            self.segment(x),
            self.aggregator(torch.relu(self.place(x))),
            None,
        )

    @staticmethod
    def options_of(state: Mapping[str, np.ndarray]) -> dict[str, Any]:
        """Constructor options that the shapes of these (renamed) tensors tell."""
        last = state["segment.3.weight"]
        return {"config": "tiny" if last.shape[1] == CONFIGS["tiny"].decoder else "default", "classes": last.shape[0]}


class _Stage(nn.Module):
    """Overlapping patches, then two attention blocks."""

    def __init__(self, c: FormerConfig, i: int) -> None:
        super().__init__()
        kernel, stride, padding = _PATCHES[i]
        self.patches = nn.Conv2d((3, *c.widths)[i], c.widths[i], kernel, stride, padding)
        self.blocks = nn.Sequential(
            *(AttentionBlock(c.widths[i], c.heads[i], c.reductions[i], c.expansions[i]) for _ in range(2))
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.blocks(self.patches(x))


def _conv(channels_in: int, channels_out: int, size: int, stride: int = 1) -> tuple[nn.Module, ...]:
    conv = nn.Conv2d(channels_in, channels_out, size, stride, padding=size // 2)
    return conv, nn.BatchNorm2d(channels_out), nn.ReLU()
