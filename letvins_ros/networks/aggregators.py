# SPDX-License-Identifier: Apache-2.0
"""Global descriptors of a place from a map of local features."""

import torch
from torch import Tensor, nn
from torch.nn import functional


class NetVLAD(nn.Module):
    """Residuals to clusters, softly assigned (Arandjelovic et al. 2016): (B, C, H, W) -> (B, clusters * C).

    The result has unit length. The assignment has a bias in version 2 only.
    """

    def __init__(self, channels: int, clusters: int, bias: bool = False) -> None:
        super().__init__()
        self.assign = nn.Conv2d(channels, clusters, 1, bias=bias)
        self.centroids = nn.Parameter(torch.rand(clusters, channels))
        self.size = clusters * channels

    def forward(self, x: Tensor) -> Tensor:
        x = functional.normalize(x, dim=1)
        weight = self.assign(x).softmax(dim=1).flatten(2)  # (B, K, HW)
        # sum of w (x - c), without holding every residual
        residual = weight @ x.flatten(2).transpose(1, 2) - weight.sum(dim=2)[..., None] * self.centroids
        return functional.normalize(functional.normalize(residual, dim=2).flatten(1), dim=1)

    @torch.no_grad()
    def start_from(self, centroids: Tensor, features: Tensor) -> None:
        """Take centroids (K, C) of a clustering of unit features (N, C); the assignment becomes as sharp as they need.

        The nearest cluster of a mean feature then weighs 100 times the second nearest.
        """
        directions = functional.normalize(centroids, dim=1)
        nearest = (features @ directions.T).topk(2, dim=1).values
        sharpness = 4.605 / (nearest[:, 0] - nearest[:, 1]).mean()  # ln 100
        self.centroids.copy_(centroids)
        self.assign.weight.copy_((sharpness * directions)[..., None, None])


class GeM(nn.Module):
    """Generalised mean over cells of 4x4 features (Radenovic et al. 2018): (B, C, H, W) -> (B, 16 C)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.p = nn.Parameter(torch.tensor([3.0]))
        self.size = 16 * channels

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2] // 4 * 4, x.shape[-1] // 4 * 4
        x = functional.pixel_unshuffle(x[..., :height, :width], 4)
        return x.clamp(min=1e-6).pow(self.p).mean(dim=(2, 3)).pow(1 / self.p)


class ConvAP(nn.Module):
    """1x1 convolution and mean over a 4x4 grid (Ali-bey et al. 2022): (B, C, H, W) -> (B, 16 C), unit length."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.pool = nn.Conv2d(channels, channels, 1)
        self.size = 16 * channels

    def forward(self, x: Tensor) -> Tensor:
        return functional.normalize(functional.adaptive_avg_pool2d(self.pool(x), 4).flatten(1), dim=1)
