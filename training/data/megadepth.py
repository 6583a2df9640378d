# SPDX-License-Identifier: Apache-2.0
"""Pairs of photographs with depth and pose, in the layout of MegaDepth and of training.data.prepare_scene."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from letvins_ros.errors import DataError
from letvins_ros.geometry import inverse
from letvins_ros.writing import atomic_path
from training.data.images import read_rgb, to_tensor
from training.data.pair import Pair
from training.data.scene_info import SceneInfo, read_scene_info

OVERLAP = (0.1, 0.7)  # below it hardly anything is common, above it is too easy


class MegaDepthPairs(Dataset[dict[str, Tensor]]):
    """Item i of a seed is always the same pair: image_a, image_b, depth_a, depth_b, K_a, K_b, T_b_a.

    Scenes come in turn, however many pairs they have. Images keep their proportions, their longer side becomes `side`
    and black fills the square. root has what the files' paths are relative to; `scenes` are scene_info files.
    """

    def __init__(  # noqa: PLR0913
        self, root: Path, scenes: Sequence[Path], length: int, seed: int, side: int, channels: int = 1
    ) -> None:
        self._root, self._length, self._seed, self._side, self._channels = root, length, seed, side, channels
        self._scenes = [(s, rows) for s in map(read_scene_info, scenes) if len(rows := usable_pairs(s))]
        if not self._scenes:
            raise DataError(
                f"{root}: no pair of {len(scenes)} scenes overlaps by {OVERLAP[0]} to {OVERLAP[1]}"
                " and has both images and depths"
            )

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        rng = np.random.default_rng([self._seed, index])
        scene, rows = self._scenes[index % len(self._scenes)]
        i, j = scene.pairs[rng.choice(rows)]
        item = {"T_b_a": torch.from_numpy(scene.poses[j] @ inverse(scene.poses[i])).float()}
        for key, number in (("a", i), ("b", j)):
            image, scale = _square(read_rgb(self._root / str(scene.image_paths[number])), self._side, cv2.INTER_AREA)
            depth, _ = _square(read_depth(self._root / str(scene.depth_paths[number])), self._side, cv2.INTER_NEAREST)
            item[f"image_{key}"] = to_tensor(image, self._channels)
            item[f"depth_{key}"] = torch.from_numpy(depth)
            item[f"K_{key}"] = torch.from_numpy(scale_K(scene.intrinsics[number], scale)).float()
        return item


def split_scenes(root: Path, split: str) -> list[Path]:
    """scene_info files of `train`, `val` or `test`, as a list of the root says; DataError where there is none.

    Lists are trainvaltest_list/SPLIT_list.txt in the root or its index/. Without a test list the val list is taken,
    as MegaDepth's is for both.
    """
    names = [split, "val"] if split == "test" else [split]
    lists = [place / f"{name}_list.txt" for name in names for place in _list_folders(root)]
    found = next((path for path in lists if path.is_file()), None)
    if found is None:
        raise DataError(
            f"{root}: no trainvaltest_list/{split}_list.txt; make your own scenes with `python -m"
            " training.data.prepare_scene`, or unpack megadepth_indices of https://github.com/zju3dv/LoFTR and"
            " MegaDepth v1 (https://www.cs.cornell.edu/projects/megadepth) there"
        )
    return listed_scenes(found)


def has_lists(root: Path) -> bool:
    """Whether a root tells its splits."""
    return any(folder.is_dir() for folder in _list_folders(root))


def all_scenes(root: Path) -> list[Path]:
    """scene_info files in folders scene_info* of a root, whatever their split."""
    return sorted(root.glob("scene_info*/*.npz"))


def listed_scenes(path: Path) -> list[Path]:
    """scene_info files that a list names by their stems, beside it or in a folder scene_info* beside its own."""
    folders = [path.parent, *sorted(path.parent.parent.glob("scene_info*"))]
    files = []
    for stem in path.read_text().split():
        name = f"{stem.removesuffix('.npz')}.npz"
        file = next((folder / name for folder in folders if (folder / name).is_file()), None)
        if file is None:
            raise DataError(f"{path}: names {stem}, but there is no {name} in {', '.join(map(str, folders))}")
        files.append(file)
    if not files:
        raise DataError(f"{path}: names no scene")
    return files


def usable_pairs(scene: SceneInfo, depth: bool = True) -> np.ndarray:
    """Rows of pairs that overlap enough but not too much, and of which the images, and depths if needed, are known."""
    enough = (scene.overlaps >= OVERLAP[0]) & (scene.overlaps <= OVERLAP[1])
    known = zip(scene.image_paths, scene.depth_paths, strict=True)
    there = np.array([p is not None and (d is not None or not depth) for p, d in known])
    return np.flatnonzero(enough & there[scene.pairs].all(axis=1)) if len(scene.pairs) else np.zeros(0, int)


def read_depth(path: Path) -> np.ndarray:
    """(H, W) float32 of the dataset `depth` of an .h5 file, 0 where unknown."""
    import h5py

    try:
        with h5py.File(path, "r") as file:
            return np.asarray(file["depth"], np.float32)
    except (OSError, KeyError) as error:
        raise DataError(f"{path}: no depth ({error})") from error


def write_depth(path: Path, depth: np.ndarray) -> None:
    """Write what `read_depth` reads, complete or not at all."""
    import h5py

    with atomic_path(path) as part, h5py.File(part, "w") as file:
        file.create_dataset("depth", data=depth.astype(np.float32), compression="gzip")


def scale_K(K: np.ndarray, scale: float) -> np.ndarray:
    """Intrinsics of an image resized by a factor."""
    return np.asarray(np.diag([scale, scale, 1.0]) @ K)


def scene_pairs(root: Path, scenes: Sequence[Path], side: int, count: int) -> Iterator[Pair]:
    """First `count` pairs for the evaluation of poses, the longer side resized; depth is not needed."""
    read = [(path.stem, read_scene_info(path)) for path in scenes]
    found = [(stem, scene, row) for stem, scene in read for row in usable_pairs(scene, depth=False)][:count]
    for stem, scene, row in found:
        ends = []
        for number in scene.pairs[row]:
            image = read_rgb(root / str(scene.image_paths[number]))
            scale = side / max(image.shape[:2])
            ends.append((cv2.resize(image, None, fx=scale, fy=scale), scale_K(scene.intrinsics[number], scale)))
        i, j = scene.pairs[row]
        T_b_a = scene.poses[j] @ inverse(scene.poses[i])
        yield Pair(f"{stem}_{i}_{j}_{row}", ends[0][0], ends[1][0], None, ends[0][1], ends[1][1], T_b_a)


def _list_folders(root: Path) -> list[Path]:
    return [folder / "trainvaltest_list" for folder in (root, root / "index")]


def _square(image: np.ndarray, side: int, way: int) -> tuple[np.ndarray, float]:
    scale = side / max(image.shape[:2])
    small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=way)[:side, :side]
    padded = np.zeros((side, side, *image.shape[2:]), image.dtype)
    padded[: small.shape[0], : small.shape[1]] = small
    return padded, scale
