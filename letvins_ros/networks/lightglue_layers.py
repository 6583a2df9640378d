# SPDX-License-Identifier: Apache-2.0
"""The layers of LightGlue (Lindenberger et al. 2023, section 3)."""

import torch
from torch import Tensor, nn
from torch.nn import functional


class RotaryPositions(nn.Module):
    """Learnt Fourier features of positions (B, N, 2) -> cosines and sines (2, B, 1, N, head_size)."""

    def __init__(self, head_size: int) -> None:
        super().__init__()
        self.Wr = nn.Linear(2, head_size // 2, bias=False)

    def forward(self, uv: Tensor) -> Tensor:
        angles = self.Wr(uv)
        return torch.stack([angles.cos(), angles.sin()])[:, :, None].repeat_interleave(2, dim=-1)


def rotate(x: Tensor, positions: Tensor) -> Tensor:
    """Turn each pair of features of (B, heads, N, head_size) by its angle, so that products see offsets only."""
    even, odd = x[..., 0::2], x[..., 1::2]
    quarter = torch.stack([-odd, even], dim=-1).flatten(-2)
    return x * positions[0] + quarter * positions[1]


class SelfBlock(nn.Module):
    """Attention within an image."""

    def __init__(self, size: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.Wqkv, self.out_proj = nn.Linear(size, 3 * size), nn.Linear(size, size)
        self.ffn = _feed_forward(size)

    def forward(self, x: Tensor, positions: Tensor) -> Tensor:
        batch, count, size = x.shape
        # published weights hold query, key and value of a feature beside each other
        qkv = self.Wqkv(x).reshape(batch, count, self.heads, size // self.heads, 3).transpose(1, 2)
        q, k, v = rotate(qkv[..., 0], positions), rotate(qkv[..., 1], positions), qkv[..., 2]
        message = self.out_proj(_join(functional.scaled_dot_product_attention(q, k, v)))
        return x + self.ffn(torch.cat([x, message], dim=-1))


class CrossBlock(nn.Module):
    """Attention between images, with one similarity for both directions."""

    def __init__(self, size: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.to_qk, self.to_v, self.to_out = (nn.Linear(size, size) for _ in range(3))
        self.ffn = _feed_forward(size)

    def forward(self, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        (qk_a, v_a), (qk_b, v_b) = ((self._split(self.to_qk(x)), self._split(self.to_v(x))) for x in (a, b))
        to_a = self.to_out(_join(functional.scaled_dot_product_attention(qk_a, qk_b, v_b)))
        to_b = self.to_out(_join(functional.scaled_dot_product_attention(qk_b, qk_a, v_a)))
        return a + self.ffn(torch.cat([a, to_a], dim=-1)), b + self.ffn(torch.cat([b, to_b], dim=-1))

    def _split(self, x: Tensor) -> Tensor:
        """(B, N, d) -> (B, heads, N, d / heads)."""
        return x.reshape(x.shape[0], x.shape[1], self.heads, x.shape[2] // self.heads).transpose(1, 2)


class Assignment(nn.Module):
    """Features of both images -> log-assignment (B, M+1, N+1)."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.matchability, self.final_proj = nn.Linear(size, 1), nn.Linear(size, size)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        scale = a.shape[-1] ** 0.25
        similarity = (self.final_proj(a) / scale) @ (self.final_proj(b) / scale).transpose(1, 2)
        return double_softmax(similarity, self.matchability(a), self.matchability(b))


def double_softmax(similarity: Tensor, z0: Tensor, z1: Tensor) -> Tensor:
    """Log-assignment (B, M+1, N+1) of similarities (B, M, N) and matchability logits (B, M, 1), (B, N, 1)."""
    matchable = functional.logsigmoid(z0) + functional.logsigmoid(z1).transpose(1, 2)
    inner = similarity.log_softmax(dim=2) + similarity.log_softmax(dim=1) + matchable
    right, below = functional.logsigmoid(-z0), functional.logsigmoid(-z1).transpose(1, 2)
    corner = inner.new_zeros(len(inner), 1, 1)
    return torch.cat([torch.cat([inner, right], dim=2), torch.cat([below, corner], dim=2)], dim=1)


class TokenConfidence(nn.Module):
    """Features (B, N, d) -> logits (B, N) that the answer will not change any more; they are not trained through it."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.linear = nn.Linear(size, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x.detach())[..., 0]


def _feed_forward(size: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(2 * size, 2 * size), nn.LayerNorm(2 * size), nn.GELU(), nn.Linear(2 * size, size))


def _join(x: Tensor) -> Tensor:
    """(B, heads, N, head_size) -> (B, N, d)."""
    return x.transpose(1, 2).flatten(2)
