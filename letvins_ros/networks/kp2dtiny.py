# SPDX-License-Identifier: Apache-2.0
"""KP2Dtiny: keypoints, descriptors, segmentation, place and depth from one small encoder (ETH-PBL's Nano-VS-SLAM)."""

from collections.abc import Mapping
from itertools import pairwise
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from letvins_ros.errors import ConfigError
from letvins_ros.networks.aggregators import ConvAP, GeM, NetVLAD
from letvins_ros.networks.cells import CellPoints, check_size, to_pixels, without_border
from letvins_ros.networks.deploy import ImageNetwork
from letvins_ros.networks.kp2dtiny_configs import PUBLISHED, TinyConfig, config_of, options_of
from letvins_ros.networks.kp2dtiny_heads import Backbone, Decoder, DescriptorHead, Style
from letvins_ros.networks.published import Renames

_MOST_SCALES = 3  # half and quarter of the size


class KP2DTinyOutput(NamedTuple):
    """All that is said of an image (H, W); cells are 4 px, with F 8 px. Every map but the score's is dense."""

    score: Tensor  # (B, 1, H/cell, W/cell) 0..1, 0 in the outermost ring
    coord: Tensor  # (B, 2, H/cell, W/cell) px, x and y
    descriptor: Tensor  # (B, n, 2H/cell, 2W/cell), not normalised
    segmentation: Tensor  # (B, classes, 2H/cell, 2W/cell) logits
    place: Tensor  # (B, G) global descriptor
    depth: Tensor | None  # (B, 1, 2H/cell, 2W/cell) 0..1, relative


