# SPDX-License-Identifier: Apache-2.0
"""What the training loop asks of a recipe; the loop knows no network."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from copy import deepcopy

import numpy as np
from torch import Tensor, nn
from torch.utils.data import Dataset

from training.data.inputs import Inputs

Batch = Mapping[str, Tensor]


class Recipe(ABC):
    """A dataclass of options, named `RECIPE` in its module."""

    @abstractmethod
    def build(self) -> nn.Module:
        """Make the network, ready to be trained; what only training needs is part of it."""

    @abstractmethod
    def samples(self, length: int, seed: int) -> Dataset[dict[str, Tensor]]:
        """Give training samples; item i of a seed is always the same, so that a run can be resumed."""

    @abstractmethod
    def loss(self, network: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Named losses of a batch, `total` being the one to minimise. The recipe puts the network in its mode."""

    @abstractmethod
    def validate(self, network: nn.Module) -> dict[str, float]:
        """Figures on unseen data; the best weights are those with the highest `score`."""

    @abstractmethod
    def inputs(self) -> Inputs:
        """Files that training and validation read, none where they are drawn; a LetvinsError where they are missing."""

    def prepare(self, network: nn.Module) -> None:
        """Look at the network before the steps up to the next validation, to choose hard samples for example."""
        return

    def deployed(self, network: nn.Module) -> nn.Module:
        """Give the part that is kept after training."""
        return network

    def pictures(self, network: nn.Module) -> dict[str, np.ndarray]:
        """Sample pictures (H, W, 3) RGB uint8 for the log, by name."""
        return {}


def part_way(network: nn.Module, start: Mapping[str, Tensor], way: float) -> nn.Module:
    """Give a copy with weights a share of the way from the start to where they are now (Wortsman et al. 2022).

    It has most of what a short training gains and loses little of what the start did better.
    """
    kept = deepcopy(network)
    for key, now in kept.state_dict().items():
        if now.is_floating_point():
            now.lerp_(start[key].to(now), 1 - way)
    return kept
