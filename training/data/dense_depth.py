# SPDX-License-Identifier: Apache-2.0
"""Depth of every pixel in the unit of a reconstruction: from stereo, a monocular guess, or the points alone."""

from pathlib import Path

import cv2
import numpy as np
from scipy.interpolate import LinearNDInterpolator
from scipy.ndimage import distance_transform_edt

from letvins_ros.errors import DataError
from letvins_ros.image_files import read_image
from letvins_ros.reading import read_array
from training.data.colmap import View, read_depth_map

_FEWEST = 20  # points of an image
_REACH_PX = 24  # from the nearest point, within which a depth between points is believed
_CUT_PERCENT = 5.0  # of stereo's smallest and largest depths


def from_stereo(folder: Path, view: View) -> np.ndarray | None:
    """Depth map of COLMAP's patch_match_stereo, which needs a GPU, without outliers; None where there is none."""
    for kind in ("geometric", "photometric"):
        path = folder / "stereo" / "depth_maps" / f"{view.name}.{kind}.bin"
        if path.is_file():
            depth = read_depth_map(path)
            known = depth > 0
            if not known.any():
                return None
            low, high = np.percentile(depth[known], [_CUT_PERCENT, 100 - _CUT_PERCENT])
            return np.where((depth >= low) & (depth <= high), depth, 0).astype(np.float32)
    return None


def from_monocular(folder: Path, view: View, size: tuple[int, int]) -> np.ndarray | None:
    """Relative inverse depth of a model, FOLDER/name.png (16 bit) or .npy, scaled and shifted to the points.

    The fit 1 / depth = a m + b has the least absolute error, by reweighting, so that edges do not pull it.
    """
    guess = _read_guess(folder / Path(view.name).with_suffix(""))
    if guess is None or len(view.uv) < _FEWEST:
        return None
    guess = cv2.resize(guess, size[::-1], interpolation=cv2.INTER_LINEAR)
    columns, rows = np.clip(np.rint(view.uv).astype(int).T, 0, np.array([[size[1] - 1], [size[0] - 1]]))
    m, inverse = guess[rows, columns], 1 / view.depth
    use = view.depth > 0
    weight = np.ones(len(m))
    for _ in range(20):
        a, b = np.polyfit(m[use], inverse[use], 1, w=weight[use])
        off = np.abs(a * m + b - inverse)
        weight = 1 / np.sqrt(off + 1e-3 * np.median(inverse[use]))
    found = a * guess + b
    return np.where(found > inverse[view.depth > 0].min() / 4, 1 / np.maximum(found, 1e-9), 0).astype(np.float32)


def from_points(view: View, size: tuple[int, int]) -> np.ndarray | None:
    """Interpolate inverse depth between the points, which is exact on planes; unknown far from any of them."""
    good = view.depth > 0
    if good.sum() < _FEWEST:
        return None
    height, width = size
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    inverse = LinearNDInterpolator(view.uv[good], 1 / view.depth[good], fill_value=0.0)(x, y)
    empty = np.ones(size, bool)
    columns, rows = np.clip(np.rint(view.uv[good]).astype(int).T, 0, np.array([[width - 1], [height - 1]]))
    empty[rows, columns] = False
    near = distance_transform_edt(empty) <= _REACH_PX
    known = near & (inverse > 0)
    return np.where(known, 1 / np.where(known, inverse, 1), 0).astype(np.float32)


def _read_guess(stem: Path) -> np.ndarray | None:
    for path in (stem.with_suffix(".npy"), stem.with_suffix(".png")):
        if path.is_file():
            guess = read_array(path) if path.suffix == ".npy" else read_image(path, cv2.IMREAD_UNCHANGED)
            if guess is None or guess.ndim != 2:
                raise DataError(f"{path}: one number per pixel is needed")
            return np.asarray(guess, np.float32)
    return None
