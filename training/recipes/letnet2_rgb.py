# SPDX-License-Identifier: Apache-2.0
"""LET-NET2 as its authors train it: RGB images, three features, TartanAir alone (Lin et al., arXiv 2310.15655)."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from letvins_ros import networks
from training.data.inputs import Inputs
from training.data.tartanair import TartanAirFlow, TartanAirPairs, find_trajectories
from training.lucas_kanade import track
from training.recipes.base import Batch, Recipe
from training.recipes.letnet2 import show_pair
from training.tasks.photo_flow import share_followed


@dataclass(frozen=True)
class Letnet2RgbRecipe(Recipe):
    """Options of the recipe."""

    tartanair: str = "../data/tartanair"  # trajectories
    unseen: str = "../data/tartanair_unseen"  # others, for validation
    points: int = 60  # corners of an image
    steps: int = 10  # of Gauss-Newton
    start_px: float = 2.0  # standard deviation of what these steps have to bridge, along x and y
    height: int = 240
    width: int = 320
    validation_pairs: int = 256

    def build(self) -> nn.Module:
        """Make the network with three features and the score."""
        return networks.build("letnet2", in_channels=3, head_channels=4)

    def samples(self, length: int, seed: int) -> Dataset[dict[str, Tensor]]:
        """Give neighbouring frames with the flow of corners."""
        return self._flow(self.tartanair, length, seed)

    def inputs(self) -> Inputs:
        """See Recipe."""
        return Inputs(*([t.poses for t in find_trajectories(Path(root))] for root in (self.tartanair, self.unseen)))

    def loss(self, network: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Mean squared error of the flow that Lucas-Kanade comes to from a start near the truth."""
        network.train()
        feature_a, feature_b = network(torch.cat([batch["image_a"], batch["image_b"]])).feature.chunk(2)
        flow = batch["flow"]
        start = flow + self.start_px * torch.randn_like(flow)
        error = track(feature_a, feature_b, batch["points"], start, self.steps) - flow
        return {"total": error.square().mean(), "error_px": error.detach().norm(dim=-1).mean()}

    def validate(self, network: nn.Module) -> dict[str, float]:
        """Share of corners that OpenCV's tracker follows right between unseen frames, which is the score."""
        network.eval()
        shares = share_followed(network, self._flow(self.unseen, self.validation_pairs, 1))
        return {**shares, "score": shares["plain"]}

    def pictures(self, network: nn.Module) -> dict[str, np.ndarray]:
        """Two unseen frames above their feature maps as colours."""
        network.eval()
        return {"pair": show_pair(network, self._flow(self.unseen, 1, 1)[0])}

    def _flow(self, root: str, length: int, seed: int) -> TartanAirFlow:
        pairs = TartanAirPairs(Path(root), length, seed, (self.height, self.width))
        return TartanAirFlow(pairs, seed, self.points, channels=3)


RECIPE = Letnet2RgbRecipe
