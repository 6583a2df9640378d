# SPDX-License-Identifier: Apache-2.0
"""LET-NET: the shallow network, trained with a deep helper that it sheds (Lin et al., arXiv 2310.15655)."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from letvins_ros import networks
from training.data.images import list_images
from training.data.inputs import Inputs
from training.data.photos import PhotoPairs
from training.data.warps import Source, warps
from training.losses.letnet import Weights, letnet_losses, look
from training.recipes.base import Batch, Recipe
from training.recipes.letnet2 import show_pair
from training.tasks.photo_flow import share_followed


@dataclass(frozen=True)
class LetnetRecipe(Recipe):
    """Options of the recipe; the authors accumulate 16 batches of one pair of 480x480."""

    source: str = "scenes"  # or tartanair, photos
    folder: str = "../data/megadepth"
    unseen: str = "../shared/data/photos/val"  # photographs for the validation
    in_channels: int = 1
    height: int = 480
    width: int = 480
    top_k: int = 400
    validation_pairs: int = 64

    def build(self) -> nn.Module:
        """Make the network with its helper."""
        return networks.build("letnet", in_channels=self.in_channels)

    def samples(self, length: int, seed: int) -> Dataset[dict[str, Tensor]]:
        """Give pairs with truth."""
        return self._source().samples(length, seed)

    def inputs(self) -> Inputs:
        """See Recipe."""
        return Inputs(self._source().items(), list_images(Path(self.unseen)))

    def loss(self, network: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """See training.losses.letnet; mean over pairs."""
        network.train()
        output = network(torch.cat([batch["image_a"], batch["image_b"]]))
        count, weights = len(batch["image_a"]), Weights(top_k=self.top_k)
        rows = []
        for i in range(count):
            a, b = (look(output.score[k, 0], output.descriptor[k], output.feature[k], weights) for k in (i, i + count))
            to_b, to_a = (_single(w) for w in warps({key: value[i : i + 1] for key, value in batch.items()}))
            rows.append(letnet_losses(a, b, to_b, to_a, weights))
        losses = {name: torch.stack([row[name] for row in rows]).mean() for name in rows[0]}
        return {"total": torch.stack(list(losses.values())).sum(), **losses}

    def deployed(self, network: Any) -> nn.Module:
        """Give LET-NET2's network with the shallow weights."""
        kept: nn.Module = network.shallow().to(next(network.parameters()).device)
        return kept

    def validate(self, network: nn.Module) -> dict[str, float]:
        """Share of corners that OpenCV's tracker follows right on unseen photos, by light; `score` is their mean."""
        pairs = PhotoPairs(Path(self.unseen), self.validation_pairs, 1)
        shares = share_followed(network, pairs)
        return {**shares, "score": sum(shares.values()) / len(shares)}

    def pictures(self, network: nn.Module) -> dict[str, np.ndarray]:
        """Two views of unseen photographs in their light, above their feature maps."""
        pairs = PhotoPairs(Path(self.unseen), 3, 1)
        return {f"pair_{i}": show_pair(network, pairs[i]) for i in range(3)}

    def _source(self) -> Source:
        return Source(self.source, Path(self.folder), (self.height, self.width), self.in_channels)


def _single(warp: Any) -> Any:
    def one(uv: Tensor) -> tuple[Tensor, Tensor]:
        there, seen = warp(uv[None])
        return there[0], seen[0]

    return one


RECIPE = LetnetRecipe
