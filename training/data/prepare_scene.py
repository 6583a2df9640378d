# SPDX-License-Identifier: Apache-2.0
"""`python -m training.data.prepare_scene PHOTOS OUT`: own photographs as a scene that LoFTR can be trained on.

With --model nothing is matched: it is COLMAP's undistorted folder (images/, sparse/), or a model of PHOTOS as they are.

OUT gets Undistorted_SfM/SCENE (COLMAP's images and model), depths/SCENE/*.h5, scene_info/SCENE_{train,val,test}.npz and
trainvaltest_list/*.txt. Depth comes from COLMAP's stereo where its maps are there, from relative depth of any monocular
model where its folder is given, else from the points themselves.
"""

import os.path
import sys
from itertools import combinations
from pathlib import Path
from typing import Annotated

import cv2
import numpy as np
import typer
from rich.console import Console

from letvins_ros.errors import DataError, LetvinsError
from letvins_ros.image_files import read_image
from letvins_ros.writing import write_atomic
from training.data.colmap import View, is_distorted, largest_model, overlap, read_model
from training.data.dense_depth import from_monocular, from_points, from_stereo
from training.data.images import list_images
from training.data.megadepth import OVERLAP, write_depth
from training.data.reconstruct import Way, reconstruct
from training.data.scene_info import SceneInfo, write_scene_info

SPLITS = {"train": 0.8, "val": 0.1, "test": 0.1}


def main(  # noqa: PLR0913  each is an option
    photos: Annotated[Path, typer.Argument(help="folder of photographs")],
    out: Annotated[Path, typer.Argument(help="root of the scenes; several may share one")],
    scene: Annotated[str, typer.Option(help="name; the folder's if not given")] = "",
    model: Annotated[Path | None, typer.Option(help="COLMAP's folder made before, undistorted or not")] = None,
    resize: Annotated[int, typer.Option(help="px of the longer side of undistorted images, 0: as they are")] = 0,
    monocular: Annotated[Path | None, typer.Option(help="folder of relative inverse depth, NAME.png or .npy")] = None,
) -> None:
    """Make a scene."""
    name = scene or photos.name
    if model and (model / "images").is_dir() and not is_distorted(largest_model(model)):
        undistorted = model
    else:
        undistorted = reconstruct(photos, out / "Undistorted_SfM" / name, Way(model and largest_model(model), resize))
    counts = prepare(undistorted, out, name, monocular)
    Console().print("  ".join(f"{split} {count} pairs" for split, count in counts.items()))
    joined, there = len(list_images(undistorted / "images")), len(list_images(photos))
    if joined < there:
        Console().print(f"{joined} of {there} photographs could be joined")


def prepare(undistorted: Path, out: Path, name: str, monocular: Path | None = None, seed: int = 2024) -> dict[str, int]:
    """Write depths, scene_info and lists of an undistorted model; return the number of pairs in each split."""
    views = read_model(largest_model(undistorted))
    images: list[str | None] = [_relative(undistorted / "images" / view.name, out) for view in views]
    depths = [_write_depth(undistorted, out, name, view, monocular) for view in views]
    pairs = [(i, j, overlap(views[i], views[j])) for i, j in combinations(range(len(views)), 2)]
    pairs = [pair for pair in pairs if OVERLAP[0] <= pair[2] <= OVERLAP[1] and depths[pair[0]] and depths[pair[1]]]
    if not pairs:
        raise DataError(f"{undistorted}: no two of {len(views)} images overlap by {OVERLAP[0]} to {OVERLAP[1]}")
    order = np.random.default_rng(seed).permutation(len(pairs))
    ends = np.cumsum([round(share * len(pairs)) for share in list(SPLITS.values())[:-1]])
    counts = {}
    for split, rows in zip(SPLITS, np.split(order, ends), strict=True):
        chosen = [pairs[row] for row in rows]
        info = SceneInfo(
            images,
            depths,
            np.stack([view.K for view in views]),
            np.stack([view.T_cam_world for view in views]),
            np.array([pair[:2] for pair in chosen], np.int64).reshape(-1, 2),
            np.array([pair[2] for pair in chosen]),
        )
        write_scene_info(out / "scene_info" / f"{name}_{split}.npz", info)
        _add_to_list(out / "trainvaltest_list" / f"{split}_list.txt", f"{name}_{split}")
        counts[split] = len(chosen)
    return counts


def _write_depth(undistorted: Path, out: Path, name: str, view: View, monocular: Path | None) -> str | None:
    image = read_image(undistorted / "images" / view.name, cv2.IMREAD_COLOR)
    if image is None:
        raise DataError(f"{undistorted / 'images' / view.name}: not a readable image")
    size = (image.shape[0], image.shape[1])
    depth = from_stereo(undistorted, view)
    if depth is None:
        depth = from_points(view, size) if monocular is None else from_monocular(monocular, view, size)
    if depth is None:
        return None
    path = out / "depths" / name / Path(view.name).with_suffix(".h5")
    write_depth(path, depth)
    return _relative(path, out)


def _relative(path: Path, root: Path) -> str:
    return os.path.relpath(path, root)


def _add_to_list(path: Path, stem: str) -> None:
    stems = path.read_text().split() if path.is_file() else []
    write_atomic(path, "\n".join(dict.fromkeys([*stems, stem])) + "\n")


if __name__ == "__main__":
    try:
        typer.run(main)
    except LetvinsError as error:
        sys.exit(str(error))
