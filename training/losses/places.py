# SPDX-License-Identifier: Apache-2.0
"""How global descriptors learn which places are the same."""

import torch
from torch import Tensor
from torch.nn import functional


def batch_hard(anchors: Tensor, positives: Tensor, margin: float) -> Tensor:
    """Triplet loss of (B, G): each anchor, its own positive, and the nearest positive of another (Hermans 2017)."""
    if len(anchors) < 2:
        return anchors.sum() * 0
    distance = torch.cdist(anchors, positives)
    own = distance.diagonal()
    others = distance + torch.eye(len(anchors), device=distance.device) * 1e3
    return functional.relu(own - others.min(dim=1).values + margin).mean()


def triplets(queries: Tensor, positives: Tensor, negatives: Tensor, margin: float) -> Tensor:
    """Mean over queries (B, G), each with its positive (B, G) and N negatives (B, N, G), of Euclidean distances."""
    near = (queries - positives).norm(dim=-1, keepdim=True)
    far = (queries[:, None] - negatives).norm(dim=-1)
    return functional.relu(near - far + margin).mean()


def among_all(queries: Tensor, images: Tensor, wrong: Tensor, softness: float) -> Tensor:
    """Softmax of each query's (B, G) own image, which is the one of its row, among all images (M, G) of other places.

    wrong (B, M) says which those are; descriptors have unit length.
    """
    alike = queries @ images.T / softness
    own = torch.eye(*alike.shape, dtype=torch.bool, device=alike.device)
    told = alike.masked_fill(~(wrong | own), -torch.inf)
    return functional.cross_entropy(told, torch.arange(len(queries), device=alike.device))
