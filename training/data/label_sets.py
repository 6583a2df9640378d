# SPDX-License-Identifier: Apache-2.0
"""Images with a label or a depth per pixel, in the layouts that they are published in, or in folders of one's own."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from letvins_ros.errors import ConfigError, DataError
from letvins_ros.image_files import read_image
from training.data.images import list_images, read_rgb

IGNORED = 255  # label of pixels that do not count
HIGHEST = 65000  # of relative depth in 16 bits


class Sample(NamedTuple):
    """An image and what is known of its pixels."""

    image: np.ndarray  # (H, W, 3) RGB uint8
    labels: np.ndarray | None  # (H, W) uint8, 255 counts nowhere
    depth: np.ndarray | None = None  # (H, W) float32 m, or relative 0..1; 0 is unknown


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


_COCO_27 = (  # the 27 of COCO-Stuff's hierarchy: twelve of things, then fifteen of stuff
    range(71, 77), range(77, 83), range(51, 61), range(61, 71), range(83, 91), range(43, 51), range(25, 33),
    range(15, 25), range(9, 15), [0], range(33, 43), range(1, 9), [101, 102], [100, *range(113, 118)],
    [120, 121, 152, 169], [97, 106, 107, 109, 111, 122, 129, 132, 155, 160, 164], [99, 131, 138, 142],
    [91, 92, 103, 104, 108, 130, 136, 140, 151, 166, 167], range(170, 177), [179, 180], [94, 95, 127, 150, 157, 165],
    [110, 124, 125, 135, 139, 143, 144, 146, 148, 153, 158], [93, 96, 118, 123, 128, 133, 141, 162, 168], [105, 156],
    [126, 134, 149, 159, 161, 181], [98, 112, 137, 145, 163], [119, 147, 154, 177, 178],
)  # fmt: skip
_UNUSED = (11, 25, 28, 29, 44, 65, 67, 68, 70, 82, 90)  # ids that COCO gave to nothing: 171 are left


def coco_table(classes: int) -> np.ndarray:
    """Table (256,) from COCO-Stuff's ids to 27, 28, 171 or 183 classes; 255, and ids in no class, stay ignored.

    28 are KP2Dtiny's, 27 and 171 those of the literature, 183 the ids themselves.
    """
    used = [i for i in range(182) if i not in _UNUSED]
    fine = {k: [i] for k, i in enumerate(used)}
    groups: dict[int, Mapping[int, Iterable[int]]] = {27: dict(enumerate(_COCO_27)), 28: _GROUPS, 171: fine}
    if classes == 183:
        return np.arange(256, dtype=np.uint8)
    if classes not in groups:
        raise ConfigError(f"COCO-Stuff has 27, 28, 171 or 183 classes here, got {classes}")
    table = np.full(256, IGNORED, np.uint8)
    for group, ids in groups[classes].items():
        table[list(ids)] = group
    return table


class CocoStuff:
    """COCO 2017's images and stuff-thing maps; see `coco_table` for the classes."""

    def __init__(self, folder: Path, split: str, classes: int) -> None:
        self.classes, self._table = classes, coco_table(classes)
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
    """The labelled part of NYU Depth V2: 1,449 rooms with depth, and with 40 or 13 classes where these are asked for.

    Standard split of splits.mat: 795 for training, 654 for tests ("val" here). The 894 labels become 40 classes by
    classMapping40.mat (Gupta et al. 2013), and these 13 by class13Mapping.mat (Couprie et al. 2013).
    """

    def __init__(self, folder: Path, split: str, classes: int = 0) -> None:
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
        self.classes = classes if classes in (13, 40) else 0
        self._table = _nyu_table(folder, self.classes) if self.classes else None

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> Sample:
        row = int(self._rows[index])
        image = np.ascontiguousarray(self._file["images"][row].transpose(2, 1, 0))  # stored as (3, W, H)
        labels = None if self._table is None else self._table[np.ascontiguousarray(self._file["labels"][row].T)]
        return Sample(image, labels, np.ascontiguousarray(self._file["depths"][row].T, np.float32))


