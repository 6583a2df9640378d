# SPDX-License-Identifier: Apache-2.0
"""SuperPoint (DeTone 2018): keypoints as a classification of the 64 pixels of each cell, with descriptors."""

from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

import numpy as np
from torch import Tensor, nn
from torch.nn import functional

from letvins_ros.networks.cells import check_size
from letvins_ros.networks.deploy import ImageNetwork
from letvins_ros.networks.published import Renames

CELL = 8
_STAGES = (64, 64, 128, 128)  # channels at 1, 1/2, 1/4 and 1/8
_CLASSIC = [(rf"conv{i + 1}{j}\.", f"encoder.{i}.{k}.") for i in range(4) for j, k in (("a", 0), ("b", 3))]
_GAUSS2 = [(r"inc\.conv\.conv\.", "encoder.0."), (r"down(\d)\.mpconv\.1\.conv\.", r"encoder.\1.")]
_HEADS = [
    (rf"{kind}{letter}{part}\.", f"{head}.{place}.")
    for letter, head in (("P", "detector"), ("D", "descriptor"))
    for part, kind, place in (("a", "conv", 0), ("a", "bn", 1), ("b", "conv", 3), ("b", "bn", 4))
]


class SuperPointOutput(NamedTuple):
    """What is said of each 8x8 cell."""

    logits: Tensor  # (B, 65, H/8, W/8): the 64 pixels row by row, and "no keypoint"
    descriptor: Tensor | None  # (B, 256, H/8, W/8) of unit length; None of MagicPoint


class SuperPoint(ImageNetwork):
    """(B, 1, H, W) gray image in 0..1, sides multiples of 8 -> SuperPointOutput.

    Without batch norm it is the classic network (1,300,865 parameters), with it the one of eric-yyjau's training
    (1,304,067). Without descriptors it is MagicPoint, the detector.
    """

    PUBLISHED: ClassVar[Renames] = (*_CLASSIC, *_GAUSS2, *_HEADS)
    outputs: tuple[str, ...] = ("score", "descriptor")
    channels = 1
    precision = "f32"  # coarser, neighbouring pixels would be equal peaks

    def __init__(self, batch_norm: bool = False, descriptors: bool = True) -> None:
        super().__init__()
        pairs = zip((1, *_STAGES), _STAGES, strict=False)
        self.encoder = nn.ModuleList(_stage(a, b, batch_norm) for a, b in pairs)
        self.detector = _head(65, batch_norm)
        self.descriptor = _head(256, batch_norm) if descriptors else None
        if not descriptors:
            self.outputs = ()

    def forward(self, image: Tensor) -> SuperPointOutput:
        """Map (B, 1, H, W) in 0..1; ConfigError for other channels or sizes."""
        check_size(image, 1, CELL)
        x = self.encoder[0](image)
        for stage in self.encoder[1:]:
            x = stage(functional.max_pool2d(x, 2))
        descriptor = None if self.descriptor is None else functional.normalize(self.descriptor(x), dim=1)
        return SuperPointOutput(self.detector(x), descriptor)

    def maps(self, image: Tensor, outputs: tuple[str, ...]) -> tuple[Tensor, ...]:
        """See ImageNetwork; the score is that of every pixel."""
        out = self(image)
        return heat_map(out.logits)[:, None], out.descriptor

    @staticmethod
    def options_of(state: Mapping[str, np.ndarray]) -> dict[str, Any]:
        """Constructor options of the variant that these weights belong to."""
        return {"batch_norm": "encoder.0.1.weight" in state, "descriptors": "descriptor.0.weight" in state}


def heat_map(logits: Tensor) -> Tensor:
    """Probability (B, H, W) that a pixel is a keypoint, of logits (B, 65, H/8, W/8)."""
    return functional.pixel_shuffle(logits.softmax(dim=1)[:, :-1], CELL)[:, 0]


def _stage(channels_in: int, channels_out: int, batch_norm: bool) -> nn.Sequential:
    return nn.Sequential(
        *_conv(channels_in, channels_out, 3, batch_norm),
        nn.ReLU(),
        *_conv(channels_out, channels_out, 3, batch_norm),
        nn.ReLU(),
    )


def _head(channels: int, batch_norm: bool) -> nn.Sequential:
    return nn.Sequential(*_conv(_STAGES[-1], 256, 3, batch_norm), nn.ReLU(), *_conv(256, channels, 1, batch_norm))


def _conv(channels_in: int, channels_out: int, size: int, batch_norm: bool) -> tuple[nn.Module, nn.Module]:
    conv = nn.Conv2d(channels_in, channels_out, size, padding=size // 2)
    return conv, nn.BatchNorm2d(channels_out) if batch_norm else nn.Identity()
