# SPDX-License-Identifier: Apache-2.0
"""MagicPoint: SuperPoint's detector, from synthetic shapes whose corners are known."""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from letvins_ros import networks
from letvins_ros.networks.superpoint import heat_map
from training.data.inputs import Inputs
from training.data.shapes import PRIMITIVES, SyntheticShapes, draw
from training.features import maxima
from training.losses.superpoint import detector
from training.parallel import spread
from training.recipes.base import Batch, Recipe

_NEAR_PX = 3.0
_NO_POINT = 64  # the class of cells without one
_FEW_POINTS = 5.0  # logit of that class: one cell in three has a point


@dataclass(frozen=True)
class MagicPointRecipe(Recipe):
    """Options of the recipe."""

    height: int = 120
    width: int = 160
    batch_norm: bool = True
    threshold: float = 0.05
    validation_shapes: int = 90

    def build(self) -> nn.Module:
        """Make the detector."""
        return make_superpoint(self.batch_norm, descriptors=False)

    def samples(self, length: int, seed: int) -> SyntheticShapes:
        """Draw shapes."""
        return SyntheticShapes(length, seed, (self.height, self.width))

    def inputs(self) -> Inputs:
        """See Recipe."""
        return Inputs((), ())

    def loss(self, network: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Cross entropy of the cells."""
        network.train()
        loss = detector(network(batch["image"]).logits, batch["points"], torch.ones_like(batch["points"]))
        return {"total": loss}

    def validate(self, network: nn.Module) -> dict[str, float]:
        """Precision and recall of corners within 3 px on unseen shapes; score is their harmonic mean."""
        network.eval()

        def row(i: int) -> tuple[int, int, int, int]:
            picture, corners = self._unseen(i)
            found = self._detect(network, picture)
            near = np.linalg.norm(found[:, None] - corners[None], axis=2) < _NEAR_PX
            return int(near.any(axis=1).sum()), len(found), int(near.any(axis=0).sum()), len(corners)

        hits = np.sum(spread(self.validation_shapes, row), axis=0)
        precision, recall = hits[0] / max(hits[1], 1), hits[2] / max(hits[3], 1)
        score = 2 * precision * recall / max(precision + recall, 1e-9)
        return {"precision": float(precision), "recall": float(recall), "score": float(score)}

    def pictures(self, network: nn.Module) -> dict[str, np.ndarray]:
        """Unseen shapes with true corners in green and found ones in red."""
        network.eval()
        shown = []
        for i in range(len(PRIMITIVES)):
            picture, corners = self._unseen(i)
            color = cv2.cvtColor(picture, cv2.COLOR_GRAY2RGB)
            for points, paint in ((corners, (0, 255, 0)), (self._detect(network, picture), (255, 0, 0))):
                for x, y in np.rint(points).astype(int):
                    cv2.circle(color, (int(x), int(y)), 2, paint, 1)
            shown.append(color)
        return {"shapes": np.vstack([np.hstack(shown[i : i + 3]) for i in range(0, 9, 3)])}

    def _unseen(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        name = list(PRIMITIVES)[index % len(PRIMITIVES)]
        return draw(name, np.random.default_rng([10**6, index]), (self.height, self.width))

    def _detect(self, network: nn.Module, picture: np.ndarray) -> np.ndarray:
        image = torch.from_numpy(picture.astype(np.float32))[None, None] / 255
        with torch.inference_mode():
            heat = heat_map(network(image.to(next(network.parameters()).device)).logits)[0]
        return np.asarray(maxima(heat, 4, self.threshold)[0].cpu().numpy())


def make_superpoint(batch_norm: bool, descriptors: bool) -> nn.Module:
    """Make a network that begins with few points and blind to brightness, which to learn would take it long."""
    network: Any = networks.build("superpoint", batch_norm=batch_norm, descriptors=descriptors)
    last = network.detector[-1] if batch_norm else network.detector[-2]
    with torch.no_grad():
        last.bias[_NO_POINT] = _FEW_POINTS
        first = network.encoder[0][0].weight
        first -= first.mean(dim=(1, 2, 3), keepdim=True)
    # this layout halves the time of a step on a CPU
    trainee: nn.Module = network.to(memory_format=torch.channels_last)
    return trainee


RECIPE = MagicPointRecipe
