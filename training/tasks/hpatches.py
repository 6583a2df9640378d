# SPDX-License-Identifier: Apache-2.0
"""Pairs of views whose homography is known: HPatches' layout (Balntas et al. 2017), or views of any photographs."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from letvins_ros.errors import DataError
from training.data.homographies import Ranges, random_homography, transfer, warp
from training.data.images import list_images, read_rgb, resize, scaling
from training.data.pair import Pair


def hpatches_pairs(folder: Path, size: tuple[int, int]) -> Iterator[Pair]:
    """Image 1 with each of the other five of every sequence, resized to (height, width).

    A sequence is a folder i_* (light changes) or v_* (viewpoint changes) with 1.ppm (or .jpg, .png) .. 6.ppm and
    H_1_2 .. H_1_6. DataError says where to get them.
    """
    sequences = sorted(p for p in folder.glob("[iv]_*") if p.is_dir())
    if not sequences:
        raise DataError(
            f"{folder}: no sequences i_* or v_*; unpack hpatches-sequences-release.tar.gz from"
            " https://github.com/hpatches/hpatches-dataset there"
        )
    for sequence in sequences:
        first, scale_1 = _read(sequence, 1, size)
        for i in range(2, 7):
            other, scale = _read(sequence, i, size)
            H_b_a = scale @ _homography(sequence / f"H_1_{i}") @ np.linalg.inv(scale_1)
            yield Pair(f"{sequence.name}_1_{i}", first, other, H_b_a)


def photo_pairs(folder: Path, size: tuple[int, int], count: int, ranges: Ranges) -> Iterator[Pair]:
    """Give `count` photographs of a folder, each with a view of it under a random homography."""
    return (photo_pair(folder, size, (i, count), ranges) for i in range(count))


def photo_pair(folder: Path, size: tuple[int, int], which: tuple[int, int], ranges: Ranges) -> Pair:
    """Give number i of `count` such pairs, which = (i, count)."""
    images, (i, count) = list_images(folder), which
    rng = np.random.default_rng([7, i])
    image = resize(read_rgb(images[i * len(images) // count]), size)
    H_b_a = random_homography(rng, size, ranges)
    return Pair(f"p_{i}", image, warp(image, H_b_a, size), H_b_a)


def upright(pair: Pair) -> Pair:
    """The pair with its second image turned by 0, 90, 180 or 270 degrees, whichever is nearest to how the first stands.

    Who knows gravity would turn both images so before the network sees them; here the true homography tells. Only a
    change of rows and columns, so no pixel's value changes, and distances in pixels of b stay what they are.
    """
    if pair.H_b_a is None:
        raise ValueError("which way up a pair is needs its homography")
    height, width = pair.image_a.shape[:2]
    centre = np.array([width - 1, height - 1]) / 2
    origin, x, y = transfer(pair.H_b_a, centre + np.array([[0, 0], [1, 0], [0, 1]]))
    (a, c), (b, d) = x - origin, y - origin
    turns = round(np.arctan2(c - b, a + d) / (np.pi / 2)) % 4
    H_b_a, image_b = pair.H_b_a, pair.image_b
    for _ in range(turns):  # to the left
        last = image_b.shape[1] - 1
        H_b_a = np.array([[0, 1, 0], [-1, 0, last], [0, 0, 1]]) @ H_b_a
        image_b = np.rot90(image_b)
    return replace(pair, image_b=np.ascontiguousarray(image_b), H_b_a=H_b_a)


def parts(names: Sequence[str]) -> dict[str, list[str]]:
    """All pairs, and those of light and of viewpoint where there are both."""
    groups = {
        "all": list(names),
        "light": [n for n in names if n[:2] == "i_"],
        "view": [n for n in names if n[:2] == "v_"],
    }
    return {name: group for name, group in groups.items() if group}


def _read(sequence: Path, number: int, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Image, resized, and the scaling (3, 3) that this was."""
    path = next((p for ending in ("ppm", "png", "jpg") if (p := sequence / f"{number}.{ending}").is_file()), None)
    if path is None:
        raise DataError(f"{sequence}: no {number}.ppm, .png or .jpg")
    image = read_rgb(path)
    return resize(image, size), scaling(image.shape, size)


def _homography(path: Path) -> np.ndarray:
    try:
        H = np.loadtxt(path)
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: not a homography ({error})") from error
    if H.shape != (3, 3):
        raise DataError(f"{path}: 3x3 numbers needed, got {H.shape}")
    return np.asarray(H / H[2, 2])  # some files have the sign that puts everything behind the camera
