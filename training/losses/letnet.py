# SPDX-License-Identifier: Apache-2.0
"""The five losses of LET-NET, which a deep helper makes possible (Lin et al., arXiv 2310.15655; ALIKE)."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from training.features import maxima

_RADIUS = 2  # of detection and of the sub-pixel window
_PEAK = 0.1  # temperatures
_SIMILAR = 0.02
_LOCAL_PX = 40  # half the side of the window in which the local descriptor must be unique

Warp = Callable[[Tensor], tuple[Tensor, Tensor]]  # points (N, 2) -> where they are in the other image, and which are


@dataclass(frozen=True)
class Weights:
    """Of the losses."""

    peaky: float = 0.5
    reprojection: float = 1.0
    reliability: float = 1.0
    descriptor: float = 5.0
    local: float = 1.0
    top_k: int = 400
    near_px: float = 5.0
    least_score: float = 0.1


class One(NamedTuple):
    """One image's maps and points."""

    score: Tensor  # (H, W)
    descriptor: Tensor  # (64, H, W) unit
    local: Tensor  # (3, H, W) unit
    uv: Tensor  # (N, 2) px, to a fraction of a pixel and with a gradient, some of them random
    found: int  # how many of them were detected
    corner: Tensor  # (N, 2) the pixels they were found at


def look(score: Tensor, descriptor: Tensor, local: Tensor, weights: Weights) -> One:
    """Find points in the score map (H, W), and add as many random ones."""
    height, width = score.shape
    with torch.no_grad():
        corner, strength = maxima(score.detach(), _RADIUS + 1, 0.0)
        corner = corner[strength.argsort(descending=True)[: weights.top_k]]
    offset = _soft_argmax(_patches(score, corner))
    count = len(corner)
    border = _RADIUS + 1
    room = corner.new_tensor([width - 2 * border, height - 2 * border])
    spare = torch.rand(max(count, 8), 2, device=score.device) * room + border
    uv = torch.cat([corner + offset, spare])
    return One(score, descriptor, functional.normalize(local, dim=0), uv, count, corner)


def letnet_losses(a: One, b: One, a_to_b: Warp, b_to_a: Warp, weights: Weights) -> dict[str, Tensor]:
    """Weighted losses of one pair."""
    directions = ((a, b, a_to_b), (b, a, b_to_a))
    return {
        "peaky": weights.peaky * (peaky(a, weights.least_score) + peaky(b, weights.least_score)) / 2,
        "reprojection": weights.reprojection * _reprojection(a, b, a_to_b, b_to_a, weights),
        "reliability": weights.reliability * _mean([_reliability(x, y, w) for x, y, w in directions]),
        "descriptor": weights.descriptor * _mean([_unique(x, y, w) for x, y, w in directions]),
        "local": weights.local * _mean([_locally_unique(x, y, w) for x, y, w in directions]),
    }


def peaky(one: One, least: float) -> Tensor:
    """Spread of the score round detected points, also along the direction in which it is largest: edges cost too."""
    if not one.found:
        return one.score.sum() * 0
    patch = _patches(one.score, one.corner)  # (N, 25)
    weight = ((patch - patch.amax(dim=1, keepdim=True).detach()) / _PEAK).exp()
    q = _window().to(patch)
    e = one.uv[: one.found] - one.corner
    x, y = (q[None, :, i] - e[:, None, i] for i in range(2))
    spread = (x**2 + y**2) / 4
    masks = [(-(x**2)).exp(), (-(y**2)).exp(), (-0.525 * (x + y).abs()).exp(), (-0.525 * (x - y).abs()).exp()]
    along = [(m * weight * spread).sum(dim=1) / (m * weight).sum(dim=1).clamp(min=1e-9) for m in masks]
    strong = _at(one.score[None], e.detach() + one.corner)[:, 0] > least
    return _masked(torch.stack(along).amax(dim=0), strong)


def _reprojection(a: One, b: One, a_to_b: Warp, b_to_a: Warp, weights: Weights) -> Tensor:
    """Distance of detected points of both images that are mutually nearest."""
    p_a, p_b = a.uv[: a.found], b.uv[: b.found]
    if not len(p_a) or not len(p_b):
        return a.score.sum() * 0
    (a_in_b, seen_a), (b_in_a, seen_b) = a_to_b(p_a), b_to_a(p_b)
    with torch.no_grad():
        off = (torch.cdist(a_in_b, p_b) + torch.cdist(p_a, b_in_a)) / 2
        off = off.masked_fill(~(seen_a[:, None] & seen_b), torch.inf)
        to_b, to_a = off.argmin(dim=1), off.argmin(dim=0)
        rows = torch.arange(len(p_a), device=off.device)
        good = (to_a[to_b] == rows) & (off[rows, to_b] < weights.near_px)
        good &= _at(a.score[None], p_a)[:, 0] > weights.least_score
        good &= _at(b.score[None], p_b)[to_b, 0] > weights.least_score
    distance = ((a_in_b - p_b[to_b]).abs() + (p_a - b_in_a[to_b]).abs()).sum(dim=1) / 2
    return _masked(distance, good)


