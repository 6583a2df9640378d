# SPDX-License-Identifier: Apache-2.0
"""What the training loop asks of a recipe; the loop knows no network."""

from collections.abc import Mapping
from typing import Protocol

from torch import Tensor, nn
from torch.utils.data import Dataset

Batch = Mapping[str, Tensor]


class Recipe(Protocol):
    """A dataclass of options, named `RECIPE` in its module."""

    def build(self) -> nn.Module:
        """Make the network, ready to be trained."""
        ...

    def samples(self, length: int, seed: int) -> Dataset[dict[str, Tensor]]:
        """Give training samples; item i of a seed is always the same, so that a run can be resumed."""
        ...

    def loss(self, network: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Named losses of a batch, `total` being the one to minimise. The recipe puts the network in its mode."""
        ...

    def validate(self, network: nn.Module) -> dict[str, float]:
        """Figures on unseen data; the best weights are those with the highest `score`."""
        ...
