# SPDX-License-Identifier: Apache-2.0
"""Pairs of photographs with depth and pose, in the layout of MegaDepth and of training.data.prepare_scene."""

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from letvins_ros.errors import DataError
from letvins_ros.geometry import inverse
from training.data.images import read_rgb, to_tensor
from training.data.pair import Pair
from training.data.scene_info import SceneInfo, read_scene_info

OVERLAP = (0.1, 0.7)  # below it hardly anything is common, above it is too easy


class MegaDepthPairs(Dataset[dict[str, Tensor]]):
    """Item i of a seed is always the same pair: image_a, image_b, depth_a, depth_b, K_a, K_b, T_b_a.

    Scenes come in turn, however many pairs they have. Images keep their proportions, their longer side becomes `side`
    and black fills the square. root has what the files' paths are relative to; `scenes` is a folder of scene_info .npz,
    or a list of their stems beside one.
    """

    def __init__(self, root: Path, scenes: Path, length: int, seed: int, side: int, channels: int = 1) -> None:  # noqa: PLR0913
        self._root, self._length, self._seed, self._side, self._channels = root, length, seed, side, channels
        self._scenes = [(s, rows) for s in read_scenes(scenes) if len(rows := usable_pairs(s))]
        if not self._scenes:
            raise DataError(f"{scenes}: no pair overlaps by {OVERLAP[0]} to {OVERLAP[1]}")

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


def read_scenes(scenes: Path) -> list[SceneInfo]:
    """Scenes of a folder, or of a list of stems; DataError says where to get them."""
    if scenes.is_file():
        stems = scenes.read_text().split()
        folder = next((f for f in (scenes.parent, scenes.parent.parent / "scene_info") if any(f.glob("*.npz"))), scenes)
        files = [folder / f"{stem}.npz" for stem in stems]
    else:
        files = sorted(scenes.glob("*.npz"))
    if not files:
        raise DataError(
            f"{scenes}: no scene_info .npz; make your own with `python -m training.data.prepare_scene`, or unpack"
            " megadepth_indices of https://github.com/zju3dv/LoFTR and MegaDepth v1 (https://www.cs.cornell.edu/"
            "projects/megadepth) there"
        )
    return [read_scene_info(file) for file in files]


def usable_pairs(scene: SceneInfo) -> np.ndarray:
    """Rows of pairs that overlap enough but not too much, and whose images and depths are there."""
    enough = (scene.overlaps >= OVERLAP[0]) & (scene.overlaps <= OVERLAP[1])
    there = np.array(
        [p is not None and d is not None for p, d in zip(scene.image_paths, scene.depth_paths, strict=True)]
    )
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
    """Write what `read_depth` reads, whole or not at all."""
    import h5py

    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    with h5py.File(part, "w") as file:
        file.create_dataset("depth", data=depth.astype(np.float32), compression="gzip")
    part.replace(path)


def scale_K(K: np.ndarray, scale: float) -> np.ndarray:
    """Intrinsics of an image resized by a factor."""
    return np.asarray(np.diag([scale, scale, 1.0]) @ K)


def scene_pairs(root: Path, scenes: Path, side: int, count: int) -> Iterator[Pair]:
    """First `count` usable pairs for the evaluation of poses, the longer side resized."""
    found = [(s, r) for s in read_scenes(scenes) for r in usable_pairs(s)][:count]
    for scene, row in found:
        ends = []
        for number in scene.pairs[row]:
            image = read_rgb(root / str(scene.image_paths[number]))
            scale = side / max(image.shape[:2])
            ends.append((cv2.resize(image, None, fx=scale, fy=scale), scale_K(scene.intrinsics[number], scale)))
        i, j = scene.pairs[row]
        T_b_a = scene.poses[j] @ inverse(scene.poses[i])
        yield Pair(f"{i}_{j}_{row}", ends[0][0], ends[1][0], None, ends[0][1], ends[1][1], T_b_a)


def _square(image: np.ndarray, side: int, way: int) -> tuple[np.ndarray, float]:
    scale = side / max(image.shape[:2])
    small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=way)[:side, :side]
    padded = np.zeros((side, side, *image.shape[2:]), image.dtype)
    padded[: small.shape[0], : small.shape[1]] = small
    return padded, scale
