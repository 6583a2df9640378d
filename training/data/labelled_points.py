# SPDX-License-Identifier: Apache-2.0
"""Photographs with points, which `python -m training.adapt` or a corner detector found, as homographic pairs."""

from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from letvins_ros.errors import DataError
from training.data.homographies import random_homography, transfer, warp
from training.data.images import list_images, read_rgb, resize, to_tensor
from training.data.pairs import HomographyPairs, PairOptions
from training.data.photometric import change
from training.data.shapes import inside, point_map


class PointPairs(Dataset[dict[str, Tensor]]):
    """image_a, image_b (1, H, W), points_a, points_b (H, W), valid_b (H, W) and H_b_a.

    Points are an .npz beside nothing but their name: POINTS/relative/path/of/photo.npz, `pts` (N, 3) of x, y in px of
    the wanted size, and score. DataError names the command that makes them.
    """

    def __init__(self, photos: Path, points: Path, length: int, seed: int, options: PairOptions) -> None:
        self._pairs = [(p, points / p.relative_to(photos).with_suffix(".npz")) for p in list_images(photos)]
        self._pairs = [(photo, file) for photo, file in self._pairs if file.is_file()]
        if not self._pairs:
            raise DataError(f"{points}: no points; make them with `python -m training.adapt {photos} {points} WEIGHTS`")
        self._length, self._seed, self._options = length, seed, options

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        rng, o = np.random.default_rng([self._seed, index]), self._options
        photo, file = self._pairs[rng.integers(len(self._pairs))]
        with np.load(file, allow_pickle=False) as saved:
            uv = saved["pts"][:, :2].astype(float)
        view_a = resize(read_rgb(photo), o.size)
        H_b_a = random_homography(rng, o.size, o.ranges)
        view_b = warp(view_a, H_b_a, o.size)
        seen = cv2.erode(warp(np.ones(o.size, np.uint8), H_b_a, o.size, nearest=True), np.ones((7, 7), np.uint8))
        return {
            "image_a": to_tensor(change(view_a, o.looks, rng), 1),
            "image_b": to_tensor(change(view_b, o.looks, rng), 1),
            "points_a": torch.from_numpy(point_map(inside(uv, o.size), o.size)),
            "points_b": torch.from_numpy(point_map(inside(transfer(H_b_a, uv), o.size), o.size)),
            "valid_b": torch.from_numpy(seen.astype(np.float32)),
            "H_b_a": torch.from_numpy(H_b_a).float(),
        }


class CornerPairs(Dataset[dict[str, Tensor]]):
    """The same keys, of Harris' corners: a point counts as much as it is found again, see training.data.corners.

    At most one of each cell of options.corners px. No points have to be made before.
    """

    def __init__(self, photos: Path, length: int, seed: int, options: PairOptions) -> None:
        self._pairs, self._size = HomographyPairs(photos, length, seed, options), options.size

    def __len__(self) -> int:
        return len(self._pairs)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        pair = self._pairs[index]
        points = {f"points_{key}": self._map(pair.pop(f"corners_{key}")) for key in "ab"}
        return {**pair, **points, "valid_b": torch.ones(self._size)}

    def _map(self, corners: Tensor) -> Tensor:
        share, x, y = corners.flatten(1)
        points = torch.zeros(self._size)
        points[y.long(), x.long()] = share
        return points
