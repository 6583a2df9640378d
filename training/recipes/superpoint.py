# SPDX-License-Identifier: Apache-2.0
"""SuperPoint: detector and descriptors together, on photographs whose points MagicPoint or Harris found."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from letvins_ros.errors import ConfigError
from letvins_ros.networks.superpoint import SuperPoint
from letvins_ros.weights import load_weights
from training.checkpoints import load_into, read_weights
from training.data.homographies import RANGES
from training.data.labelled_points import CornerPairs, PointPairs
from training.data.pairs import PairOptions
from training.data.photometric import LOOKS
from training.features import HeatNetwork
from training.losses.superpoint import (
    PART,
    DescriptorOptions,
    dense_descriptor,
    detector,
    location,
    own_losses,
    softmax_descriptor,
    sparse_descriptor,
)
from training.recipes.base import Batch, Recipe, part_way
from training.recipes.magicpoint import make_superpoint
from training.tasks.hpatches import pair_figures, photo_pairs, summary
from training.tasks.pairs import DescriptorMatcher

_SIZE = (240, 320)  # of the published figures


@dataclass(frozen=True)
class SuperPointRecipe(Recipe):
    """Options of the recipe."""

    photos: str = "../data/coco/train2017"
    points: str = "../data/coco/points"  # of python -m training.adapt; none: Harris' that are found again
    unseen: str = "../data/coco/val2017"
    start: str = ""  # weights to begin with, MagicPoint's or of an earlier stage
    way: float = 1.0  # from these to what was learnt, that the weights which are kept have gone
    descriptor_loss: str = "sparse"  # or dense, or softmax, which is the surest in a short training
    descriptor: float = 1.0  # weight of that loss
    labels: float = 1.0  # weight of the given points
    own: float = 0.0  # weight of KP2D's losses of the points that the network itself finds
    none: float = 1.0  # weight of cells' having no point: with less the heat is higher, places are learnt sooner
    location: float = 0.0  # weight of the pixel within its cell, besides the detector's loss
    batch_norm: bool = True
    ranges: str = "superpoint"  # or kp2d, which turns less and slants more
    looks: str = "superpoint"  # or kp2d, kp2dtiny, plain
    crop: float = 1.0  # without points: smallest share of a photograph's sides that a view shows
    height: int = 240
    width: int = 320
    validation_pairs: int = 64

    def build(self) -> nn.Module:
        """Make SuperPoint, begun with MagicPoint where it is given."""
        network = make_superpoint(self.batch_norm, descriptors=True)
        if self.start:
            file = Path(self.start)
            both = SuperPoint.options_of(load_weights(file))["descriptors"]
            load_into(network, file, [] if both else ["descriptor."])
        elif self.way < 1:
            raise ConfigError("way: without start there is nothing to be part of the way from")
        return network

    def samples(self, length: int, seed: int) -> Dataset[dict[str, Tensor]]:
        """Give pairs of views with their points."""
        options = PairOptions((self.height, self.width), 1, RANGES[self.ranges], LOOKS[self.looks])
        if self.points == "none":
            return CornerPairs(Path(self.photos), length, seed, replace(options, corners=PART, crop=self.crop))
        return PointPairs(Path(self.photos), Path(self.points), length, seed, options)

    def loss(self, network: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Losses of the given points, of descriptors and of the points that the network finds, each where it weighs."""
        network.train()
        output = network(torch.cat([batch["image_a"], batch["image_b"]]))
        (logits_a, logits_b), (a, b) = output.logits.chunk(2), output.descriptor.chunk(2)
        everywhere = torch.ones_like(batch["points_a"])
        losses = {
            "detector_a": detector(logits_a, batch["points_a"], everywhere, self.none),
            "detector_b": detector(logits_b, batch["points_b"], batch["valid_b"], self.none),
        }
        if self.location:
            points = torch.cat([batch["points_a"], batch["points_b"] * batch["valid_b"]])
            losses["location"] = self.location * location(output.logits, points)
        losses = {name: self.labels * loss for name, loss in losses.items()}
        if self.descriptor:
            losses["descriptor"] = self.descriptor * self._descriptor_loss(a, b, batch)
        if self.own:
            own = own_losses((logits_a, logits_b), (a, b), batch["H_b_a"])
            losses |= {f"own_{name}": self.own * loss for name, loss in own.items()}
        return {"total": torch.stack(list(losses.values())).sum(), **losses}

    def validate(self, network: nn.Module) -> dict[str, float]:
        """HPatches' figures on unseen photographs; score is repeatability plus C3."""
        network.eval()
        match = DescriptorMatcher(HeatNetwork(network))
        pairs = photo_pairs(Path(self.unseen), _SIZE, self.validation_pairs, RANGES[self.ranges])
        figures = summary({pair.name: pair_figures(pair, match(pair, 300)) for pair in pairs})
        return {**figures, "score": figures["Rep"] + figures["C3"]}

    def deployed(self, network: nn.Module) -> nn.Module:
        """Give what is a part of the way from the start."""
        return network if self.way == 1 else part_way(network, read_weights(Path(self.start)), self.way)

    def pictures(self, network: nn.Module) -> dict[str, np.ndarray]:
        """Heat maps of unseen photographs."""
        network.eval()
        shown = {}
        for pair in photo_pairs(Path(self.unseen), _SIZE, 2, RANGES[self.ranges]):
            found = HeatNetwork(network)(pair.image_a)
            picture = pair.image_a.copy()
            for x, y in np.rint(found.uv[:300]).astype(int):
                picture[max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2] = (0, 255, 0)
            shown[pair.name] = picture
        return shown

    def _descriptor_loss(self, a: Tensor, b: Tensor, batch: Batch) -> Tensor:
        if self.descriptor_loss == "dense":
            return dense_descriptor(a, b, batch["H_b_a"], batch["valid_b"], DescriptorOptions())
        if self.descriptor_loss == "softmax":
            return softmax_descriptor(a, b, batch, DescriptorOptions())
        return sparse_descriptor(a, b, batch["H_b_a"], DescriptorOptions())


RECIPE = SuperPointRecipe