class KP2DTiny(ImageNetwork):
    """(B, 3, H, W) RGB image in 0..1, sides multiples of twice the cell -> KP2DTinyOutput.

    config is N, S, F or D, with `_A` for attention in the segmentation, or GEM_N, GEM_S_A, CONVAP_S_A. V2 ("DD") has a
    decoder for the descriptors and one for the segmentation, V3 ("DF") one for both. mcu replaces pixel shuffle and
    LeakyReLU by what microcontrollers have. residual False is the published attention. With more scales V2's
    descriptors also say what they would of the image at 1/2 and 1/4 of its size, and n grows so many times.
    """

    PUBLISHED: ClassVar[Renames] = PUBLISHED
    PUBLISHED_OPTIONS: ClassVar[dict[str, Any]] = {"residual": False}
    outputs: tuple[str, ...] = ("score", "coord", "descriptor")
    precision = "bf16"  # which moves keypoints by hundredths of a pixel, and is three times as fast
    optional: tuple[str, ...] = ("place", "segmentation")

    def __init__(  # noqa: PLR0913
        self,
        config: str = "N",
        version: str = "V2",
        *,
        classes: int = 28,
        depth: bool = False,
        mcu: bool = False,
        residual: bool = True,
        dropout: bool = True,
        scales: int = 1,
    ) -> None:
        super().__init__()
        if not 1 <= scales <= _MOST_SCALES:
            raise ConfigError(f"kp2dtiny's descriptors have 1 to {_MOST_SCALES} scales, not {scales}")
        if scales > 1 and version == "V3":
            raise ConfigError("kp2dtiny V3's descriptors have one scale; V2's can have more")
        c = config_of(config, version)
        style = Style(mcu, dropout)
        self.config, self.version, self.cell = config, version, 2**c.poolings
        _, _, c3, c4, c5, _ = c.widths
        self.backbone = Backbone(c.widths[:4], c.poolings, style)
        self.place = _Place(c, style)
        fused = version == "V3"
        hidden = c5 + c5 // 2 * depth if fused else c5
        self.decoder = Decoder(c.widths, hidden, c.attention, residual, style)
        half = c5 // 2 if fused else c5  # channels of the decoder that each task sees
        self.classes = nn.Conv2d(half, classes, 3, padding=1)
        if depth:
            self.optional = (*self.optional, "depth")
        self.depth_out = nn.Conv2d(half, 1, 3, padding=1, bias=not fused) if depth else None
        separate_depth = depth and not fused
        self.depth_decoder = Decoder(c.widths, c5, c.attention, residual, style) if separate_depth else None
        if fused:
            self.point_head = style.task_head(c4, 3)
            self.descriptor_out = nn.Conv2d(half, c.features, 3, padding=1)
        else:
            self.score_head, self.location_head = style.task_head(c4, 1), style.task_head(c4, 2)
            self.descriptor_head = DescriptorHead(c3, c4, c.features, style)
        self.scale_weights = nn.Parameter(torch.ones(scales)) if scales > 1 else None
        self.outputs = (*self.outputs, *(f"descriptor_{2**i}" for i in range(1, scales)))

    def forward(self, image: Tensor) -> KP2DTinyOutput:
        """Map (B, 3, H, W) in 0..1; ConfigError for other channels or sizes."""
        x, skip = self._encode(image)
        hidden = self.decoder(x, skip)
        points = self._joined(*self._points(image, x, skip, hidden))
        return KP2DTinyOutput(*points, self._classes(hidden), self.place(x), self._depth(x, skip, hidden))

    def keypoints(self, image: Tensor) -> CellPoints:
        """Only what the keypoints need: with V2 a third of the work."""
        return self._joined(*self._points(image, *self._encode(image)))

    def maps(self, image: Tensor, outputs: tuple[str, ...]) -> tuple[Tensor, ...]:
        """See ImageNetwork; only what they need, and a descriptor for each scale, where the image has that size."""
        x, skip = self._encode(image)
        hidden = self.decoder(x, skip) if {"segmentation", "depth"} & set(outputs) else None
        made = dict(zip(self.outputs, self._points(image, x, skip, hidden), strict=True))
        if "place" in outputs:
            made["place"] = self.place(x)
        if hidden is not None:
            made["segmentation"] = self._classes(hidden)
            if (depth := self._depth(x, skip, hidden)) is not None:
                made["depth"] = depth
        return tuple(made[name] for name in outputs)

    def describe_place(self, image: Tensor) -> Tensor:
        """Only the global descriptor (B, G)."""
        return self.place(self._encode(image)[0])

    def place_features(self, image: Tensor) -> Tensor:
        """Local features (B, C, h, w) that the global descriptor is made of, for clustering."""
        return self.place.features(self._encode(image)[0])

    def _encode(self, image: Tensor) -> tuple[Tensor, Tensor]:
        check_size(image, 3, 2 * self.cell)
        return self.backbone(image * 2 - 1)

    def _points(self, image: Tensor, x: Tensor, skip: Tensor, hidden: Tensor | None = None) -> tuple[Tensor, ...]:
        """Score, places and descriptors, those of smaller images after those of the image."""
        if self.version == "V3":
            hidden = self.decoder(x, skip) if hidden is None else hidden
            score, offset = self.point_head(x).split([1, 2], dim=1)
            descriptor = self.descriptor_out(hidden[:, : self.descriptor_out.in_channels])
        else:
            score, offset = self.score_head(x), self.location_head(x)
            descriptor = self.descriptor_head(x, skip)
        coord = to_pixels(torch.tanh(offset.float()), self.cell, 2.0)  # 16 bits would round to whole pixels
        points = without_border(torch.sigmoid(score)), coord
        if self.scale_weights is None:
            return (*points, descriptor)
        return (*points, *self._with_surroundings(image, descriptor, self.scale_weights))

    def _with_surroundings(self, image: Tensor, descriptor: Tensor, weights: Tensor) -> list[Tensor]:
        """Descriptors (B, n, h, w), and those of the image at smaller sizes, as long as the scales weigh."""
        maps = [nn.functional.normalize(descriptor, dim=1) * weights[0]]
        for weight in weights[1:]:
            image = nn.functional.avg_pool2d(image, 2)
            missing = (0, -image.shape[-1] % self.cell, 0, -image.shape[-2] % self.cell)
            padded = nn.functional.pad(image, missing, mode="replicate")
            small = self.descriptor_head(*self.backbone(padded * 2 - 1))
            maps.append(nn.functional.normalize(small, dim=1) * weight)
        return maps

    @staticmethod
    def _joined(score: Tensor, coord: Tensor, descriptor: Tensor, *small: Tensor) -> CellPoints:
        """Descriptors of smaller images, enlarged, after those (B, n, h, w) of the image at the same places."""
        height, width = descriptor.shape[-2:]
        large = [
            nn.functional.interpolate(x, scale_factor=2**i, mode="bilinear", align_corners=False)[..., :height, :width]
            for i, x in enumerate(small, 1)
        ]
        return CellPoints(score, coord, torch.cat([descriptor, *large], dim=1) if large else descriptor)

    def _classes(self, hidden: Tensor) -> Tensor:
        return self.classes(hidden[:, -self.classes.in_channels :])

    def _depth(self, x: Tensor, skip: Tensor, hidden: Tensor) -> Tensor | None:
        if self.depth_out is None:
            return None
        if self.depth_decoder is not None:
            return torch.sigmoid(self.depth_out(self.depth_decoder(x, skip)))
        half = self.depth_out.in_channels
        return torch.sigmoid(self.depth_out(hidden[:, half : 2 * half]))

    @staticmethod
    def options_of(state: Mapping[str, np.ndarray]) -> dict[str, Any]:
        """Constructor options of the variant that these weights belong to; published ones had no residuals."""
        return options_of(state)


class _Place(nn.Module):
    """Features -> global descriptor (B, G)."""

    def __init__(self, c: TinyConfig, style: Style) -> None:
        super().__init__()
        widths = (c.widths[3], c.place_width, c.place_width, c.place_width)
        self.blocks = nn.ModuleList(style.block(a, b) for a, b in pairwise(widths))
        self.drop = style.drop()
        self.aggregator = _aggregator(c)

    def features(self, x: Tensor) -> Tensor:
        """Local features (B, place_width, h, w), unit length."""
        return nn.functional.normalize(self._blocks(x), dim=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.aggregator(self._blocks(x))

    def _blocks(self, x: Tensor) -> Tensor:
        first, second, third = self.blocks
        return third(second(self.drop(first(x))))


def _aggregator(c: TinyConfig) -> nn.Module:
    if c.aggregator == "netvlad":
        return NetVLAD(c.place_width, c.clusters)
    if c.aggregator not in ("gem", "convap"):
        raise ConfigError(f"unknown aggregator {c.aggregator}; known: netvlad, gem, convap")
    return GeM(c.place_width) if c.aggregator == "gem" else ConvAP(c.place_width)
