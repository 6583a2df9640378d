# SPDX-License-Identifier: Apache-2.0
"""Images with labels per pixel, opened by the kind of data set, and pairs of views of them."""

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from letvins_ros.errors import ConfigError
from training.data.homographies import random_homography, sharp_view, warp
from training.data.images import resize, scaling, to_tensor
from training.data.label_sets import Cityscapes, CocoStuff, LabelledFolder, NyuV2, Sample, SceneParse
from training.data.pairs import PairOptions
from training.data.photometric import change


class Labelled(Protocol):
    """A split of a data set."""

    classes: int
    items: list[Path]  # images, or rows of a file

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Sample: ...


_KINDS: dict[str, Callable[[Path, str, int], Labelled]] = {
    "coco": CocoStuff,
    "cityscapes": lambda folder, split, _: Cityscapes(folder, split),
    "nyu": NyuV2,
    "scene_parse": lambda folder, split, _: SceneParse(folder, split),
    "folder": LabelledFolder,
}


def open_labelled(kind: str, folder: Path, split: str, classes: int) -> Labelled:
    """Open `train` or `val` of a kind of data set; ConfigError names what there is."""
    if kind not in _KINDS:
        raise ConfigError(f"unknown labels {kind}; known: {', '.join(_KINDS)}, none")
    data = _KINDS[kind](folder, split, classes)
    if data.classes > classes:
        raise ConfigError(f"classes: {kind} has {data.classes}, the network is to tell {classes} apart")
    return data


class LabelledPairs(Dataset[dict[str, Tensor]]):
    """Pairs as HomographyPairs gives them, with labels_a, labels_b (H, W) and depth_a, depth_b (1, H, W) if known."""

    def __init__(self, data: Labelled, length: int, seed: int, options: PairOptions) -> None:
        self._data, self._length, self._seed, self._options = data, length, seed, options

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        rng = np.random.default_rng([self._seed, index])
        sample, o = self._data[int(rng.integers(len(self._data)))], self._options
        H_b_a = random_homography(rng, o.size, o.ranges)
        H_a_photo = scaling(sample.image.shape, o.size)
        views = [sharp_view(sample.image, H, o.size) for H in (H_a_photo, H_b_a @ H_a_photo)]
        item = {
            "image_a": to_tensor(change(views[0], o.looks, rng), o.channels),
            "image_b": to_tensor(change(views[1], o.looks, rng), o.channels),
            "H_b_a": torch.from_numpy(H_b_a).float(),
        }
        if sample.labels is not None:
            labels = resize(sample.labels, o.size, nearest=True)
            item["labels_a"] = torch.from_numpy(labels).long()
            item["labels_b"] = torch.from_numpy(warp(labels, H_b_a, o.size, nearest=True)).long()
        if sample.depth is not None:
            depth = resize(sample.depth, o.size, nearest=True)
            item["depth_a"] = torch.from_numpy(depth)[None]
            item["depth_b"] = torch.from_numpy(warp(depth, H_b_a, o.size, nearest=True))[None]
        return item
