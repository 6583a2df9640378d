# SPDX-License-Identifier: Apache-2.0
"""How SuperPoint learns: the detector from given points, descriptors from homographies (DeTone et al. 2018)."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from training.losses.kp2d import transfer

CELL = 8
_NO_POINT = 64  # the class of cells without one
_FEWEST = 1e-6


@dataclass(frozen=True)
class DescriptorOptions:
    """Of both descriptor losses."""

    matches: int = 1000  # sparse: cells that are sampled from each pair
    non_matches: int = 100  # sparse: per match
    positive_margin: float = 1.0
    negative_margin: float = 0.2
    positive_weight: float = 800.0  # dense: as there are so few
    near_px: float = 7.5  # dense: distance of centres of cells that match


def labels(points: Tensor) -> Tensor:
    """Class (B, H/8, W/8) of each cell: the pixel of its point, or 64; of several points the first one."""
    cells = functional.pixel_unshuffle(points[:, None], CELL)
    return torch.cat([2 * cells, torch.ones_like(cells[:, :1])], dim=1).argmax(dim=1)


def detector(logits: Tensor, points: Tensor, valid: Tensor) -> Tensor:
    """Cross entropy of (B, 65, h, w) with points (B, H, W), over cells all of whose pixels are valid (B, H, W)."""
    known = functional.pixel_unshuffle(valid[:, None], CELL).amin(dim=1)
    loss = functional.cross_entropy(logits, labels(points), reduction="none")
    return (loss * known).sum() / known.sum().clamp(min=1)


def sparse_descriptor(a: Tensor, b: Tensor, H_b_a: Tensor, options: DescriptorOptions) -> Tensor:
    """Cosine distance of sampled matches plus hinge of sampled non-matches, of unit descriptors (B, D, h, w)."""
    height, width = a.shape[-2:]
    centres = _centres(height, width).to(a)
    losses = []
    for one_a, one_b, H in zip(a, b, H_b_a, strict=True):
        there = transfer(H[None], centres[None])[0]
        cells = (there - (CELL - 1) / 2) / CELL
        seen = ((cells > -0.5) & (cells < cells.new_tensor([width, height]) - 0.5)).all(dim=1).nonzero()[:, 0]
        if not len(seen):
            losses.append(one_a.sum() * 0)
            continue
        chosen = seen[torch.randint(len(seen), (options.matches,), device=a.device)]
        mine = one_a.flatten(1).T[chosen]
        theirs = _read(one_b, cells[chosen])
        match = 1 - (mine * theirs).sum(dim=1)
        other = torch.randint(height * width, (options.matches, options.non_matches), device=a.device)
        far = (_grid(height, width).to(a)[other] - cells[chosen, None]).abs().amax(dim=2) > 1
        alike = torch.einsum("md,mnd->mn", mine, one_b.flatten(1).T[other])
        hinge = functional.relu(alike - options.negative_margin) * far
        losses.append(match.mean() + hinge.sum() / ((hinge > 0).sum() + 1))
    return torch.stack(losses).mean()


def dense_descriptor(a: Tensor, b: Tensor, H_b_a: Tensor, valid_b: Tensor, options: DescriptorOptions) -> Tensor:
    """Hinge loss of all pairs of cells, mean over those of which b's cell is valid (B, H, W).

    The published sum is divided by the number of pairs that it was taken over, which the original does not do right.
    """
    height, width = a.shape[-2:]
    centres = _centres(height, width).to(a)
    there = transfer(H_b_a, centres.expand(len(a), -1, -1))
    same = torch.cdist(there, centres.expand(len(a), -1, -1)) <= options.near_px
    alike = a.flatten(2).transpose(1, 2) @ b.flatten(2)
    loss = torch.where(
        same,
        options.positive_weight * functional.relu(options.positive_margin - alike),
        functional.relu(alike - options.negative_margin),
    )
    known = functional.pixel_unshuffle(valid_b[:, None], CELL).amin(dim=1).flatten(1)[:, None].expand_as(loss)
    return (loss * known).sum() / known.sum().clamp(min=1)


def _grid(height: int, width: int) -> Tensor:
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return torch.stack([columns, rows], dim=-1).reshape(-1, 2).float()


def _centres(height: int, width: int) -> Tensor:
    """Pixels (h * w, 2) of the cells' centres."""
    return _grid(height, width) * CELL + (CELL - 1) / 2


def _read(descriptor: Tensor, cells: Tensor) -> Tensor:
    """(D, h, w) read bilinearly at cells (N, 2) -> unit (N, D)."""
    height, width = descriptor.shape[-2:]
    grid = cells * cells.new_tensor([2 / (width - 1), 2 / (height - 1)]) - 1
    found = functional.grid_sample(descriptor[None], grid[None, :, None], align_corners=True, padding_mode="border")
    return functional.normalize(found[0, :, :, 0].T, dim=1, eps=_FEWEST)
