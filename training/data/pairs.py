# SPDX-License-Identifier: Apache-2.0
"""Pairs of views of a photograph under a random homography, each with its own looks."""

from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from training.data.corners import repeated_corners
from training.data.homographies import Ranges, random_homography, sharp_view
from training.data.images import list_images, read_rgb, scaling, to_tensor
from training.data.photometric import Looks, change


@dataclass(frozen=True)
class PairOptions:
    """How a pair is made."""

    size: tuple[int, int] = (240, 320)  # height, width
    channels: int = 3
    ranges: Ranges = field(default_factory=Ranges)
    looks: Looks = field(default_factory=Looks)
    looks_a: bool = True  # the first view's looks change too
    corners: int = 0  # px of a cell: also corners_a, corners_b (3, h, w), see repeated_corners
    crop: float = 1.0  # smallest share of a photograph's sides that is taken, so that details come in many sizes
    turned: bool = True  # the photograph is first mirrored, turned, scaled and shifted a little, as KP2D does


class HomographyPairs(Dataset[dict[str, Tensor]]):
    """Item i of a seed is always the same pair: image_a, image_b (C, H, W) 0..1 and H_b_a (3, 3) in pixels.

    All of b lies within a. The folder is any tree of images.
    """

    def __init__(self, folder: Path, length: int, seed: int, options: PairOptions) -> None:
        self.images = list_images(folder)
        self._length, self._seed, self.options = length, seed, options

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        rng = np.random.default_rng([self._seed, index])
        photo = read_rgb(self.images[rng.integers(len(self.images))])
        return make_pair(photo, rng, self.options)


def make_pair(photo: np.ndarray, rng: np.random.Generator, options: PairOptions) -> dict[str, Tensor]:
    """Make one pair of an RGB photograph (H, W, 3) uint8."""
    if options.crop < 1:
        photo = _part(photo, options.crop, rng)
    H_a_photo = scaling(photo.shape, options.size)
    if options.turned:
        H_a_photo = _turn(options.size, rng) @ H_a_photo
    H_b_a = random_homography(rng, options.size, options.ranges)
    view_a, view_b = (sharp_view(photo, H, options.size) for H in (H_a_photo, H_b_a @ H_a_photo))
    corners = {}
    if options.corners:
        gray = cv2.cvtColor(view_a, cv2.COLOR_RGB2GRAY).astype(np.float32)
        labels = repeated_corners(gray, H_b_a, options.corners, rng)
        corners = {f"corners_{key}": torch.from_numpy(x) for key, x in zip("ab", labels, strict=True)}
    view_b = change(view_b, options.looks, rng)
    if options.looks_a:
        view_a = change(view_a, options.looks, rng)
    return {
        **corners,
        "image_a": to_tensor(view_a, options.channels),
        "image_b": to_tensor(view_b, options.channels),
        "H_b_a": torch.from_numpy(H_b_a).float(),
    }


def _part(photo: np.ndarray, smallest: float, rng: np.random.Generator) -> np.ndarray:
    """A part that has between `smallest` and all of the sides, anywhere."""
    whole = np.array(photo.shape[:2])
    size = np.rint(whole * np.exp(rng.uniform(np.log(smallest), 0))).astype(int)
    top, left = rng.integers(whole - size + 1)
    return photo[top : top + size[0], left : left + size[1]]


def _turn(size: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """H (3, 3): mirrored at random, turned up to 15 degrees, scaled by 0.9 to 1.1, shifted by up to a tenth."""
    height, width = size
    mirror = np.eye(3)
    for axis, length in enumerate((width, height)):
        if rng.random() < 0.5:
            mirror[axis, axis], mirror[axis, 2] = -1, length - 1
    M = cv2.getRotationMatrix2D((width / 2, height / 2), rng.uniform(-15, 15), rng.uniform(0.9, 1.1))
    M[:, 2] += rng.uniform(-0.1, 0.1, 2) * np.array([width, height])
    return np.vstack([M, [0, 0, 1]]) @ mirror
