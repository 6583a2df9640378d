# SPDX-License-Identifier: Apache-2.0
"""IO-Net: tells true from false matches, so that keypoints learn to be matched (Tang et al. 2020, section 3.3)."""

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from letvins_ros.errors import ConfigError
from letvins_ros.networks.published import Renames

_WIDTH = 128


class InlierNet(nn.Module):
    """(B, 5, N, 1) matches -> (B, 1, N, 1), trained towards +1 for true and -1 for false; 135,169 parameters.

    A match is x, y of the source and x', y' of the target in -1..1, and the distance of their descriptors. Instance
    norm looks at all N matches of a batch item, which is where they learn of each other.
    """

    PUBLISHED: ClassVar[Renames] = (
        *((rf"(\d)s{i}\.", rf"blocks.\1.{part}.") for i, part in enumerate(("conv1", "norm1", "conv2", "norm2"))),
        (r"p_in\.", "first."),
        (r"p_out\.", "last."),
    )

    def __init__(self, blocks: int = 4) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(5, _WIDTH, 1, bias=False), nn.BatchNorm2d(_WIDTH, momentum=0.9))
        self.blocks = nn.ModuleList(_Residual() for _ in range(blocks))
        self.last = nn.Conv2d(_WIDTH, 1, 1)

    def forward(self, matches: Tensor) -> Tensor:
        """Map (B, 5, N, 1); ConfigError for other shapes."""
        if matches.ndim != 4 or matches.shape[1] != 5:
            raise ConfigError(f"matches must be (B, 5, N, 1), got {tuple(matches.shape)}")
        x = torch.relu(self.first(matches))
        for block in self.blocks:
            x = block(x)
        return self.last(x)

    @staticmethod
    def options_of(state: Mapping[str, np.ndarray]) -> dict[str, Any]:
        """Number of blocks."""
        return {"blocks": len({key.split(".")[1] for key in state if key.startswith("blocks.")})}


class _Residual(nn.Module):
    """Twice 1x1 convolution, instance norm, batch norm and ReLU, added to the input."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(_WIDTH, _WIDTH, 1), nn.BatchNorm2d(_WIDTH)
        self.conv2, self.norm2 = nn.Conv2d(_WIDTH, _WIDTH, 1), nn.BatchNorm2d(_WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        inner = torch.relu(self.norm1(functional.instance_norm(self.conv1(x))))
        return x + torch.relu(self.norm2(functional.instance_norm(self.conv2(inner))))
