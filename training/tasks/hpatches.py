# SPDX-License-Identifier: Apache-2.0
"""HPatches: how well keypoints come back and lead to the right homography (protocol of KP2D, Tang et al. 2020)."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np

from letvins_ros.errors import DataError
from training.data.homographies import Ranges, random_homography, transfer, warp
from training.data.images import list_images, read_rgb, resize, scaling
from training.data.pair import Pair
from training.metrics import area_under_curve, average_precision
from training.tasks.pairs import Prediction

NEAR_PX = 3.0  # keypoints that are the same, matches that are right
CORNERS_PX = (1, 3, 5)
PROTOCOLS = {"240x320, top 300": ((240, 320), 300), "480x640, top 1000": ((480, 640), 1000)}


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
    images = list_images(folder)
    for i in range(count):
        rng = np.random.default_rng([7, i])
        image = resize(read_rgb(images[i * len(images) // count]), size)
        H_b_a = random_homography(rng, size, ranges)
        yield Pair(f"p_{i}", image, warp(image, H_b_a, size), H_b_a)


def pair_figures(pair: Pair, prediction: Prediction) -> dict[str, float]:
    """Figures of one pair; NaN where there is nothing to measure."""
    H_b_a = pair.H_b_a
    if H_b_a is None:
        raise ValueError(f"{pair.name} has no homography")
    H_a_b = np.linalg.inv(H_b_a)
    a_in_b, b_in_a = transfer(H_b_a, prediction.uv_a), transfer(H_a_b, prediction.uv_b)
    nearest = np.concatenate([_nearest(a_in_b, prediction.uv_b), _nearest(b_in_a, prediction.uv_a)])
    near = nearest <= NEAR_PX
    right_forward = _distance(prediction.forward, a_in_b) < NEAR_PX
    right_backward = _distance(prediction.backward, b_in_a) < NEAR_PX
    right = _distance(transfer(H_b_a, prediction.matches[:, :2]), prediction.matches[:, 2:]) < NEAR_PX
    return {
        "repeatability": float(near.mean()) if len(near) else 0.0,
        "localisation": float(nearest[near].mean()) if near.any() else np.nan,
        "corner_error": corner_error(prediction.matches, H_b_a, pair.image_a.shape),
        "matching": float(np.mean([x.mean() if len(x) else 0.0 for x in (right_forward, right_backward)])),
        "precision": average_precision(prediction.confidence, right),
        "matches": float(len(right)),
    }


def summary(rows: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """Means over pairs: rep, loc, C1, C3, C5, MScore, mAP, AUC of the corner error and the number of matches."""
    if not rows:
        raise DataError("no pairs")
    column = {key: np.array([row[key] for row in rows.values()]) for key in next(iter(rows.values()))}
    errors = column["corner_error"]
    located = column["localisation"][np.isfinite(column["localisation"])]
    return {
        "Rep": float(column["repeatability"].mean()),
        "Loc": float(located.mean()) if len(located) else np.nan,
        **{f"C{px}": float(np.mean(errors <= px)) for px in CORNERS_PX},
        "MScore": float(column["matching"].mean()),
        "mAP": float(column["precision"].mean()),
        **{f"AUC@{px}": area for px, area in zip(CORNERS_PX, area_under_curve(errors, CORNERS_PX), strict=True)},
        "matches": float(column["matches"].mean()),
    }


def parts(names: Sequence[str]) -> dict[str, list[str]]:
    """All pairs, and those of light and of viewpoint where there are both."""
    groups = {
        "all": list(names),
        "light": [n for n in names if n[:2] == "i_"],
        "view": [n for n in names if n[:2] == "v_"],
    }
    return {name: group for name, group in groups.items() if group}


def corner_error(matches: np.ndarray, H_b_a: np.ndarray, shape: tuple[int, ...]) -> float:
    """Mean distance of the image's corners under the homography of the matches and the true one; inf without one."""
    if len(matches) < 4:
        return np.inf
    found, _ = cv2.findHomography(matches[:, :2], matches[:, 2:], cv2.RANSAC, NEAR_PX, maxIters=5000)
    if found is None:
        return np.inf
    width, height = shape[1] - 1, shape[0] - 1
    corners = np.array([[0, 0], [width, 0], [width, height], [0, height]], float)
    error = _distance(transfer(found, corners), transfer(H_b_a, corners))
    return float(error.mean()) if np.isfinite(error).all() else np.inf


def _nearest(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    if len(a) == 0 or len(b) == 0:
        return np.full(len(a), np.inf)
    return np.asarray(np.linalg.norm(a[:, None] - b[None], axis=2).min(axis=1))


def _distance(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    distance = np.linalg.norm(a - b, axis=1)
    return np.where(np.isfinite(distance), distance, np.inf)


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
