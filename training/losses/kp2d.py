# SPDX-License-Identifier: Apache-2.0
"""How keypoints, scores and descriptors learn from two views of one picture (KP2D, Tang et al. 2020)."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from letvins_ros.networks.cells import describe
from training.data.correspondence import transfer

_FEWEST = 20  # points for a descriptor loss
_FEWEST_INLIERS = 10


@dataclass(frozen=True)
class Weights:
    """Of the four losses, and their distances in px."""

    location: float = 1.0
    descriptor: float = 2.0
    score: float = 1.0
    inliers: float = 1.0
    near_px: float = 4.0  # points of both views that are the same
    relax_px: float = 4.0  # of a hard negative from the true place
    margin: float = 0.2
    inlier_points: int = 300
    sure: bool = False  # places learn from points as much as their scores tell, not from all alike
    anchors: int = 0  # only so many points with the highest scores learn descriptors; 0: all
    softness: float = 0.0  # > 0: descriptors learn from a softmax of this temperature instead of triplets


class Points(NamedTuple):
    """Keypoints of a view, one per cell, and the map that describes them."""

    score: Tensor  # (B, N)
    uv: Tensor  # (B, N, 2) px
    described: Tensor  # (B, N, D) unit
    inner: Tensor  # (N,) bool, not in the outermost ring of cells
    score_map: Tensor
    descriptor_map: Tensor
    size: tuple[int, int]


def to_points(output: Any, size: tuple[int, int]) -> Points:
    """Rows of a network's score, coord and descriptor maps; descriptors leave the places alone."""
    coord = output.coord
    described = describe(output.descriptor, coord.detach(), size)
    inner = torch.zeros(coord.shape[-2:], dtype=torch.bool, device=coord.device)
    inner[1:-1, 1:-1] = True
    return Points(
        output.score.flatten(1),
        coord.flatten(2).transpose(1, 2),
        described.flatten(2).transpose(1, 2),
        inner.flatten(),
        output.score,
        output.descriptor,
        size,
    )


def keypoint_losses(a: Points, b: Points, H_a_b: Tensor, weights: Weights, io_net: nn.Module) -> dict[str, Tensor]:
    """Weighted losses; a is the target, b the view warped from it, H_a_b (B, 3, 3) takes pixels of b to a."""
    in_a, usable = seen_in_a(a, b, H_a_b)
    with torch.no_grad():  # a gradient through all distances would cost much and be zero but for the nearest
        nearest = torch.cdist(in_a, a.uv).argmin(dim=2)
    distance = (in_a - _rows(a.uv, nearest)).norm(dim=-1)
    same = usable & (distance < weights.near_px)
    trust = b.score.detach() * same if weights.sure else same
    losses = {
        "location": weights.location * _mean(distance, trust),
        "descriptor": weights.descriptor * descriptor_loss(a, b, in_a.detach(), usable, weights),
        "scores": weights.score * _scores(a, b, in_a.detach(), (distance.detach(), nearest, same, usable)),
    }
    if weights.inliers:
        losses["inliers"] = weights.inliers * _inliers(a, b, in_a.detach(), weights, io_net)
    return losses


def corner_loss(points: Points, labels: Tensor) -> Tensor:
    """Cross entropy of scores with the share of views that show a corner, and distance to it; labels (B, 3, h, w)."""
    share, uv = labels[:, 0].flatten(1), labels[:, 1:].flatten(2).transpose(1, 2)
    score = points.score.clamp(1e-4, 1 - 1e-4)
    told = -(4 * share * score.log() + (1 - share) * (1 - score).log())
    off = (points.uv - uv).abs().sum(dim=-1)
    return _mean(told, points.inner.expand_as(told)) + 0.5 * _mean(off, share * points.inner)


def seen_in_a(a: Points, b: Points, H_a_b: Tensor) -> tuple[Tensor, Tensor]:
    """Places (B, N, 2) in a of b's points, and which (B, N) of them lie there and are inner ones."""
    in_a = transfer(H_a_b, b.uv)
    height, width = a.size
    inside = ((in_a >= 0) & (in_a <= in_a.new_tensor([width - 1, height - 1]))).all(dim=-1)
    return in_a, inside & b.inner


