# SPDX-License-Identifier: Apache-2.0
"""KP2D (Tang et al. 2020): keypoints, scores and descriptors from two views of a picture, without labels."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from letvins_ros import networks
from training.data import homographies, photometric
from training.data.images import list_images, to_tensor
from training.data.inputs import Inputs
from training.data.pairs import HomographyPairs, PairOptions
from training.drawing import detail, detections, heat, matches
from training.features import CellNetwork
from training.losses.kp2d import Weights, keypoint_losses, to_points
from training.recipes.base import Batch, Recipe
from training.tasks.hpatches import photo_pairs
from training.tasks.pairs import Choice, KeypointMatcher
from training.tasks.photo_figures import photo_figures
from training.tasks.two_view import right_matches


class WithInlierNet(nn.Module):
    """A network and the one that judges its matches, which only training needs."""

    def __init__(self, network: nn.Module, only_points: bool = False) -> None:
        super().__init__()
        self.network, self.io_net = network, networks.build("inlier_net")
        self._only_points = only_points

    def forward(self, image: Tensor) -> Any:
        network: Any = self.network
        return network.keypoints(image) if self._only_points else network(image)


@dataclass(frozen=True)
class Kp2dRecipe(Recipe):
    """Options of the recipe."""

    photos: str = "../data/coco/train2017"  # any tree of images
    unseen: str = "../data/coco/val2017"
    network: str = "kp2d"  # or kp2d_resnet
    version: str = "V4"
    height: int = 240
    width: int = 320
    top_k: int = 300  # of the validation
    validation_pairs: int = 64
    descriptor: float = 2.0  # weight of the descriptor loss: 0 in V3
    inliers: float = 1.0  # weight of the inlier network: 0 in V0 to V2

    def build(self) -> nn.Module:
        """Make KeypointNet of a version, or the ResNet variant."""
        options = {"version": self.version} if self.network == "kp2d" else {}
        return WithInlierNet(networks.build(self.network, **options))

    def samples(self, length: int, seed: int) -> Dataset[dict[str, Tensor]]:
        """Give pairs of views of photographs."""
        options = PairOptions((self.height, self.width), 3, homographies.KP2D, photometric.KP2D)
        return HomographyPairs(Path(self.photos), length, seed, options)

    def inputs(self) -> Inputs:
        """See Recipe."""
        return Inputs(list_images(Path(self.photos)), list_images(Path(self.unseen)))

    def loss(self, network: Any, batch: Batch) -> dict[str, Tensor]:
        """See training.losses.kp2d."""
        network.train()
        output_a, output_b = forward_both(network, batch)
        weights = Weights(descriptor=self.descriptor, inliers=self.inliers)
        size = (self.height, self.width)
        H_a_b = torch.linalg.inv(batch["H_b_a"])
        losses = keypoint_losses(to_points(output_a, size), to_points(output_b, size), H_a_b, weights, network.io_net)
        return {"total": torch.stack(list(losses.values())).sum(), **losses}

    def validate(self, network: nn.Module) -> dict[str, float]:
        """HPatches' figures on unseen photographs; score is repeatability plus C3."""
        return validate_keypoints(network, Path(self.unseen), (self.height, self.width), self)

    def deployed(self, network: Any) -> nn.Module:
        """Give the network without its judge."""
        kept: nn.Module = network.network
        return kept

    def pictures(self, network: nn.Module) -> dict[str, np.ndarray]:
        """Keypoints and right matches of unseen photographs."""
        return keypoint_pictures(network, Path(self.unseen), (self.height, self.width), self.top_k)


def forward_both(network: nn.Module, batch: Batch) -> list[Any]:
    """Outputs of both views from one pass, as named tuples."""
    output = network(torch.cat([batch["image_a"], batch["image_b"]]))
    halves = [[None, None] if x is None else x.chunk(2) for x in output]
    return [type(output)(*(half[i] for half in halves)) for i in range(2)]


def validate_keypoints(
    network: nn.Module,
    unseen: Path,
    size: tuple[int, int],
    options: Any,
    ranges: homographies.Ranges = homographies.KP2D,
) -> dict[str, float]:
    """Figures of a cell network on views of unseen photographs."""
    network.eval()
    match = KeypointMatcher(CellNetwork(network))
    figures = photo_figures(match, unseen, size, (options.validation_pairs, options.top_k), ranges)
    return {**figures, "score": figures["Rep"] + figures["C3"]}


def keypoint_pictures(network: nn.Module, unseen: Path, size: tuple[int, int], top_k: int) -> dict[str, np.ndarray]:
    """Of two unseen photographs how they match their warped views, right ones green and wrong ones red, and `_points`.

    These are the frame with its keypoints, the scores, and a detail with the view's keypoints too, in red.
    """
    network.eval()
    match = KeypointMatcher(CellNetwork(network))
    device = next(network.parameters()).device
    pictures = {}
    for pair in photo_pairs(unseen, size, 2, homographies.KP2D):
        said = match(pair, [Choice(top_k)])[0]
        right = right_matches(pair, said.matches)
        pictures[pair.name] = matches(pair.image_a, pair.image_b, said.matches, right)
        with torch.inference_mode():
            score = network(to_tensor(pair.image_a, 3)[None].to(device)).score[0, 0].cpu().numpy()
        of_view = homographies.transfer(np.linalg.inv(np.asarray(pair.H_b_a)), said.uv_b)
        shown = [detections(pair.image_a, said.uv_a), heat(score, size), detail(pair.image_a, said.uv_a, of_view)]
        pictures[f"{pair.name}_points"] = np.hstack(shown)
    return pictures


RECIPE = Kp2dRecipe
