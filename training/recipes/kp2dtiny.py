# SPDX-License-Identifier: Apache-2.0
"""KP2Dtiny or KeypointFormer: keypoints, places, and where there are labels classes and depth, learnt at once."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import Dataset

from letvins_ros import networks
from letvins_ros.errors import ConfigError
from training.data.correspondence import transfer
from training.data.homographies import RANGES
from training.data.images import list_images
from training.data.inputs import Inputs
from training.data.labelled import LabelledPairs, open_labelled
from training.data.pairs import HomographyPairs, PairOptions
from training.data.photometric import LOOKS
from training.losses import dense, kp2d
from training.losses.places import batch_hard
from training.recipes.base import Batch, Recipe, part_way
from training.recipes.kp2d import WithInlierNet, forward_both, keypoint_pictures, validate_keypoints
from training.tasks.segmentation import validate_segmentation
from training.weights import load_into, read_weights

_SEGMENTATION = ("decoder.", "classes.", "descriptor_out.")


@dataclass(frozen=True)
class Kp2dTinyRecipe(Recipe):
    """Options of the recipe; a weight of 0 leaves a task out."""

    data: str = "../data/coco"  # of the kind `labels`
    labels: str = "coco"  # coco, cityscapes, nyu, scene_parse, folder, or none: then data is a tree of images
    unseen: str = "../data/coco/val2017"  # images for the figures of keypoints
    network: str = "kp2dtiny"  # or keypointformer, whose config is default or tiny, and which knows no depth
    config: str = "N"
    version: str = "V2"
    classes: int = 28
    mcu: bool = False
    scales: int = 1  # of the image that descriptors look at
    start: str = ""  # weights to begin with
    way: float = 1.0  # from these to what was learnt, that the weights which are kept have gone
    renew: str = ""  # parts that begin anew nevertheless, by the start of their names, with commas
    freeze_backbone: bool = False
    keypoints: float = 0.5
    place: float = 1.0
    segmentation: float = 2.0
    depth: float = 0.0
    place_margin: float = 0.1
    corners: float = 0.0  # of learning from corners that are found again from elsewhere
    softness: float = 0.0  # > 0: of descriptors' softmax instead of triplets
    sure: bool = False  # places learn most from points with high scores
    anchors: int = 0  # points with the highest scores that learn descriptors; 0: all
    inliers: float = 1.0
    dropout: bool = True
    looks: str = "kp2dtiny"  # or kp2d, which is stronger
    ranges: str = "kp2dtiny"
    crop: float = 1.0  # without labels: smallest share of a photograph's sides that a view shows
    height: int = 120
    width: int = 160
    top_k: int = 300  # in views of twice the size
    validation_pairs: int = 64

    def build(self) -> nn.Module:
        """Make the network, or take the weights of an earlier stage."""
        network = self._tiny() if self.network == "kp2dtiny" else self._former()
        if self.start:
            load_into(network, Path(self.start), [part for part in self.renew.split(",") if part])
        elif self.way < 1:
            raise ConfigError("way: without start there is nothing to be part of the way from")
        if self.freeze_backbone:
            network.backbone.requires_grad_(False)
        only_points = not (self.place or self.segmentation or self.depth) and self.network == "kp2dtiny"
        # this layout halves the time of a step on a CPU
        trainee: nn.Module = WithInlierNet(network, only_points)
        return trainee.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def _tiny(self) -> Any:
        return networks.build(
            "kp2dtiny",
            config=self.config,
            version=self.version,
            classes=self.classes,
            depth=self.depth > 0,
            mcu=self.mcu,
            dropout=self.dropout,
            scales=self.scales,
        )

    def _former(self) -> Any:
        if self.network != "keypointformer":
            raise ConfigError(f"unknown network {self.network}; known: kp2dtiny, keypointformer")
        if self.depth or self.freeze_backbone:
            raise ConfigError("keypointformer has no depth to learn, and no backbone to freeze")
        return networks.build("keypointformer", config=self.config, classes=self.classes)

    def samples(self, length: int, seed: int) -> Dataset[dict[str, Tensor]]:
        """Give pairs of views, with labels where there are any."""
        size = (self.height, self.width)
        cell = (8 if self.config == "F" or self.network != "kp2dtiny" else 4) if self.corners else 0
        options = PairOptions(size, 3, RANGES[self.ranges], LOOKS[self.looks], corners=cell, crop=self.crop)
        if self.labels == "none":
            return HomographyPairs(Path(self.data), length, seed, options)
        return LabelledPairs(open_labelled(self.labels, Path(self.data), "train", self.classes), length, seed, options)

    def inputs(self) -> Inputs:
        """See Recipe."""
        unseen = list_images(Path(self.unseen)) if self.keypoints else []
        if self.labels == "none":
            return Inputs(list_images(Path(self.data)), unseen)
        train, val = (open_labelled(self.labels, Path(self.data), split, self.classes) for split in ("train", "val"))
        return Inputs(train.items, [*unseen, *(val.items if self.segmentation else ())])

    def loss(self, network: Any, batch: Batch) -> dict[str, Tensor]:
        """Weighted losses of the tasks that the batch has labels for."""
        network.train()
        if self.freeze_backbone:
            network.network.backbone.eval()
        a, b = forward_both(network, batch)
        losses = self._keypoint_losses(a, b, batch, network.io_net) if self.keypoints else {}
        if self.place:
            losses["place"] = self.place * batch_hard(b.place, a.place, self.place_margin)
        if self.segmentation and "labels_a" in batch:
            both = [dense.segmentation(x.segmentation, batch[f"labels_{k}"]) for x, k in ((a, "a"), (b, "b"))]
            losses["segmentation"] = self.segmentation * (both[0] + both[1]) / 2
        if self.depth and "depth_a" in batch:
            losses["depth"] = self.depth * self._depth_loss(a, b, batch)
        return {"total": torch.stack(list(losses.values())).sum(), **losses}

    def validate(self, network: nn.Module) -> dict[str, float]:
        """Figures of keypoints, and the mean IoU where classes are learnt; score is what of them is trained."""
        network.eval()
        figures: dict[str, float] = {"score": 0.0}
        if self.keypoints:
            size = (2 * self.height, 2 * self.width)
            figures = validate_keypoints(network, Path(self.unseen), size, self, RANGES[self.ranges])
        if self.segmentation and self.labels != "none":
            samples = open_labelled(self.labels, Path(self.data), "val", self.classes)
            figures["mIoU"] = validate_segmentation(network, samples, (self.height, self.width), self.validation_pairs)
            figures["score"] += figures["mIoU"]
        return figures

    def deployed(self, network: Any) -> nn.Module:
        """Give the network without the judge of its matches."""
        kept: nn.Module = network.network
        return kept if self.way == 1 else part_way(kept, read_weights(Path(self.start)), self.way)

    def pictures(self, network: nn.Module) -> dict[str, np.ndarray]:
        """Keypoints and right matches of unseen photographs."""
        return keypoint_pictures(network, Path(self.unseen), (2 * self.height, 2 * self.width), self.top_k)

    def _keypoint_losses(self, a: Any, b: Any, batch: Batch, io_net: nn.Module) -> dict[str, Tensor]:
        size = (self.height, self.width)
        points_a, points_b = (kp2d.to_points(x, size) for x in (a, b))
        H_a_b = torch.linalg.inv(batch["H_b_a"])
        weights = kp2d.Weights(softness=self.softness, inliers=self.inliers, sure=self.sure, anchors=self.anchors)
        losses = kp2d.keypoint_losses(points_a, points_b, H_a_b, weights, io_net)
        if self.corners:
            both = [kp2d.corner_loss(p, batch[f"corners_{k}"]) for p, k in ((points_a, "a"), (points_b, "b"))]
            losses["corners"] = self.corners * (both[0] + both[1])
        return {name: self.keypoints * loss for name, loss in losses.items()}

    def _depth_loss(self, a: Any, b: Any, batch: Batch) -> Tensor:
        """Error of both views, and that of one warped into the other."""
        both = dense.depth(a.depth, batch["depth_a"]) + dense.depth(b.depth, batch["depth_b"])
        height, width = b.depth.shape[-2:]
        rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
        scale = torch.tensor([(self.width - 1) / (width - 1), (self.height - 1) / (height - 1)])
        uv = (torch.stack([columns, rows], dim=-1).reshape(1, -1, 2) * scale).to(a.depth)
        in_a = transfer(torch.linalg.inv(batch["H_b_a"]), uv.expand(len(a.depth), -1, -1))
        grid = in_a * in_a.new_tensor([2 / (self.width - 1), 2 / (self.height - 1)]) - 1
        warped = functional.grid_sample(a.depth, grid.view(-1, height, width, 2), align_corners=True)
        return both / 2 + 0.5 * functional.mse_loss(warped, b.depth)


RECIPE = Kp2dTinyRecipe
