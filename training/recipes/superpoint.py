# SPDX-License-Identifier: Apache-2.0
"""SuperPoint: detector and descriptors together, on photographs whose points another detector found."""

from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn
from torch.utils.data import DataLoader, Dataset

from letvins_ros.errors import ConfigError
from letvins_ros.networks.published import rename
from letvins_ros.networks.superpoint import SuperPoint
from letvins_ros.weights import load_weights
from training.data.homographies import RANGES
from training.data.images import list_images
from training.data.inputs import Inputs
from training.data.labelled_points import PointPairs
from training.data.pairs import PairOptions
from training.data.photometric import LOOKS
from training.features import HeatNetwork
from training.losses.superpoint import (
    DescriptorOptions,
    dense_descriptor,
    detector,
    location,
    softmax_descriptor,
    sparse_descriptor,
)
from training.recipes.base import Batch, Recipe, part_way
from training.recipes.magicpoint import make_superpoint
from training.tasks.hpatches import photo_pairs
from training.tasks.pairs import KeypointMatcher
from training.tasks.photo_figures import photo_figures
from training.weights import load_into, read_weights

_SIZE = (240, 320)  # of the published figures
_STATISTICS_BATCH = 8  # pairs


@dataclass(frozen=True)
class SuperPointRecipe(Recipe):
    """Options of the recipe."""

    photos: str = "../data/coco/train2017"
    points: str = "../data/coco/points"  # of python -m training.adapt
    unseen: str = "../data/coco/val2017"
    start: str = ""  # weights to begin with, MagicPoint's or of an earlier stage
    way: float = 1.0  # from these to what was learnt, that the weights which are kept have gone
    descriptor_loss: str = "sparse"  # or dense, or softmax, which is the surest in a short training
    descriptor: float = 1.0  # weight of that loss
    none: float = 1.0  # weight of cells' having no point: with less the heat is higher, places are learnt sooner
    location: float = 0.0  # weight of the pixel within its cell, besides the detector's loss
    batch_norm: bool = True
    statistics_pairs: int = 0  # of plain looks, whose statistics batch norms have; 0: they follow the batches
    ranges: str = "superpoint"  # or kp2d, which turns less and slants more
    looks: str = "superpoint"  # or any_light, kp2d, kp2dtiny, plain
    height: int = 240
    width: int = 320
    validation_pairs: int = 64

    def build(self) -> nn.Module:
        """Make SuperPoint, begun with MagicPoint where it is given."""
        network = make_superpoint(self.batch_norm, descriptors=True)
        if self.start:
            file = Path(self.start)
            both = SuperPoint.options_of(rename(load_weights(file), SuperPoint.PUBLISHED))["descriptors"]
            load_into(network, file, [] if both else ["descriptor."])
        elif self.way < 1:
            raise ConfigError("way: without start there is nothing to be part of the way from")
        if self.statistics_pairs:
            self._take_statistics(network)
        return network

    def samples(self, length: int, seed: int) -> Dataset[dict[str, Tensor]]:
        """Give pairs of views with their points."""
        return self._pairs(length, seed, self.looks)

    def inputs(self) -> Inputs:
        """See Recipe."""
        return Inputs([photo for photo, _ in self._pairs(1, 0, self.looks).pairs], list_images(Path(self.unseen)))

    def loss(self, network: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Losses of the points, of their places within cells and of descriptors."""
        network.train(not self.statistics_pairs)
        output = network(torch.cat([batch["image_a"], batch["image_b"]]))
        (logits_a, logits_b), (a, b) = output.logits.chunk(2), output.descriptor.chunk(2)
        losses = {
            "detector_a": detector(logits_a, batch["points_a"], batch["valid_a"], self.none),
            "detector_b": detector(logits_b, batch["points_b"], batch["valid_b"], self.none),
        }
        if self.location:
            points = torch.cat([batch[f"points_{key}"] * batch[f"valid_{key}"] for key in "ab"])
            losses["location"] = self.location * location(output.logits, points)
        if self.descriptor:
            losses["descriptor"] = self.descriptor * self._descriptor_loss(a, b, batch)
        return {"total": torch.stack(list(losses.values())).sum(), **losses}

    def validate(self, network: nn.Module) -> dict[str, float]:
        """HPatches' figures on unseen photographs; score is repeatability plus C3."""
        network.eval()
        match = KeypointMatcher(HeatNetwork(network))
        ranges = RANGES[self.ranges]
        figures = photo_figures(match, Path(self.unseen), _SIZE, (self.validation_pairs, 300), ranges)
        return {**figures, "score": figures["Rep"] + figures["C3"]}

    def deployed(self, network: nn.Module) -> nn.Module:
        """Give what is a part of the way from the start, with batch norms' statistics as they are there."""
        kept = network if self.way == 1 else part_way(network, read_weights(Path(self.start)), self.way)
        if self.statistics_pairs:
            kept = deepcopy(kept)
            self._take_statistics(kept)
        return kept

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

    def _pairs(self, length: int, seed: int, looks: str) -> PointPairs:
        options = PairOptions((self.height, self.width), 1, RANGES[self.ranges], LOOKS[looks])
        return PointPairs(Path(self.photos), Path(self.points), length, seed, options)

    def _take_statistics(self, network: nn.Module) -> None:
        """Let batch norms take the mean statistics of plain pairs with these weights (Wu & Johnson 2021)."""
        pairs = DataLoader(self._pairs(self.statistics_pairs, 99, "plain"), _STATISTICS_BATCH)
        images = (torch.cat([batch["image_a"], batch["image_b"]]) for batch in pairs)
        update_bn(images, network, next(network.parameters()).device)

    def _descriptor_loss(self, a: Tensor, b: Tensor, batch: Batch) -> Tensor:
        if self.descriptor_loss == "dense":
            return dense_descriptor(a, b, batch["H_b_a"], batch["valid_b"], DescriptorOptions())
        if self.descriptor_loss == "softmax":
            return softmax_descriptor(a, b, batch, DescriptorOptions())
        return sparse_descriptor(a, b, batch["H_b_a"], DescriptorOptions())


RECIPE = SuperPointRecipe
