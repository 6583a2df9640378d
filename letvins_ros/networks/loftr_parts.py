# SPDX-License-Identifier: Apache-2.0
"""The parts of LoFTR (Sun et al. 2021): backbone, position code, linear attention, optimal transport."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from letvins_ros.networks.residual import residual_layer

COARSE, FINE = 256, 128  # channels at 1/8 and at 1/2
_MIDDLE = 196  # at 1/4


class Backbone(nn.Module):
    """(B, 1, H, W) -> coarse (B, 256, H/8, W/8) and fine (B, 128, H/2, W/2) by a ResNet and a feature pyramid."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, FINE, 7, 2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(FINE)
        self.layer1 = residual_layer(FINE, FINE, 1)
        self.layer2 = residual_layer(FINE, _MIDDLE, 2)
        self.layer3 = residual_layer(_MIDDLE, COARSE, 2)
        self.layer3_outconv = nn.Conv2d(COARSE, COARSE, 1, bias=False)
        self.layer2_outconv = nn.Conv2d(_MIDDLE, COARSE, 1, bias=False)
        self.layer2_outconv2 = _merge(COARSE, _MIDDLE)
        self.layer1_outconv = nn.Conv2d(FINE, _MIDDLE, 1, bias=False)
        self.layer1_outconv2 = _merge(_MIDDLE, FINE)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        half = self.layer1(torch.relu(self.bn1(self.conv1(image))))
        quarter = self.layer2(half)
        coarse = self.layer3_outconv(self.layer3(quarter))
        middle = self.layer2_outconv2(self.layer2_outconv(quarter) + _double(coarse))
        return coarse, self.layer1_outconv2(self.layer1_outconv(half) + _double(middle))


def positions(channels: int, height: int, width: int, legacy: bool) -> Tensor:
    """Sines and cosines (channels, height, width) of x and y, counted from 1, at channels/4 wavelengths.

    The released weights were trained with a slip in the wavelengths, which legacy keeps: e^k instead of
    10000^(2k / channels).
    """
    k = torch.arange(0, channels // 2, 2)
    rate = torch.exp(-k.float() if legacy else k * (-math.log(10000) / (channels // 2)))[:, None, None]
    x = torch.arange(1, width + 1).expand(height, width) * rate
    y = torch.arange(1, height + 1)[:, None].expand(height, width) * rate
    return torch.stack([x.sin(), x.cos(), y.sin(), y.cos()], dim=1).flatten(0, 1)


class EncoderLayer(nn.Module):
    """Linear attention (Katharopoulos et al. 2020) of x (B, L, d) to source (B, S, d), then an MLP."""

    def __init__(self, size: int, heads: int = 8) -> None:
        super().__init__()
        self.heads = heads
        self.q_proj, self.k_proj, self.v_proj, self.merge = (nn.Linear(size, size, bias=False) for _ in range(4))
        self.mlp = nn.Sequential(
            nn.Linear(2 * size, 2 * size, bias=False), nn.ReLU(), nn.Linear(2 * size, size, bias=False)
        )
        self.norm1, self.norm2 = nn.LayerNorm(size), nn.LayerNorm(size)

    def forward(self, x: Tensor, source: Tensor) -> Tensor:
        q, k, v = self._split(self.q_proj(x)), self._split(self.k_proj(source)), self._split(self.v_proj(source))
        message = self.norm1(self.merge(linear_attention(q, k, v).flatten(2)))
        return x + self.norm2(self.mlp(torch.cat([x, message], dim=2)))

    def _split(self, x: Tensor) -> Tensor:
        """(B, L, d) -> (B, L, heads, d / heads)."""
        return x.reshape(x.shape[0], x.shape[1], self.heads, x.shape[2] // self.heads)


def linear_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Weighted means (B, L, heads, d) of v, with weights (elu(q) + 1) . (elu(k) + 1), without forming them."""
    q, k = functional.elu(q) + 1, functional.elu(k) + 1
    length = v.shape[1]  # divided out and in again, so that sums stay small in half precision
    kv = torch.einsum("bshd,bshv->bhdv", k, v / length)
    total = torch.einsum("blhd,bhd->blh", q, k.sum(dim=1)) + 1e-6
    return torch.einsum("blhd,bhdv->blhv", q, kv) * (length / total[..., None])


class Transformer(nn.Module):
    """Self and cross attention in turn; image b sees what image a has just become."""

    def __init__(self, size: int, pairs: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(EncoderLayer(size) for _ in range(2 * pairs))

    def forward(self, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        for i, layer in enumerate(self.layers):
            if i % 2 == 0:
                a, b = layer(a, a), layer(b, b)
            else:
                a = layer(a, b)
                b = layer(b, a)
        return a, b


def sinkhorn(similarity: Tensor, bin_score: Tensor, iterations: int) -> Tensor:
    """Log-assignment (B, L+1, S+1) of similarities (B, L, S) with a dustbin each, by optimal transport.

    Every point has mass 1, a dustbin as much as all points of the other image (Sarlin et al. 2020, section 3.2).
    """
    _, rows, columns = similarity.shape
    padded = functional.pad(similarity, (0, 1, 0, 1))
    in_bin = torch.zeros_like(padded, dtype=torch.bool)
    in_bin[:, -1], in_bin[:, :, -1] = True, True
    cost = torch.where(in_bin, bin_score, padded)
    log_mass_rows = torch.cat([cost.new_zeros(rows), cost.new_tensor([columns]).log()])
    log_mass_columns = torch.cat([cost.new_zeros(columns), cost.new_tensor([rows]).log()])
    u, v = torch.zeros_like(cost[:, :, 0]), torch.zeros_like(cost[:, 0])
    for _ in range(iterations):
        u = log_mass_rows - (cost + v[:, None]).logsumexp(dim=2)
        v = log_mass_columns - (cost + u[:, :, None]).logsumexp(dim=1)
    return cost + u[:, :, None] + v[:, None]


def _merge(channels_in: int, channels_out: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels_in, channels_in, 3, padding=1, bias=False),
        nn.BatchNorm2d(channels_in),
        nn.LeakyReLU(),
        nn.Conv2d(channels_in, channels_out, 3, padding=1, bias=False),
    )


def _double(x: Tensor) -> Tensor:
    return functional.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=True)
