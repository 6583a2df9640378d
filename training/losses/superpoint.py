# SPDX-License-Identifier: Apache-2.0
"""How SuperPoint learns: the detector from given points, descriptors from homographies (DeTone et al. 2018)."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import SimpleNamespace

import torch
from torch import Tensor
from torch.nn import functional

from training.data.correspondence import transfer
from training.losses import kp2d

CELL = 8
_FEWEST = 1e-6


@dataclass(frozen=True)
class DescriptorOptions:
    """Of the three descriptor losses."""

    matches: int = 1000  # sparse: cells that are sampled from each pair
    non_matches: int = 100  # sparse: per match
    positive_margin: float = 1.0
    negative_margin: float = 0.2
    positive_weight: float = 800.0  # dense: as there are so few
    near_px: float = 7.5  # dense: distance of centres of cells that match
    softness: float = 0.1  # softmax: temperature


def detector(logits: Tensor, points: Tensor, valid: Tensor, none: float = 1.0) -> Tensor:
    """Cross entropy of (B, 65, h, w) with points (B, H, W), over cells all of whose pixels are valid (B, H, W).

    A point of 1 is sure; one of less leaves the rest to "none", which weighs `none`. Several in a cell share it.
    """
    known = functional.pixel_unshuffle(valid[:, None], CELL).amin(dim=1)
    cells = functional.pixel_unshuffle(points[:, None], CELL)
    total = cells.sum(dim=1, keepdim=True)
    target = torch.cat([cells / total.clamp(min=1), (1 - total).clamp(min=0)], dim=1)
    weight = torch.ones_like(logits[0, :, 0, 0])
    weight[-1] = none
    loss = functional.cross_entropy(logits, target, weight, reduction="none")
    return (loss * known).sum() / known.sum().clamp(min=1)


def location(logits: Tensor, points: Tensor) -> Tensor:
    """Cross entropy of a cell's 64 pixels with its surest point, mean over cells as sure as that point is.

    The detector's loss alone learns which cells have a point long before where in them.
    """
    share, place = functional.pixel_unshuffle(points[:, None], CELL).max(dim=1)
    loss = functional.cross_entropy(logits[:, :-1], place, reduction="none")
    return (loss * share).sum() / share.sum().clamp(min=1)


def softmax_descriptor(a: Tensor, b: Tensor, batch: Mapping[str, Tensor], options: DescriptorOptions) -> Tensor:
    """KP2D's loss with a softmax over all other cells, of unit descriptors (B, D, h, w), read at the batch's points."""
    in_view_a, in_view_b = (_cell_points(x, batch[f"points_{key}"]) for x, key in ((a, "a"), (b, "b")))
    in_a, usable = kp2d.seen_in_a(in_view_a, in_view_b, torch.linalg.inv(batch["H_b_a"]))
    weights = kp2d.Weights(softness=options.softness, relax_px=CELL)
    return kp2d.descriptor_loss(in_view_a, in_view_b, in_a, usable & (in_view_b.score > 0), weights)


def _cell_points(descriptor: Tensor, points: Tensor) -> kp2d.Points:
    """The surest point of each cell, with its descriptor; score 0 where there is none."""
    score, index = functional.pixel_unshuffle(points[:, None], CELL).max(dim=1, keepdim=True)
    height, width = score.shape[-2:]
    first = CELL * _grid(height, width).to(descriptor).T.reshape(1, 2, height, width)
    coord = first + torch.cat([index % CELL, index // CELL], dim=1)
    size = (points.shape[-2], points.shape[-1])
    return kp2d.to_points(SimpleNamespace(score=score, coord=coord, descriptor=descriptor), size)


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
