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
