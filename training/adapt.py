# SPDX-License-Identifier: Apache-2.0
"""`python -m training.adapt PHOTOS OUT MODEL`: points of photographs by homographic adaptation (DeTone et al. 2018).

The detector sees each photograph turned, scaled and stretched in many ways; what it finds again and again are its
points. They are the labels that SuperPoint learns from. Photographs are shared among workers; one that has its points
already is left out.
"""

import os
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated

import cv2
import numpy as np
import torch
import typer
from rich.progress import track

from letvins_ros.errors import DataError, LetvinsError
from letvins_ros.processes import end_with_parent
from letvins_ros.writing import atomic_path, write_atomic
from training.data.homographies import random_affine
from training.data.images import list_images, read_rgb, resize
from training.data.shapes import point_map
from training.drawing import detections
from training.features import maxima, open_extractor, refine

Detector = Callable[[np.ndarray], np.ndarray]  # points (N, 2) px of an RGB image (H, W, 3) uint8, the strongest first

_PIXELS = 256  # of a view, for each of its points
_SPREAD_PX = 1.0  # of a point's place from view to view
_BORDER = 4  # px of a view whose points do not count
_LARGEST = 1.25  # side of a view, as a share of the photograph's longer one


@dataclass(frozen=True)
class How:
    """See the options."""

    model: str
    views: int
    size: tuple[int, int]  # height, width
    threshold: float
    top_k: int
    device: str
    pictures: bool


def repeats(image: np.ndarray, detect: Detector, views: int, rng: np.random.Generator) -> np.ndarray:
    """Share (H, W) float32 of views of an RGB image in which a pixel is among the strongest points.

    The first view is the image itself. A view that shows it smaller counts less, by its area there, as it places points
    less well.
    """
    size = (image.shape[0], image.shape[1])
    total, seen = np.zeros(size, np.float32), np.zeros(size, np.float32)
    for i in range(views):
        M, (height, width) = _view(rng, size) if i else (np.eye(2, 3), size)
        area = abs(np.linalg.det(M[:, :2]))
        smooth = cv2.GaussianBlur(image, (0, 0), 0.5 / np.sqrt(area)) if area < 0.64 else image
        view = cv2.warpAffine(smooth, M, (width, height), borderMode=cv2.BORDER_REFLECT_101)
        inner = np.zeros((height, width), np.float32)
        inner[_BORDER:-_BORDER, _BORDER:-_BORDER] = area
        back = cv2.invertAffineTransform(M)
        total += cv2.warpAffine(inner * _spots(detect(view), (height, width)), back, size[::-1])
        seen += cv2.warpAffine(inner, back, size[::-1])
    return np.asarray(total / np.maximum(seen, 1e-6), np.float32)


def find_points(share: np.ndarray, threshold: float, top_k: int) -> np.ndarray:
    """Points (N, 3) of a map (H, W): x, y px to a fraction of a pixel and its value, the highest first."""
    tensor = torch.from_numpy(share)
    uv, score = maxima(tensor, 2, threshold)
    order = score.argsort(descending=True)[:top_k]
    found = torch.cat([refine(tensor, uv[order])[0], score[order, None]], dim=1)
    return np.asarray(found.numpy(), np.float32)


def _view(rng: np.random.Generator, size: tuple[int, int]) -> tuple[np.ndarray, tuple[int, int]]:
    """M (2, 3) and size: turned anyhow, scaled by 0.4 to 1.5, stretched along some direction, about the centre."""
    A = random_affine(rng, np.pi, (0.4, 1.5), 0.2)
    whole = np.array(size[::-1])
    reach = np.minimum(np.abs(A) @ whole, _LARGEST * whole.max())
    width, height = (int(16 * np.ceil(side / 16)) for side in reach)
    return np.column_stack([A, np.array([width, height]) / 2 - A @ (whole / 2)]), (height, width)