def _reliability(a: One, b: One, warp: Warp) -> Tensor:
    """Where the deep descriptor does not know the point again, the score must be low."""
    there, seen = warp(a.uv)
    if not seen.any():
        return a.score.sum() * 0
    uv, there = a.uv[seen], there[seen]
    with torch.no_grad():
        alike = torch.einsum("nd,dhw->nhw", _at(a.descriptor, uv), b.descriptor)
        known = _own(((alike - 1) / _PEAK).exp(), there)
    score = _at(a.score[None], uv)[:, 0] * _at(b.score[None], there)[:, 0]
    return ((1 - known) * score).sum() / score.sum().clamp(min=1e-9)


def _unique(a: One, b: One, warp: Warp) -> Tensor:
    """Neural reprojection error (Germain et al. 2021): the true place among all of the image, or "not in view"."""
    there, seen = warp(a.uv.detach())
    logits = (torch.einsum("nd,dhw->nhw", _at(a.descriptor, a.uv.detach()), b.descriptor) - 1) / _SIMILAR
    outside = logits.flatten(1).logsumexp(dim=1).logaddexp(logits.new_zeros(len(logits)))
    share = (logits - outside[:, None, None]).exp()
    right = torch.where(seen, _own(share, there), (-outside).exp())
    return -right.clamp(min=1e-9).log().mean()


def _locally_unique(a: One, b: One, warp: Warp) -> Tensor:
    """The same of the three local channels, within a window round the true place."""
    there, seen = warp(a.uv.detach())
    if not seen.any():
        return a.score.sum() * 0
    there = there[seen]
    logits = (torch.einsum("nd,dhw->nhw", _at(a.local, a.uv.detach()[seen]), b.local) - 1) / _SIMILAR
    height, width = logits.shape[-2:]
    far_x = (torch.arange(width, device=there.device) - there[:, :1]).abs() > _LOCAL_PX
    far_y = (torch.arange(height, device=there.device) - there[:, 1:]).abs() > _LOCAL_PX
    logits = logits - 100.0 * (far_x[:, None] | far_y[:, :, None])
    share = logits.flatten(1).softmax(dim=1).view_as(logits)
    return -_own(share, there).clamp(min=1e-9).log().mean()


def _window() -> Tensor:
    axis = torch.arange(-_RADIUS, _RADIUS + 1).float()
    return torch.stack(torch.meshgrid(axis, axis, indexing="xy"), dim=-1).reshape(-1, 2)


def _patches(score: Tensor, corner: Tensor) -> Tensor:
    """(N, 25) scores round pixels that are at least two off the border."""
    around = (corner[:, None] + _window().to(corner)).long()
    return score[around[..., 1], around[..., 0]]


def _soft_argmax(patch: Tensor) -> Tensor:
    weight = ((patch - patch.amax(dim=1, keepdim=True).detach()) / _PEAK).softmax(dim=1)
    return weight @ _window().to(patch)


def _at(dense: Tensor, uv: Tensor) -> Tensor:
    """(C, H, W) read bilinearly at (N, 2) -> (N, C)."""
    height, width = dense.shape[-2:]
    grid = uv * uv.new_tensor([2 / (width - 1), 2 / (height - 1)]) - 1
    return functional.grid_sample(dense[None], grid[None, :, None], align_corners=True)[0, :, :, 0].T


def _own(maps: Tensor, uv: Tensor) -> Tensor:
    """Each of N maps (N, H, W) read at its own point (N, 2)."""
    height, width = maps.shape[-2:]
    grid = uv * uv.new_tensor([2 / (width - 1), 2 / (height - 1)]) - 1
    return functional.grid_sample(maps[:, None], grid[:, None, None], align_corners=True)[:, 0, 0, 0]


def _masked(x: Tensor, mask: Tensor) -> Tensor:
    return (x * mask).sum() / mask.sum().clamp(min=1)


def _mean(values: list[Tensor]) -> Tensor:
    return torch.stack(values).mean()
