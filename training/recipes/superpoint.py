# SPDX-License-Identifier: Apache-2.0
"""SuperPoint: detector and descriptors together, on photographs whose points MagicPoint found."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from training.checkpoints import load_into
from training.data import homographies, photometric
from training.data.labelled_points import PointPairs
from training.data.pairs import PairOptions
from training.features import HeatNetwork
from training.losses.superpoint import DescriptorOptions, dense_descriptor, detector, sparse_descriptor
from training.recipes.base import Batch, Recipe
from training.recipes.magicpoint import make_superpoint
from training.tasks.hpatches import pair_figures, photo_pairs, summary
from training.tasks.pairs import DescriptorMatcher


@dataclass(frozen=True)
class SuperPointRecipe(Recipe):
    """Options of the recipe."""

    photos: str = "../data/coco/train2017"
    points: str = "../data/coco/points"  # of python -m training.adapt
    unseen: str = "../data/coco/val2017"
    start: str = ""  # MagicPoint's weights, whose encoder and detector go on learning
    descriptor_loss: str = "sparse"  # or dense
    descriptor: float = 1.0  # weight
    batch_norm: bool = True
    height: int = 240
    width: int = 320
    validation_pairs: int = 64

    def build(self) -> nn.Module:
        """Make SuperPoint, begun with MagicPoint where it is given."""
        network = make_superpoint(self.batch_norm, descriptors=True)
        if self.start:
            load_into(network, Path(self.start), ["descriptor."])
        return network

    def samples(self, length: int, seed: int) -> Dataset[dict[str, Tensor]]:
        """Give pairs of views with their points."""
        options = PairOptions((self.height, self.width), 1, homographies.SUPERPOINT, photometric.SUPERPOINT)
        return PointPairs(Path(self.photos), Path(self.points), length, seed, options)

    def loss(self, network: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Detector loss of both views and descriptor loss."""
        network.train()
        output = network(torch.cat([batch["image_a"], batch["image_b"]]))
        (logits_a, logits_b), (a, b) = output.logits.chunk(2), output.descriptor.chunk(2)
        everywhere = torch.ones_like(batch["points_a"])
        losses = {
            "detector_a": detector(logits_a, batch["points_a"], everywhere),
            "detector_b": detector(logits_b, batch["points_b"], batch["valid_b"]),
        }
        if self.descriptor_loss == "dense":
            found = dense_descriptor(a, b, batch["H_b_a"], batch["valid_b"], DescriptorOptions())
        else:
            found = sparse_descriptor(a, b, batch["H_b_a"], DescriptorOptions())
        losses["descriptor"] = self.descriptor * found
        return {"total": torch.stack(list(losses.values())).sum(), **losses}

    def validate(self, network: nn.Module) -> dict[str, float]:
        """HPatches' figures on unseen photographs; score is repeatability plus C3."""
        network.eval()
        match = DescriptorMatcher(HeatNetwork(network))
        pairs = photo_pairs(
            Path(self.unseen), (self.height, self.width), self.validation_pairs, homographies.SUPERPOINT
        )
        figures = summary({pair.name: pair_figures(pair, match(pair, 300)) for pair in pairs})
        return {**figures, "score": figures["Rep"] + figures["C3"]}

    def pictures(self, network: nn.Module) -> dict[str, np.ndarray]:
        """Heat maps of unseen photographs."""
        network.eval()
        shown = {}
        for pair in photo_pairs(Path(self.unseen), (self.height, self.width), 2, homographies.SUPERPOINT):
            found = HeatNetwork(network)(pair.image_a)
            picture = pair.image_a.copy()
            for x, y in np.rint(found.uv[:300]).astype(int):
                picture[max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2] = (0, 255, 0)
            shown[pair.name] = picture
        return shown


RECIPE = SuperPointRecipe