def _spots(uv: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(H, W) with a soft spot of height 1 at each of the strongest points."""
    some = point_map(uv[: max(1, size[0] * size[1] // _PIXELS)], size)
    return np.asarray(cv2.GaussianBlur(some, (0, 0), _SPREAD_PX) * np.float32(2 * np.pi * _SPREAD_PX**2))


def main(  # noqa: PLR0913  each is an option
    photos: Annotated[Path, typer.Argument(help="any tree of images")],
    out: Annotated[Path, typer.Argument(help="folder for the points")],
    model: Annotated[str, typer.Argument(help="superpoint=WEIGHTS (MagicPoint's too), kp2dtiny=WEIGHTS, orb ...")],
    views: Annotated[int, typer.Option(help="of each photograph")] = 100,
    height: Annotated[int, typer.Option(help="px that photographs are resized to")] = 240,
    width: Annotated[int, typer.Option()] = 320,
    threshold: Annotated[float, typer.Option(help="least share of views")] = 0.05,
    top_k: Annotated[int, typer.Option()] = 1000,
    workers: Annotated[int, typer.Option(help="processes")] = 1,
    device: Annotated[str, typer.Option(help="of torch, such as cuda")] = "cpu",
    only: Annotated[
        Path | None, typer.Option("--list", help="file with folders or photographs of PHOTOS, a line each")
    ] = None,
    pictures: Annotated[bool, typer.Option(help="write photographs with their points beside these, too")] = False,
) -> None:
    """Write OUT/relative/path.npz: `pts` (N, 3) of x, y in px and share of views; `size`, height and width."""
    todo = [p for p in _photographs(photos, only) if not _place(p, photos, out).is_file()]
    shards = [todo[i::workers] for i in range(workers)]
    how = How(model, views, (height, width), threshold, top_k, device, pictures)
    jobs = [(shard, photos, out, how) for shard in shards]
    if workers == 1:
        _work(*jobs[0])
        return
    spawn = get_context("spawn")  # torch does not survive a fork
    with ProcessPoolExecutor(workers, spawn, end_with_parent, (os.getpid(),)) as pool:
        try:
            list(pool.map(_work, *zip(*jobs, strict=True)))
        except BrokenProcessPool as error:
            raise LetvinsError("a worker was killed; the same command again goes on where it was") from error


def _photographs(photos: Path, only: Path | None) -> list[Path]:
    """All of a tree, or those that a list names, itself or by a folder above them."""
    if only is None:
        return list_images(photos)
    try:
        names = {Path(line.strip()) for line in only.read_text().splitlines() if line.strip()}
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{only}: cannot be read ({error})") from error
    there = [path.relative_to(photos) for path in list_images(photos)]
    if missing := [name for name in names if not any(name in (path, *path.parents) for path in there)]:
        raise DataError(f"{only}: {len(missing)} of {len(names)} lines are no photographs of {photos}: {missing[0]}")
    return [photos / path for path in there if not names.isdisjoint((path, *path.parents))]


def _work(todo: list[Path], photos: Path, out: Path, how: How) -> None:
    extract = open_extractor(how.model, how.device)
    for path in track(todo, description="adapting", transient=True):
        gray = cv2.cvtColor(resize(read_rgb(path), how.size), cv2.COLOR_RGB2GRAY)
        image = cv2.cvtColor(gray, cv2.COLOR_GRAY2RGB)
        rng = np.random.default_rng(list(path.name.encode()))  # however the photographs are shared out
        with torch.autocast(torch.device(how.device).type, torch.bfloat16):
            share = repeats(image, lambda view: extract(view).uv, how.views, rng)
        points = find_points(share, how.threshold, how.top_k)
        place = _place(path, photos, out)
        if how.pictures:
            shown = detections(image, points[:, :2])
            write_atomic(place.with_suffix(".png"), cv2.imencode(".png", shown[..., ::-1])[1].tobytes())
        with atomic_path(place) as part:
            np.savez_compressed(part, pts=points, size=how.size)


def _place(photo: Path, photos: Path, out: Path) -> Path:
    return out / photo.relative_to(photos).with_suffix(".npz")


if __name__ == "__main__":
    try:
        typer.run(main)
    except LetvinsError as error:
        sys.exit(str(error))
