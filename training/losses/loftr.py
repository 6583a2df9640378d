# SPDX-License-Identifier: Apache-2.0
"""LoFTR's supervision by true correspondences, and its losses (Sun et al. 2021, section 3.5)."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from training.data.warps import Warp

_ALPHA, _GAMMA = 0.25, 2.0


class TrueCells(NamedTuple):
    """Cells that match, and where exactly."""

    batch: Tensor  # (M,)
    i: Tensor  # (M,) cell of a
    j: Tensor  # (M,) cell of b
    uv_b: Tensor  # (M, 2) px, where i's first pixel is in b
    shape: tuple[int, int]  # cells of a, and of b

    def map(self, change: Callable[[Tensor], Tensor]) -> "TrueCells":
        """Change every tensor alike."""
        return TrueCells(change(self.batch), change(self.i), change(self.j), change(self.uv_b), self.shape)


def true_cells(  # noqa: PLR0913
    batch: int, size: tuple[int, int], cell: int, a_to_b: Warp, b_to_a: Warp, device: torch.device | str = "cpu"
) -> TrueCells:
    """Cells of both images (height, width) that are mutually nearest by the truth, occluded ones left out."""
    height, width = size[0] // cell, size[1] // cell
    rows, columns = torch.meshgrid(
        torch.arange(height, device=device), torch.arange(width, device=device), indexing="ij"
    )
    uv = (torch.stack([columns, rows], dim=-1).reshape(1, -1, 2) * float(cell)).expand(batch, -1, -1)
    (in_b, seen_a), (in_a, seen_b) = (warp(uv) for warp in (a_to_b, b_to_a))
    to_b, inside_b = _nearest(in_b, cell, (height, width))
    to_a, inside_a = _nearest(in_a, cell, (height, width))
    back = to_a.gather(1, to_b)
    mutual = (
        (back == torch.arange(height * width, device=device)) & seen_a & inside_b & (seen_b & inside_a).gather(1, to_b)
    )
    b, i = mutual.nonzero(as_tuple=True)
    return TrueCells(b, i, to_b[b, i], in_b[b, i], (height * width, height * width))


def coarse_loss(confidence: Tensor, truth: TrueCells, dense: bool) -> Tensor:
    """Focal loss (Lin et al. 2017) of the true pairs of (B, L, S), and with `dense` of all others too."""
    p = confidence.clamp(1e-6, 1 - 1e-6)
    true = p[truth.batch, truth.i, truth.j]
    right = -_ALPHA * (1 - true) ** _GAMMA * true.log()
    loss = right.mean() if len(right) else p.sum() * 0
    if not dense:
        return loss
    other = -(1 - _ALPHA) * p**_GAMMA * (1 - p).log()
    mask = torch.ones_like(p, dtype=torch.bool)
    mask[truth.batch, truth.i, truth.j] = False
    return loss + other[mask].mean()


def fine_loss(offset: Tensor, spread: Tensor, target: Tensor) -> Tensor:
    """Squared error of (M, 2) in window's halves, where the truth is within the window; the unsure count less."""
    inside = target.abs().amax(dim=1) < 1
    if not inside.any():
        return offset.sum() * 0
    weight = 1 / spread.detach().clamp(min=1e-10)
    weight = weight / weight.mean()
    return ((target - offset).square().sum(dim=1) * weight)[inside].mean()


def _nearest(uv: Tensor, cell: int, shape: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Index (B, N) of the cell whose first pixel is nearest, and whether there is one."""
    x, y = (uv / cell).round().long().unbind(dim=-1)
    inside = (x >= 0) & (x < shape[1]) & (y >= 0) & (y < shape[0])
    return y.clamp(0, shape[0] - 1) * shape[1] + x.clamp(0, shape[1] - 1), inside
