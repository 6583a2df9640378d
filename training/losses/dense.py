# SPDX-License-Identifier: Apache-2.0
"""Losses of segmentation and depth."""

from torch import Tensor
from torch.nn import functional

from training.data.label_sets import IGNORED


def segmentation(logits: Tensor, labels: Tensor) -> Tensor:
    """Half the cross entropy and 1.5 times the Dice loss of (B, C, h, w) and labels (B, H, W)."""
    labels = functional.interpolate(labels[:, None].float(), logits.shape[-2:], mode="nearest")[:, 0].long()
    known = labels != IGNORED
    if not known.any():
        return logits.sum() * 0
    return 0.5 * functional.cross_entropy(logits, labels, ignore_index=IGNORED) + 1.5 * _dice(logits, labels, known)


def depth(predicted: Tensor, target: Tensor) -> Tensor:
    """Scale-invariant log error (Eigen et al. 2014, as in AdaBins) and Huber loss of (B, 1, h, w); 0 is unknown."""
    target = functional.interpolate(target, predicted.shape[-2:], mode="nearest")
    known = target > 0
    if not known.any():
        return predicted.sum() * 0
    g = (predicted[known].clamp(min=1e-4) / target[known]).log()
    silog = 10 * (g.var(unbiased=False) + 0.15 * g.mean() ** 2 + 1e-8).sqrt()
    return silog + functional.huber_loss(predicted[known], target[known])


def _dice(logits: Tensor, labels: Tensor, known: Tensor) -> Tensor:
    """One minus twice the overlap by the sum, mean over the classes that are there."""
    share = logits.softmax(dim=1) * known[:, None]
    truth = functional.one_hot(labels.masked_fill(~known, 0), logits.shape[1]).movedim(-1, 1) * known[:, None]
    there = truth.sum(dim=(0, 2, 3)) > 0
    overlap, total = (share * truth).sum(dim=(0, 2, 3)), (share + truth).sum(dim=(0, 2, 3))
    return (1 - (2 * overlap + 1) / (total + 1))[there].mean()
