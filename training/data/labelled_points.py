# SPDX-License-Identifier: Apache-2.0
"""Photographs with points, which `python -m training.adapt` found, as homographic pairs."""

from pathlib import Path
from zipfile import BadZipFile

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from letvins_ros.errors import DataError
from training.data.homographies import random_affine, random_homography, sharp_view, transfer, warp
from training.data.images import list_images, read_rgb, scaling, to_tensor
from training.data.pairs import PairOptions
from training.data.photometric import change
from training.data.shapes import point_map


class PointPairs(Dataset[dict[str, Tensor]]):
    """image_a, image_b (1, H, W), points_a, points_b (H, W) 0..1, valid_a, valid_b (H, W) and H_b_a.

    Points are an .npz beside nothing but their name: POINTS/relative/path/of/photo.npz, `pts` (N, 3) of x, y in px of
    a photograph of `size` (height, width), and how sure they are. View a is a part of that photograph, mirrored, turned
    and scaled a little. DataError names the command that makes them.
    """

    def __init__(self, photos: Path, points: Path, length: int, seed: int, options: PairOptions) -> None:
        self.pairs = [(p, points / p.relative_to(photos).with_suffix(".npz")) for p in list_images(photos)]
        self.pairs = [(photo, file) for photo, file in self.pairs if file.is_file()]
        if not self.pairs:
            raise DataError(f"{points}: no points; make them with `python -m training.adapt {photos} {points} MODEL`")
        self._length, self._seed, self._options = length, seed, options

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        rng, size = np.random.default_rng([self._seed, index]), self._options.size
        photo, file = self.pairs[rng.integers(len(self.pairs))]
        points, whole = _load(file)
        image, sure = read_rgb(photo), np.minimum(points[:, 2], 1)
        H_a_whole, H_b_a = _part(whole, size, rng), random_homography(rng, size, self._options.ranges)
        item: dict[str, Tensor] = {"H_b_a": torch.from_numpy(H_b_a).float()}
        for key, H in (("a", H_a_whole), ("b", H_b_a @ H_a_whole)):
            view = sharp_view(image, H @ scaling(image.shape, whole), size)
            seen = cv2.erode(warp(np.ones(whole, np.uint8), H, size, nearest=True), np.ones((7, 7), np.uint8))
            item[f"image_{key}"] = to_tensor(change(view, self._options.looks, rng), 1)
            item[f"points_{key}"] = torch.from_numpy(point_map(transfer(H, points[:, :2]), size, sure))
            item[f"valid_{key}"] = torch.from_numpy(seen.astype(np.float32))
        return item


def _load(file: Path) -> tuple[np.ndarray, tuple[int, int]]:
    """Points (N, 3) and the size (height, width) that they belong to."""
    try:
        with np.load(file, allow_pickle=False) as saved:
            height, width = saved["size"].tolist()
            return saved["pts"].astype(float), (height, width)
    except (OSError, ValueError, KeyError, BadZipFile) as error:
        raise DataError(f"{file}: not points of this `python -m training.adapt` ({error})") from error


def _part(whole: tuple[int, int], size: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """H (3, 3) from a photograph to a view of it: mirrored, turned by up to 30 degrees, scaled by 0.55 to 1.1."""
    A = random_affine(rng, np.pi / 6, (0.55, 1.1), 0.0)
    view, photo = np.array(size[::-1]), np.array(whole[::-1])
    margin = np.minimum(view / (2 * np.linalg.norm(A[0])), photo / 2)
    A[:, 0] *= rng.choice([-1, 1])
    H = np.eye(3)
    H[:2, :2] = A
    H[:2, 2] = view / 2 - A @ rng.uniform(margin, photo - margin)
    return H