def _nyu_table(folder: Path, classes: int) -> np.ndarray:
    """Table (895,) from NYU's labels, 0 for none, to classes from 0 on."""
    to_40 = _mapping(folder / "classMapping40.mat", 894)
    to_13 = _mapping(folder / "class13Mapping.mat", 40) if classes == 13 else np.arange(1, 41)
    table = np.full(895, IGNORED, np.uint8)
    table[1:] = np.concatenate([[0], to_13])[to_40] - 1  # 0 wraps to 255
    return table


def _mapping(path: Path, count: int) -> np.ndarray:
    """The only list of so many numbers in a file of MATLAB, whatever it is called in which structure."""
    from scipy.io import loadmat

    _need(path.is_file(), str(path), f"{path.name}, for example from https://github.com/ankurhanda/nyuv2-meta-data")

    def lists(value: object) -> list[np.ndarray]:
        if isinstance(value, dict):
            return [found for part in value.values() for found in lists(part)]
        if isinstance(value, np.ndarray) and value.dtype.kind in "uif" and value.size == count:
            return [value.ravel().astype(int)]
        return []

    found = lists(loadmat(path, simplify_cells=True))
    if len(found) != 1:
        raise DataError(f"{path}: {len(found)} lists of {count} numbers, one is needed")
    return found[0]


class SceneParse:
    """MIT's Scene Parse 150: 150 classes of ADE20K, label 0 ignored."""

    classes = 150

    def __init__(self, folder: Path, split: str) -> None:
        part = {"train": "training", "val": "validation"}.get(split, split)
        self._maps = sorted((folder / "annotations" / part).glob("*.png"))
        _need(
            self._maps,
            f"{folder}/annotations/{part}/*.png",
            "ADEChallengeData2016.zip (http://data.csail.mit.edu/places/ADEchallenge/ADEChallengeData2016.zip)",
        )
        self.items = [folder / "images" / part / f"{path.stem}.jpg" for path in self._maps]
        self._table = np.append(np.uint8(IGNORED), np.arange(255, dtype=np.uint8))

    def __len__(self) -> int:
        return len(self._maps)

    def __getitem__(self, index: int) -> Sample:
        return Sample(read_rgb(self.items[index]), _read_labels(self._maps[index], self._table, self.classes))


class LabelledFolder:
    """FOLDER/images/SPLIT with labels/SPLIT or depth/SPLIT beside it, such as `training.data.pseudo_labels` writes.

    labels hold 8-bit classes, 255 for none; depth 16 bits, relative, 0 where it is not known. Photographs without
    either are left out.
    """

    def __init__(self, folder: Path, split: str, classes: int) -> None:
        self.classes, self._folder = classes, folder
        self._photos = folder / "images" / split
        there = list_images(self._photos) if self._photos.is_dir() else []
        self.items = [path for path in there if any(self._place(kind, path).is_file() for kind in ("labels", "depth"))]
        self._table = np.arange(256, dtype=np.uint8)
        if not self.items:
            raise DataError(
                f"{self._photos}: no photographs with maps of their name in {folder}/labels/{split} or"
                f" {folder}/depth/{split}; `python -m training.data.pseudo_labels` makes such maps"
            )

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Sample:
        path = self.items[index]
        image = read_rgb(path)
        labels, depth = (self._place(kind, path) for kind in ("labels", "depth"))
        sample = Sample(
            image,
            _read_labels(labels, self._table, self.classes) if labels.is_file() else None,
            _read_relative(depth) if depth.is_file() else None,
        )
        for of, found in ((labels, sample.labels), (depth, sample.depth)):
            if found is not None and found.shape != image.shape[:2]:
                raise DataError(f"{of}: {found.shape[::-1]} px, its photograph has {image.shape[1::-1]}")
        return sample

    def _place(self, kind: str, photo: Path) -> Path:
        return (self._folder / kind / photo.relative_to(self._folder / "images")).with_suffix(".png")


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


def _read_relative(path: Path) -> np.ndarray:
    """Map (H, W) float32 0..1 of relative depth; DataError where it is none."""
    depth = read_image(path, cv2.IMREAD_UNCHANGED)
    if depth is None or depth.ndim != 2 or depth.dtype != np.uint16:
        raise DataError(f"{path}: not a 16-bit map of depth")
    return (depth / np.float32(HIGHEST)).astype(np.float32)


def _need(found: object, where: str, what: str) -> None:
    if not found:
        raise DataError(f"no {where}; download {what} and unpack it there")
