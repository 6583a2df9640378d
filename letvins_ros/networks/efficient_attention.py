# SPDX-License-Identifier: Apache-2.0
"""SegFormer's attention on feature maps (Xie et al. 2021): keys and values on a coarser grid, no position code."""

import torch
from torch import Tensor, nn
from torch.nn import functional


class ChannelNorm(nn.Module):
    """Layer norm over the channels of (B, C, H, W), each pixel for itself."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1, channels, 1, 1))
        self.bias = nn.Parameter(torch.zeros(1, channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        variance, mean = torch.var_mean(x, dim=1, unbiased=False, keepdim=True)
        # the root of exactly zero has no gradient
        return (x - mean) / (variance.clamp(min=1e-12).sqrt() + 1e-5) * self.weight + self.bias


class EfficientAttention(nn.Module):
    """Multi-head attention of every pixel to the cells of `reduction` x `reduction` pixels, which must divide H and W.

    Sides that it does not divide lose their last pixels as keys, not as queries.
    """

    def __init__(self, channels: int, heads: int, reduction: int) -> None:
        super().__init__()
        self.heads = heads
        self.to_q = nn.Conv2d(channels, channels, 1, bias=False)
        self.to_kv = nn.Conv2d(channels, 2 * channels, reduction, reduction, bias=False)
        self.to_out = nn.Conv2d(channels, channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        q = self._split(self.to_q(x))
        k, v = (self._split(half) for half in self.to_kv(x).chunk(2, dim=1))
        out = functional.scaled_dot_product_attention(q, k, v)  # (B, heads, H*W, C/heads)
        return self.to_out(out.transpose(2, 3).reshape(x.shape))

    def _split(self, x: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, heads, h*w, C/heads)."""
        return x.reshape(x.shape[0], self.heads, x.shape[1] // self.heads, -1).transpose(2, 3)


class AttentionBlock(nn.Module):
    """Attention, then a feed-forward of 1x1, depth-wise 3x3, 1x1, GELU, 1x1, each behind a channel norm.

    residual adds each to what it got, as in SegFormer; the published KP2Dtiny weights were trained without.
    """

    def __init__(self, channels: int, heads: int, reduction: int, expansion: int, residual: bool = True) -> None:
        super().__init__()
        hidden = channels * expansion
        self.residual = residual
        self.norm1, self.norm2 = ChannelNorm(channels), ChannelNorm(channels)
        self.attend = EfficientAttention(channels, heads, reduction)
        self.feed = nn.Sequential(
            nn.Conv2d(channels, hidden, 1),
            nn.Conv2d(hidden, hidden, 3, padding=1, groups=hidden),
            nn.Conv2d(hidden, hidden, 1),
            nn.GELU(),
            nn.Conv2d(hidden, channels, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        attended = self.attend(self.norm1(x))
        x = x + attended if self.residual else attended
        fed = self.feed(self.norm2(x))
        return x + fed if self.residual else fed


FEED_RENAMES = [  # of the published names, as in lucidrains' segformer-pytorch
    (r"(.*)\.mff\.fn\.net\.3\.", r"\1.feed.4."),
    (r"(.*)\.mff\.fn\.net\.1\.net\.1\.", r"\1.feed.2."),
    (r"(.*)\.mff\.fn\.net\.1\.net\.0\.", r"\1.feed.1."),
    (r"(.*)\.mff\.fn\.net\.0\.", r"\1.feed.0."),
    (r"(.*)\.(norm[12])\.g$", r"\1.\2.weight"),
    (r"(.*)\.(norm[12])\.b$", r"\1.\2.bias"),
]
ATTENTION_RENAMES = [
    (r"(.*)\.att\.fn\.", r"\1.attend."),
    (r"(.*)\.att\.norm\.", r"\1.norm1."),
    (r"(.*)\.mff\.norm\.", r"\1.norm2."),
    *FEED_RENAMES,
]
