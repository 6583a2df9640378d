# SPDX-License-Identifier: Apache-2.0
"""`python -m training.adapt PHOTOS OUT WEIGHTS`: points of photographs by homographic adaptation (DeTone et al. 2018).

The detector sees each photograph in many views; what it finds again and again are its points. They are the labels that
SuperPoint learns from. Photographs are shared among workers; one that has its points already is left out.
"""

import sys
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from rich.progress import track
from torch import Tensor

from letvins_ros import networks
from letvins_ros.errors import LetvinsError
from training.adaptation import adapted_heat, random_views
from training.data.images import list_images, read_rgb, resize, to_tensor
from training.features import maxima, refine


def find_points(heat: Tensor, threshold: float, top_k: int) -> np.ndarray:
    """Points (N, 3) of heat (H, W): x, y px to a fraction of a pixel and score, the strongest first."""
    uv, score = maxima(heat, 4, threshold)
    order = score.argsort(descending=True)[:top_k]
    found = torch.cat([refine(heat, uv[order]), score[order, None]], dim=1)
    return np.asarray(found.cpu().numpy(), np.float32)


def main(  # noqa: PLR0913  each is an option
    photos: Annotated[Path, typer.Argument(help="any tree of images")],
    out: Annotated[Path, typer.Argument(help="folder for the points")],
    weights: Annotated[Path, typer.Argument(help="of MagicPoint or SuperPoint")],
    count: Annotated[int, typer.Option(help="views")] = 100,
    height: Annotated[int, typer.Option(help="px that photographs are resized to")] = 240,
    width: Annotated[int, typer.Option()] = 320,
    threshold: Annotated[float, typer.Option()] = 0.015,
    top_k: Annotated[int, typer.Option()] = 600,
    workers: Annotated[int, typer.Option(help="processes")] = 1,
    device: Annotated[str, typer.Option(help="of torch, such as cuda")] = "cpu",
) -> None:
    """Write OUT/relative/path.npz with `pts` (N, 3)."""
    todo = [p for p in list_images(photos) if not _place(p, photos, out).is_file()]
    shards = [todo[i::workers] for i in range(workers)]
    jobs = [(shard, photos, out, weights, (count, height, width, threshold, top_k), device) for shard in shards]
    if workers == 1:
        _work(*jobs[0])
        return
    with get_context("spawn").Pool(workers) as pool:  # torch does not survive a fork
        pool.starmap(_work, jobs)


def _work(  # noqa: PLR0913
    todo: list[Path], photos: Path, out: Path, weights: Path, how: tuple[int, int, int, float, int], device: str
) -> None:
    count, height, width, threshold, top_k = how
    network = networks.load("superpoint", weights).to(device)
    for path in track(todo, description="adapting", transient=True):
        gray = to_tensor(resize(read_rgb(path), (height, width)), 1)[None].to(device)
        rng = np.random.default_rng(list(path.name.encode()))  # however the photographs are shared out
        views = random_views(rng, (height, width), count)[None].to(device)
        points = find_points(adapted_heat(network, gray, views)[0], threshold, top_k)
        place = _place(path, photos, out)
        place.parent.mkdir(parents=True, exist_ok=True)
        part = place.with_name(f".{place.stem}.part.npz")
        np.savez_compressed(part, pts=points)
        part.replace(place)


def _place(photo: Path, photos: Path, out: Path) -> Path:
    return out / photo.relative_to(photos).with_suffix(".npz")


if __name__ == "__main__":
    try:
        typer.run(main)
    except LetvinsError as error:
        sys.exit(str(error))