def descriptor_loss(a: Points, b: Points, in_a: Tensor, usable: Tensor, weights: Weights) -> Tensor:
    """Anchors in b, positives read in a at the true place, negatives among a's keypoints elsewhere.

    Of the negatives triplets take the hardest one. A softmax takes all, and so does not collapse in a short training.
    """
    enough = usable & (usable.sum(dim=1, keepdim=True) >= _FEWEST)
    anchor = b.described
    if weights.anchors:
        top = b.score.masked_fill(~enough, -1.0).topk(min(weights.anchors, b.score.shape[1]), dim=1).indices
        anchor, in_a, enough = _rows(anchor, top), _rows(in_a, top), enough.gather(1, top)
    positive = _at(a.descriptor_map, in_a, a.size)
    with torch.no_grad():
        near = torch.cdist(in_a, a.uv, p=float("inf")) <= weights.relax_px
    if weights.softness:
        others = (anchor @ a.described.transpose(1, 2)).masked_fill(near | ~a.inner, -1.0)
        logits = torch.cat([(anchor * positive).sum(dim=-1, keepdim=True), others], dim=2) / weights.softness
        return _mean(logits.logsumexp(dim=2) - logits[..., 0], enough)
    with torch.no_grad():
        alike = (anchor @ a.described.transpose(1, 2)).masked_fill(near | ~a.inner, -1.0)
        hardest = alike.argmax(dim=2)
    to_negative = _distance((anchor * _rows(a.described, hardest)).sum(dim=-1))
    to_positive = _distance((anchor * positive).sum(dim=-1))
    return _mean(functional.relu(to_positive - to_negative + weights.margin), enough)


def _scores(a: Points, b: Points, in_a: Tensor, pairs: tuple[Tensor, Tensor, Tensor, Tensor]) -> Tensor:
    """Points that come back near score higher than the average; scores of both views agree."""
    distance, nearest, same, usable = pairs
    both = b.score + a.score.gather(1, nearest)
    mean = (distance * same).sum(dim=1, keepdim=True) / same.sum(dim=1, keepdim=True).clamp(min=1)
    there = _read(a.score_map, in_a, a.size)[..., 0]
    return _mean(both * (distance - mean), same) + 2 * _mean((there - b.score) ** 2, usable)


def _inliers(a: Points, b: Points, in_a: Tensor, weights: Weights, io_net: nn.Module) -> Tensor:
    """The inlier network learns to tell right matches by place and distance, and so teaches the descriptors.

    Unlike the released training it sees the points with the highest scores, which are those that are used.
    """
    count = min(weights.inlier_points, int(a.inner.sum()))
    top_a, top_b = (p.score.masked_fill(~p.inner, -1.0).topk(count, dim=1).indices for p in (a, b))
    described_a, described_b = (_rows(p.described, top) for p, top in ((a, top_a), (b, top_b)))
    with torch.no_grad():
        match = (described_b @ described_a.transpose(1, 2)).argmax(dim=2)
    distance = _distance((described_b * _rows(described_a, match)).sum(dim=-1))
    uv_a = _rows(_rows(a.uv, top_a), match)
    right = (_rows(in_a, top_b) - uv_a.detach()).norm(dim=-1) < weights.near_px
    scale = in_a.new_tensor([2 / (a.size[1] - 1), 2 / (a.size[0] - 1)])
    seen = torch.cat([_rows(b.uv, top_b) * scale - 1, uv_a * scale - 1, distance[..., None]], dim=-1)
    told = io_net(seen.transpose(1, 2)[..., None])[:, 0, :, 0]
    enough = (right.sum(dim=1, keepdim=True) > _FEWEST_INLIERS).expand_as(right)
    return _mean((told - (2.0 * right - 1)) ** 2, enough)


def _distance(cosine: Tensor) -> Tensor:
    return (2 - 2 * cosine).clamp(min=1e-6).sqrt()


def _rows(x: Tensor, index: Tensor) -> Tensor:
    return x.gather(1, index[..., None].expand(-1, -1, x.shape[-1]))


def _at(descriptor: Tensor, uv: Tensor, size: tuple[int, int]) -> Tensor:
    return functional.normalize(_read(descriptor, uv, size), dim=-1)


def _read(dense: Tensor, uv: Tensor, size: tuple[int, int]) -> Tensor:
    """(B, C, h, w) read at pixels (B, N, 2) of the image -> (B, N, C)."""
    grid = uv * uv.new_tensor([2 / (size[1] - 1), 2 / (size[0] - 1)]) - 1
    return functional.grid_sample(dense, grid[:, :, None], align_corners=True)[..., 0].transpose(1, 2)


def _mean(x: Tensor, mask: Tensor) -> Tensor:
    """Mean of x where the mask holds, 0 where it never does."""
    return (x * mask).sum() / mask.sum().clamp(min=1)
