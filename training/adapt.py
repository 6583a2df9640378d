# SPDX-License-Identifier: Apache-2.0
"""`python -m training.adapt PHOTOS OUT WEIGHTS`: points of photographs by homographic adaptation (DeTone et al. 2018).

The detector sees each photograph in many views, turned and scaled; what it finds again and again are its points. They
are the labels that SuperPoint learns from. Photographs are shared among workers; one that has its points already is
left out.
"""

import sys
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from rich.progress import track
from torch import Tensor, nn
from torch.nn import functional

from letvins_ros import networks
from letvins_ros.errors import LetvinsError
from letvins_ros.networks.superpoint import heat_map
from training.data.homographies import random_affine
from training.data.images import list_images, read_rgb, resize, to_tensor
from training.features import maxima, refine

_SCALES = 0.4, 1.5  # of the views
_AT_ONCE = 10  # views
_SPREAD_PX = 1.0  # of heat, so that a point is not missed between the pixels of a larger view


def random_views(rng: np.random.Generator, size: tuple[int, int], count: int) -> Tensor:
    """H_view_image (count, 3, 3) float32 of the image itself and of views of it, turned and scaled anyhow."""
    views = [np.eye(3), *(random_affine(rng, size, _SCALES, np.pi) for _ in range(count - 1))]
    return torch.from_numpy(np.stack(views)).float()


@torch.no_grad()
def adapted_heat(network: nn.Module, gray: Tensor, H_view_image: Tensor) -> Tensor:
    """Mean heat (H, W) of a gray image (1, H, W) in 0..1 over its affine views (K, 3, 3).

    A point counts alike in views of all scales: what it loses in height where it is drawn apart, its area gives back.
    """
    size = (gray.shape[-2], gray.shape[-1])
    total = gray.new_zeros(2, *size)  # of heat, and of views that show the pixel
    for views in H_view_image.split(_AT_ONCE):
        seen = resample(gray.expand(len(views), 1, *size), torch.linalg.inv(views), "reflection")
        heat = _spread(heat_map(network(seen).logits)[:, None])
        back = resample(torch.cat([heat, torch.ones_like(heat)], dim=1), views)
        back[:, 0] *= torch.linalg.det(views)[:, None, None]
        total += back.sum(dim=0)
    return total[0] / total[1].clamp(min=1e-6)


def _spread(heat: Tensor) -> Tensor:
    """Blur (B, 1, H, W) by a Gaussian of height 1, which leaves a point that fills its pixel as high as it is."""
    axis = torch.arange(-3.0, 4.0, device=heat.device)
    kernel = torch.exp(-(axis**2) / (2 * _SPREAD_PX**2)).reshape(1, 1, 1, -1)
    return functional.conv2d(functional.conv2d(heat, kernel, padding=(0, 3)), kernel.transpose(2, 3), padding=(3, 0))


def resample(x: Tensor, A_x_y: Tensor, beyond: str = "zeros") -> Tensor:
    """(B, C, H, W) as seen in y, of the same size: read bilinearly where the affine (B, 3, 3) takes y's pixels to."""
    height, width = x.shape[-2:]
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    uv = torch.stack([columns, rows, torch.ones_like(rows)], dim=-1).flatten(0, 1).to(A_x_y)
    grid = (uv @ A_x_y.transpose(1, 2))[..., :2] * A_x_y.new_tensor([2 / (width - 1), 2 / (height - 1)]) - 1
    return functional.grid_sample(x, grid.unflatten(1, (height, width)), align_corners=True, padding_mode=beyond)


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
        gray = to_tensor(resize(read_rgb(path), (height, width)), 1).to(device)
        rng = np.random.default_rng(list(path.name.encode()))  # however the photographs are shared out
        views = random_views(rng, (height, width), count).to(device)
        points = find_points(adapted_heat(network, gray, views), threshold, top_k)
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
