# SPDX-License-Identifier: Apache-2.0
"""LET-NET2: learn the feature map on which Lucas-Kanade finds the true flow, whatever the light."""

from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from letvins_ros.contrast import equalise_contrast
from letvins_ros.networks.letnet2 import LetNet2
from training.data.images import list_images
from training.data.inputs import Inputs
from training.data.photos import MOTION_PX, PhotoPairs
from training.data.tartanair import TartanAirFlow, TartanAirPairs, find_trajectories
from training.lucas_kanade import pyramid_down, track
from training.recipes.base import Batch, Recipe, part_way
from training.tasks.photo_flow import share_followed


@dataclass(frozen=True)
class Letnet2Recipe(Recipe):
    """Options of the recipe."""

    photos: str = "../shared/data/photos"  # folder with train/ and val/
    tartanair: str = ""  # trajectories to learn from instead of photos/train, which then only validates
    head_channels: int = 2  # one feature and the score
    levels: int = 4  # of the pyramid, as the tracker's
    steps: int = 4  # of Gauss-Newton per level
    precision_px: float = 0.4  # at the finest level; errors below it count little
    capture_px: float = 1.0  # the same at the coarser levels, which need only bring the next one within its reach
    height: int = 240  # of the views
    width: int = 320
    way: float = 0.25  # from the start to what was learnt, that the weights which are kept have gone
    statistics_pairs: int = 40  # that the batch norms are set from
    validation_pairs: int = 256
    start: dict[str, Tensor] = field(default_factory=dict, init=False, repr=False, compare=False)  # weights

    def build(self) -> nn.Module:
        """Make the gray network, whose feature is the image to begin with.

        Its batch norms take their statistics from some pairs once and for all.
        """
        network = LetNet2(1, self.head_channels)
        nn.init.normal_(network.conv_head.weight, std=0.5)
        pairs = self._pairs("train", self.statistics_pairs, seed=99)
        network.train()
        with torch.no_grad():
            for pair in (pairs[i] for i in range(len(pairs))):
                network(torch.stack([pair["image_a"], pair["image_b"]]))
            pass_through(network)
        self.start.update(deepcopy(network.state_dict()))
        return network.eval()

    def samples(self, length: int, seed: int) -> Dataset[dict[str, Tensor]]:
        """Give pairs of views of photographs, or of frames."""
        if self.tartanair:
            pairs = TartanAirPairs(Path(self.tartanair), length, seed, (self.height, self.width))
            return Evened(TartanAirFlow(pairs, seed))
        return self._pairs("train", length, seed)

    def inputs(self) -> Inputs:
        """See Recipe."""
        return Inputs(
            [t.poses for t in find_trajectories(Path(self.tartanair))] if self.tartanair else self._photos("train"),
            self._photos("val"),
        )

    def loss(self, network: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Mean over pyramid levels of log(1 + end-point error / tolerance) of Lucas-Kanade on the quantised maps.

        Each level starts from the truth plus an error that it must bridge: the whole motion at the coarsest, else
        what the level above leaves. So levels learn side by side. Errors are in pixels of the level.
        """
        maps = _quantise(network(torch.cat([batch["image_a"], batch["image_b"]])).feature)
        feature_a, feature_b = maps.chunk(2)
        losses: dict[str, Tensor] = {}
        for level in range(self.levels):
            points, flow = batch["points"] / 2**level, batch["flow"] / 2**level
            reach = MOTION_PX / 2**level if level == self.levels - 1 else 1.5
            start = flow + reach * _rand(flow)[..., None].sqrt() * _directions(flow)
            error = (track(feature_a, feature_b, points, start, self.steps) - flow).norm(dim=-1)
            losses[f"level_{level}"] = torch.log1p(error / (self.capture_px if level else self.precision_px)).mean()
            feature_a, feature_b = pyramid_down(feature_a), pyramid_down(feature_b)
        return {"total": torch.stack(list(losses.values())).mean(), **losses}

    def validate(self, network: nn.Module) -> dict[str, float]:
        """Share of corners that OpenCV's tracker follows right on unseen photos, by light; `score` is their mean."""
        shares = share_followed(network, self._pairs("val", self.validation_pairs, seed=1))
        return {**shares, "score": sum(shares.values()) / len(shares)}

    def deployed(self, network: nn.Module) -> nn.Module:
        """Give what is a part of the way from the image itself, which is best where motion is small."""
        return part_way(network, self.start, self.way)

    def pictures(self, network: nn.Module) -> dict[str, np.ndarray]:
        """Two views of unseen photographs in their light, above their feature maps."""
        pairs = self._pairs("val", 3, seed=1)
        return {f"pair_{i}": show_pair(network, pairs[i]) for i in range(3)}

    def _photos(self, split: str) -> list[Path]:
        return list_images(Path(self.photos) / split)

    def _pairs(self, split: str, length: int, seed: int) -> "Evened":
        return Evened(PhotoPairs(Path(self.photos) / split, length, seed, (self.height, self.width)))


class Evened(Dataset[dict[str, Tensor]]):
    """The pairs with their images evened out, as the tracker does it before the network."""

    def __init__(self, pairs: PhotoPairs | TartanAirFlow) -> None:
        self._pairs = pairs

    def __len__(self) -> int:
        return len(self._pairs)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        pair = self._pairs[index]
        return {**pair, **{key: _even(pair[key]) for key in ("image_a", "image_b")}}


def _even(image: Tensor) -> Tensor:
    gray = (255 * image[0]).round().to(torch.uint8).numpy()
    return torch.from_numpy(equalise_contrast(gray))[None].float() / 255


def pass_through(network: LetNet2) -> None:
    """Let the first two channels carry the image and its negative to the feature, where the others count little."""
    block = network.block1
    for i, sign in enumerate((1.0, -1.0)):
        layers: Any = ((block.conv1, block.bn1, (0, sign)), (block.conv2, block.bn2, (i, 1.0)))
        for conv, bn, taps in layers:
            conv.weight[i] = 0
            conv.weight[i, taps[0], 1, 1] = taps[1]
            bn.weight[i] = (bn.running_var[i] + bn.eps).sqrt()
            bn.bias[i] = bn.running_mean[i] + (taps[1] < 0)  # so that the negative is 1 - image
        network.conv1.weight[i] = 0
        network.conv1.weight[i, i] = 1
    network.conv_head.weight[0] *= 0.1
    network.conv_head.weight[0, :2, 0, 0] = torch.tensor([2.0, -2.0])


def show_pair(network: nn.Module, pair: Batch) -> np.ndarray:
    """Both views above their feature maps."""
    views = torch.stack([pair["image_a"], pair["image_b"]])
    with torch.inference_mode():
        maps = network(views.to(next(network.parameters()).device)).feature.cpu()
    rows = torch.cat([views, maps[:, : views.shape[1]]], dim=2).permute(2, 0, 3, 1).flatten(1, 2)
    return (255 * rows).round().to(torch.uint8).expand(-1, -1, 3).contiguous().numpy()


def _quantise(feature: Tensor) -> Tensor:
    """Add the uint8 map's rounding as noise, which unlike rounding has a gradient."""
    return feature + (torch.rand_like(feature) - 0.5) / 255


def _rand(flow: Tensor) -> Tensor:
    """Random numbers (B, P) 0..1 beside a flow (B, P, 2)."""
    return torch.rand(flow.shape[:2], device=flow.device)


def _directions(flow: Tensor) -> Tensor:
    angle = 2 * torch.pi * _rand(flow)
    return torch.stack([angle.cos(), angle.sin()], dim=-1)


RECIPE = Letnet2Recipe
