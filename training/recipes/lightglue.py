# SPDX-License-Identifier: Apache-2.0
"""LightGlue over a frozen KP2Dtiny: first on homographies, then on scenes with depth."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from letvins_ros import networks
from letvins_ros.networks.cells import describe
from letvins_ros.networks.lightglue import Keypoints
from training.data.inputs import Inputs
from training.data.warps import Source, warps
from training.losses.lightglue import assignment_loss, confidence_loss, true_matches
from training.parallel import spread
from training.recipes.base import Batch, Recipe
from training.weights import load_into


@dataclass(frozen=True)
class LightGlueRecipe(Recipe):
    """Options of the recipe."""

    source: str = "photos"  # stage 1; scenes or tartanair for stage 2
    folder: str = "../data/revisitop1m"
    unseen: str = ""  # for validation, of the same source; of scenes if not given those of the val_list
    extractor: str = ""  # KP2Dtiny's weights; without any it is random, which only tests want
    start: str = ""  # LightGlue's weights of stage 1
    layers: int = 4
    heads: int = 4
    points: int = 1000
    near_px: float = 3.0  # partners
    far_px: float = 3.0  # without a partner; 5 with depth
    height: int = 480
    width: int = 640
    validation_pairs: int = 32
    _held: dict[str, nn.Module] = field(default_factory=dict, init=False, repr=False)

    def build(self) -> nn.Module:
        """Make the matcher for the extractor's descriptors."""
        size = self._features(torch.zeros(1, 3, 64, 64)).descriptors.shape[-1]
        network = networks.build("lightglue", size=size, layers=self.layers, heads=self.heads)
        if self.start:
            load_into(network, Path(self.start))
        return network

    def samples(self, length: int, seed: int) -> Dataset[dict[str, Tensor]]:
        """Give pairs with truth."""
        return self._source().samples(length, seed)

    def inputs(self) -> Inputs:
        """See Recipe."""
        return Inputs(self._source().items(), self._unseen().items())

    def loss(self, network: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Assignments of all layers and confidence of all but the last."""
        network.train()
        a, b = (self._features(batch[key]) for key in ("image_a", "image_b"))
        output = network(a, b)
        of_a, of_b = true_matches(a.uv, b.uv, *warps(batch), (self.near_px, self.far_px))
        layers = [assignment_loss(x, of_a, of_b) for x in output.log_assignment]
        losses = {"assignment": torch.stack(layers).mean(), "confidence": confidence_loss(output)}
        return {"total": torch.stack(list(losses.values())).sum(), **losses}

    def validate(self, network: Any) -> dict[str, float]:
        """Precision and recall of matches on unseen pairs; score is their harmonic mean."""
        network.eval()
        device = next(network.parameters()).device
        pairs = self._unseen().samples(self.validation_pairs, 10**6)

        def row(i: int) -> tuple[int, int, int]:
            batch = {key: value[None].to(device) for key, value in pairs[i].items()}
            a, b = (self._features(batch[key]) for key in ("image_a", "image_b"))
            said = network.match(a, b).indices
            of_a, _ = true_matches(a.uv, b.uv, *warps(batch), (self.near_px, self.far_px))
            known = of_a[0] != -2
            right = (said == of_a[0]) & (said >= 0)
            return int(right.sum()), int(((said >= 0) & known).sum()), int((of_a[0] >= 0).sum())

        right, found, true = np.sum(spread(self.validation_pairs, row), axis=0).tolist()
        precision, recall = right / max(found, 1), right / max(true, 1)
        return {"precision": precision, "recall": recall, "score": 2 * right / max(found + true, 1)}

    def pictures(self, network: nn.Module) -> dict[str, np.ndarray]:
        """Two unseen images side by side."""
        item = self._unseen().samples(1, 10**6)[0]
        both = torch.cat([item["image_a"], item["image_b"]], dim=2)
        return {"pair": (255 * both).to(torch.uint8).permute(1, 2, 0).numpy()}

    @torch.no_grad()
    def _features(self, image: Tensor) -> Keypoints:
        """Keypoints (B, N) of the frozen extractor with the highest scores."""
        network: Any = self._extractor.to(image.device)
        size = (image.shape[-2], image.shape[-1])
        output = network.keypoints(image)
        described = describe(output.descriptor, output.coord, size).flatten(2).transpose(1, 2)
        count = min(self.points, described.shape[1])
        top = output.score.flatten(1).topk(count, dim=1).indices[..., None]
        uv = output.coord.flatten(2).transpose(1, 2).gather(1, top.expand(-1, -1, 2))
        return Keypoints(uv, described.gather(1, top.expand(-1, -1, described.shape[-1])), (size[1], size[0]))

    @property
    def _extractor(self) -> nn.Module:
        if not self._held:
            given = bool(self.extractor)
            network = (
                networks.load("kp2dtiny", Path(self.extractor)) if given else networks.build("kp2dtiny", config="S")
            )
            self._held["extractor"] = network.eval().requires_grad_(False)
        return self._held["extractor"]

    def _source(self) -> Source:
        return Source(self.source, Path(self.folder), (self.height, self.width), channels=3)

    def _unseen(self) -> Source:
        return self._source().unseen(self.unseen)


RECIPE = LightGlueRecipe
