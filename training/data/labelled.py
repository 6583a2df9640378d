# SPDX-License-Identifier: Apache-2.0
"""Images with labels per pixel: COCO-Stuff, Cityscapes and NYUv2 in their published layouts."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, Protocol

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from letvins_ros.errors import ConfigError, DataError
from letvins_ros.image_files import read_image
from training.data.homographies import random_homography, warp
from training.data.images import read_rgb, resize, to_tensor
from training.data.pairs import PairOptions
from training.data.photometric import change

IGNORED = 255  # label of pixels that do not count


class Sample(NamedTuple):
    """An image and what is known of its pixels."""

    image: np.ndarray  # (H, W, 3) RGB uint8
    labels: np.ndarray | None  # (H, W) uint8, 255 counts nowhere
    depth: np.ndarray | None = None  # (H, W) float32 m, or relative 0..1; 0 is unknown


class Labelled(Protocol):
    """A split of a data set."""

    classes: int
    items: list[Path]  # images, or rows of a file

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Sample: ...


_GROUPS = {  # our 28 classes of COCO-Stuff's ids 0 to 182
    0: [0], 1: range(1, 9), 2: range(9, 15), 3: range(15, 25), 4: range(25, 33), 5: range(33, 43),
    6: [*range(43, 51), 162], 7: [*range(51, 61), 120, 121, 152, 169], 8: [*range(83, 88), 89, 90], 9: range(77, 83),
    10: [*range(71, 77), 88], 11: [61, 62, 64, 65, 66, 68, 69, 97, 106, 107, 109, 122, 129, 155, 164],
    12: [99, 131, 138, 142], 13: [91, 92, 103, 104, 108, 130, 136, 140, 151, 166, 167], 14: [67],
    15: [100, *range(113, 118)], 16: [101, 102], 17: range(170, 177), 18: [127, 150, 157, 165],
    19: [94, 95, 98, 112, 137, 145, 163], 20: [63, 93, 96, 118, 128, 133, 141, 168], 21: [105, 156],
    22: [110, 123, 124, 125, 135, 139, 143, 144, 148, 153, 158], 23: [119, 147, 154, *range(177, 181)],
    24: [126, 134, 146, 149, 159, 161, 181], 25: [132, 182], 26: [70, 111], 27: [160],
}  # fmt: skip


def coco_groups() -> np.ndarray:
    """Table (256,) from COCO-Stuff's ids to the 28 classes; unlabelled 255, and ids in no class, stay ignored."""
    table = np.full(256, IGNORED, np.uint8)
    for group, ids in _GROUPS.items():
        table[list(ids)] = group
    return table


class CocoStuff:
    """COCO 2017's images and stuff-thing maps; 28 classes or all 183."""

    def __init__(self, folder: Path, split: str, classes: int = 28) -> None:
        if classes not in (28, 183):
            raise ConfigError(f"COCO-Stuff has 28 or 183 classes here, got {classes}")
        self.classes = classes
        self._table = coco_groups() if classes == 28 else np.arange(256, dtype=np.uint8)
        maps = folder / "stuffthingmaps" / f"{split}2017"
        self._maps = sorted(maps.glob("*.png"))
        self._images = folder / f"{split}2017"
        _need(
            self._maps,
            f"{maps}/*.png",
            "stuffthingmaps_trainval2017.zip (https://github.com/nightrome/cocostuff) and train2017.zip, val2017.zip"
            " (https://cocodataset.org/#download)",
        )
        self.items = [self._images / f"{path.stem}.jpg" for path in self._maps]

    def __len__(self) -> int:
        return len(self._maps)

    def __getitem__(self, index: int) -> Sample:
        return Sample(read_rgb(self.items[index]), _read_labels(self._maps[index], self._table, self.classes))


_CITYSCAPES = [7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33]  # the 19 that are evaluated


