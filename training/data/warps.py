# SPDX-License-Identifier: Apache-2.0
"""The truth of a batch of pairs as a function from points to points, by homography or by depth and pose."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from letvins_ros.errors import ConfigError
from training.data import homographies, photometric
from training.data.correspondence import View, transfer, transfer_by_depth
from training.data.images import list_images
from training.data.megadepth import MegaDepthPairs, split_scenes
from training.data.pairs import HomographyPairs, PairOptions
from training.data.tartanair import TartanAirPairs, find_trajectories

Warp = Callable[[Tensor], tuple[Tensor, Tensor]]  # (B, N, 2) px -> (B, N, 2) px in the other image, (B, N) seen there
_KINDS = ("photos", "tartanair", "scenes")


@dataclass(frozen=True)
class Source:
    """Where pairs come from: `photos` (any tree of images), `tartanair` or `scenes` (MegaDepth's layout)."""

    kind: str
    folder: Path
    size: tuple[int, int]  # height, width; scenes are squares of the height
    channels: int = 1
    gap: int = 5  # tartanair: most frames between two images
    split: str = "train"  # scenes: which of their lists

    def __post_init__(self) -> None:
        if self.kind not in _KINDS:
            raise ConfigError(f"unknown source {self.kind}; known: {', '.join(_KINDS)}")

    def unseen(self, folder: str) -> "Source":
        """Where validation gets its pairs: a folder, or of scenes the val_list; ConfigError where neither is there."""
        if folder:
            return replace(self, folder=Path(folder), split="val")
        if self.kind == "scenes":
            return replace(self, split="val")
        raise ConfigError(f"options.unseen: name {self.kind} that are not trained on, for the validation")

    def items(self) -> list[Path]:
        """Files that pairs come from: photographs, poses of trajectories, or scene_info."""
        if self.kind == "photos":
            return list_images(self.folder)
        if self.kind == "tartanair":
            return [trajectory.poses for trajectory in find_trajectories(self.folder)]
        return split_scenes(self.folder, self.split)

    def samples(self, length: int, seed: int) -> Dataset[dict[str, Tensor]]:
        """Give pairs."""
        if self.kind == "photos":
            options = PairOptions(self.size, self.channels, homographies.KP2D, photometric.JITTER)
            return HomographyPairs(self.folder, length, seed, options)
        if self.kind == "tartanair":
            pairs = TartanAirPairs(self.folder, length, seed, self.size, self.gap)
            return Colors(pairs, self.channels)
        return MegaDepthPairs(self.folder, self.items(), length, seed, side=self.size[0], channels=self.channels)


class Colors(Dataset[dict[str, Tensor]]):
    """RGB pairs as gray ones, or as they are."""

    def __init__(self, pairs: Any, channels: int) -> None:
        self._pairs, self._channels = pairs, channels

    def __len__(self) -> int:
        return len(self._pairs)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        item: dict[str, Tensor] = self._pairs[index]
        if self._channels == 3:
            return item
        weights = torch.tensor([0.299, 0.587, 0.114])[:, None, None]
        return {k: (weights * v).sum(dim=0, keepdim=True) if k.startswith("image") else v for k, v in item.items()}


def warps(batch: Mapping[str, Tensor]) -> tuple[Warp, Warp]:
    """Give a to b and b to a."""
    size = (batch["image_a"].shape[-2], batch["image_a"].shape[-1])
    if "H_b_a" in batch:
        H_b_a = batch["H_b_a"]
        H_a_b = torch.linalg.inv(H_b_a)
        return lambda uv: _by_homography(uv, H_b_a, size), lambda uv: _by_homography(uv, H_a_b, size)
    a, b = View(batch["depth_a"], batch["K_a"]), View(batch["depth_b"], batch["K_b"])
    T_b_a = batch["T_b_a"]
    T_a_b = torch.linalg.inv(T_b_a)
    return lambda uv: transfer_by_depth(uv, a, b, T_b_a), lambda uv: transfer_by_depth(uv, b, a, T_a_b)


def _by_homography(uv: Tensor, H: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    there = transfer(H, uv)
    return there, ((there >= 0) & (there <= there.new_tensor([size[1] - 1, size[0] - 1]))).all(dim=-1)
