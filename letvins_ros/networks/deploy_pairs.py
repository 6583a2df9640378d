# SPDX-License-Identifier: Apache-2.0
"""What a network that matches two images is when it is exported: named arrays in, named arrays out."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn

from letvins_ros.networks.lightglue import Keypoints, LightGlue, mutual
from letvins_ros.networks.loftr import BORDER, LoFTR, mutual_cells

Size = tuple[int, int]  # height, width
_POINTS = 64, 48  # of an example


class DeployedPair(nn.Module, ABC):
    """Matches of one pair of images that are more confident than `least`, an input of shape (1,)."""

    outputs: tuple[str, ...] = ()
    dynamic: ClassVar[Mapping[str, str]] = {}  # inputs whose second side may be any -> its name

    @abstractmethod
    def example(self, size: Size) -> dict[str, Tensor]:
        """Inputs by name, for images of this (height, width), with a low `least`."""


class DeployedLoFTR(DeployedPair):
    """image_a, image_b (1, 1, H, W) 0..1 -> uv_a, uv_b (M, 2) px and confidence (M,)."""

    outputs = ("uv_a", "uv_b", "confidence")

    def __init__(self, network: LoFTR) -> None:
        super().__init__()
        self.network = network

    def forward(self, image_a: Tensor, image_b: Tensor, least: Tensor) -> tuple[Tensor, ...]:
        """Match."""
        coarse = self.network.coarse(image_a, image_b)
        # ONNX Runtime dies of a division by zero where nothing is refined: one more match, which is left out again
        cells = [torch.cat([cell, cell.new_zeros(1)]) for cell in mutual_cells(coarse, least, BORDER)]
        found = self.network.refined(coarse, *cells)
        return found.uv_a[:-1], found.uv_b[:-1], found.confidence[:-1]

    def example(self, size: Size) -> dict[str, Tensor]:
        """See DeployedPair."""
        a = torch.rand(1, 1, *size, generator=torch.Generator().manual_seed(0))
        least = torch.tensor([1e-6])  # where both are zero, cells are mutually best too, and there may be millions
        return {"image_a": a, "image_b": a.roll(9, dims=3), "least": least}


class DeployedLightGlue(DeployedPair):
    """uv_a (1, M, 2) px, descriptor_a (1, M, D) and the same of b -> index (M,) in b, -1 for none, and confidence (M,).

    All layers look at all points. Images are of one size, which is part of the file.
    """

    outputs = ("index", "confidence")
    dynamic: ClassVar[Mapping[str, str]] = {f"{what}_{x}": f"points_{x}" for x in "ab" for what in ("uv", "descriptor")}

    def __init__(self, network: LightGlue, size: Size) -> None:
        super().__init__()
        self.network, self._size = network, (size[1], size[0])

    def forward(
        self, uv_a: Tensor, descriptor_a: Tensor, uv_b: Tensor, descriptor_b: Tensor, least: Tensor
    ) -> tuple[Tensor, ...]:
        """Match."""
        a, b = Keypoints(uv_a, descriptor_a, self._size), Keypoints(uv_b, descriptor_b, self._size)
        return mutual(self.network(a, b).log_assignment[-1][0], least)

    def example(self, size: Size) -> dict[str, Tensor]:
        """See DeployedPair."""
        random, inputs = torch.Generator().manual_seed(0), {}
        for name, count in zip("ab", _POINTS, strict=True):
            inputs[f"uv_{name}"] = torch.rand(1, count, 2, generator=random) * torch.tensor(self._size)
            descriptor = torch.randn(1, count, self.network.input_size, generator=random)
            inputs[f"descriptor_{name}"] = nn.functional.normalize(descriptor, dim=2)
        return {**inputs, "least": torch.tensor([-1.0])}


def deploy_pair(network: nn.Module, size: Size) -> DeployedPair | None:
    """Prepare a network that matches images of this (height, width); None if it does not match two."""
    if isinstance(network, LightGlue):
        return DeployedLightGlue(network, size).eval()
    return DeployedLoFTR(network).eval() if isinstance(network, LoFTR) else None