class Cityscapes:
    """Fine annotations: 19 classes, the others ignored."""

    classes = 19

    def __init__(self, folder: Path, split: str) -> None:
        self._maps = sorted((folder / "gtFine" / split).glob("*/*_gtFine_labelIds.png"))
        self._images = folder / "leftImg8bit" / split
        self._table = np.full(256, IGNORED, np.uint8)
        self._table[_CITYSCAPES] = np.arange(19)
        _need(
            self._maps,
            f"{folder}/gtFine/{split}/CITY/*_gtFine_labelIds.png",
            "gtFine_trainvaltest.zip and leftImg8bit_trainvaltest.zip (https://www.cityscapes-dataset.com/downloads)",
        )
        self.items = [self._image(path) for path in self._maps]

    def __len__(self) -> int:
        return len(self._maps)

    def __getitem__(self, index: int) -> Sample:
        return Sample(read_rgb(self.items[index]), _read_labels(self._maps[index], self._table, self.classes))

    def _image(self, path: Path) -> Path:
        return self._images / path.parent.name / path.name.replace("_gtFine_labelIds", "_leftImg8bit")


class NyuV2:
    """The labelled part of NYU Depth V2: 1,449 rooms with depth, and 13 classes where nyuv2_13class.npy maps to them.

    Standard split of splits.mat: 795 for training, 654 for tests ("val" here).
    """

    classes = 0  # only depth is used

    def __init__(self, folder: Path, split: str) -> None:
        import h5py
        from scipy.io import loadmat

        path, splits = folder / "nyu_depth_v2_labeled.mat", folder / "splits.mat"
        found = [p for p in (path, splits) if p.is_file()]
        where = "https://cs.nyu.edu/~fergus/datasets/nyu_depth_v2.html"
        _need(found[1:], f"{path} and {splits}", f"nyu_depth_v2_labeled.mat ({where}) and splits.mat of its toolbox")
        self._file = h5py.File(path, "r")
        key = "trainNdxs" if split == "train" else "testNdxs"
        self._rows = loadmat(splits)[key].ravel().astype(int) - 1  # MATLAB counts from 1
        self.items = [path / str(row) for row in self._rows]

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> Sample:
        row = int(self._rows[index])
        image = np.ascontiguousarray(self._file["images"][row].transpose(2, 1, 0))  # stored as (3, W, H)
        return Sample(image, None, np.ascontiguousarray(self._file["depths"][row].T, np.float32))


def open_labelled(kind: str, folder: Path, split: str, classes: int) -> Labelled:
    """Open `train` or `val` of coco, cityscapes or nyu; ConfigError names what there is."""
    if kind == "coco":
        return CocoStuff(folder, split, classes)
    others: dict[str, Callable[[Path, str], Labelled]] = {"cityscapes": Cityscapes, "nyu": NyuV2}
    if kind not in others:
        raise ConfigError(f"unknown labels {kind}; known: coco, {', '.join(others)}, none")
    data = others[kind](folder, split)
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
        image = resize(sample.image, o.size)
        item = {
            "image_a": to_tensor(change(image, o.looks, rng), o.channels),
            "image_b": to_tensor(change(warp(image, H_b_a, o.size), o.looks, rng), o.channels),
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


def _read_labels(path: Path, table: np.ndarray, classes: int) -> np.ndarray:
    """Map (H, W) of labels, translated by a table (256,); DataError where one is beyond the classes."""
    labels = read_image(path, cv2.IMREAD_UNCHANGED)
    if labels is None or labels.ndim != 2 or labels.dtype != np.uint8:
        raise DataError(f"{path}: not an 8-bit map of labels")
    translated = table[labels]
    beyond = (translated >= classes) & (translated != IGNORED)
    if beyond.any():
        raise DataError(f"{path}: has label {labels[beyond].max()}, of {classes} classes the last is {classes - 1}")
    return translated


def _need(found: object, where: str, what: str) -> None:
    if not found:
        raise DataError(f"no {where}; download {what} and unpack it there")
