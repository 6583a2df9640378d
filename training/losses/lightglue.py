# SPDX-License-Identifier: Apache-2.0
"""LightGlue's losses: the likelihood of true assignments at every layer, and knowing when an answer is final."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from training.data.warps import Warp


def true_matches(
    uv_a: Tensor, uv_b: Tensor, a_to_b: Warp, b_to_a: Warp, px: tuple[float, float]
) -> tuple[Tensor, Tensor]:
    """True partner (B, N) of each point of a and (B, M) of b: an index, -1 for none, -2 where nobody can know.

    Partners are mutually nearest within px[0] both ways; points farther than px[1] from all others have none.
    """
    (a_in_b, seen_a), (b_in_a, seen_b) = a_to_b(uv_a), b_to_a(uv_b)
    off = torch.maximum(torch.cdist(a_in_b, uv_b), torch.cdist(uv_a, b_in_a))
    both = off.masked_fill(~(seen_a[:, :, None] & seen_b[:, None]), torch.inf)
    to_b, to_a = both.argmin(dim=2), both.argmin(dim=1)
    near = both.gather(2, to_b[..., None])[..., 0] <= px[0]
    mutual = near & (to_a.gather(1, to_b) == torch.arange(uv_a.shape[1], device=uv_a.device))
    alone_a = torch.cdist(a_in_b, uv_b).amin(dim=2) > px[1]
    alone_b = torch.cdist(b_in_a, uv_a).amin(dim=2) > px[1]
    of_a = torch.where(mutual, to_b, torch.where(alone_a, -1, -2))
    of_b = torch.where(alone_b, -1, torch.full_like(to_a, -2))
    rows, columns = mutual.nonzero(as_tuple=True)
    of_b[rows, to_b[rows, columns]] = columns
    return of_a, of_b


def assignment_loss(log_assignment: Tensor, of_a: Tensor, of_b: Tensor) -> Tensor:
    """Negative log-likelihood of (B, N+1, M+1): half of it true pairs, half points without a partner."""
    inner = log_assignment[:, :-1, :-1].gather(2, of_a.clamp(min=0)[..., None])[..., 0]
    pairs = _mean(-inner, of_a >= 0)
    alone = (_mean(-log_assignment[:, :-1, -1], of_a == -1) + _mean(-log_assignment[:, -1, :-1], of_b == -1)) / 2
    return (pairs + alone) / 2


def confidence_loss(output: Any) -> Tensor:
    """Cross entropy of "this layer's answer is the last one's" for both images, mean over layers."""
    last = output.log_assignment[-1].detach()
    losses = []
    for log_assignment, logits in zip(output.log_assignment[:-1], output.confidence, strict=True):
        now = log_assignment.detach()
        same_a = (now[:, :-1].argmax(dim=2) == last[:, :-1].argmax(dim=2)).float()
        same_b = (now[:, :, :-1].argmax(dim=1) == last[:, :, :-1].argmax(dim=1)).float()
        for logit, same in zip(logits, (same_a, same_b), strict=True):
            losses.append(functional.binary_cross_entropy_with_logits(logit, same))
    return torch.stack(losses).mean()


def _mean(x: Tensor, mask: Tensor) -> Tensor:
    """Mean over a pair's points, then over pairs."""
    return ((x * mask).sum(dim=1) / mask.sum(dim=1).clamp(min=1)).mean()
