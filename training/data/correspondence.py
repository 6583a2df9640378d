# SPDX-License-Identifier: Apache-2.0
"""Where pixels of one image are in another, by depth and pose."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

OCCLUSION = 0.05  # relative difference of depth from which another surface is seen


class View(NamedTuple):
    """Batch of images' geometry."""

    depth: Tensor  # (B, H, W) along the optical axis, 0 is unknown
    K: Tensor  # (B, 3, 3)


def transfer(H_b_a: Tensor, uv: Tensor) -> Tensor:
    """Pixels (B, N, 2) of a in b."""
    p = functional.pad(uv, (0, 1), value=1.0) @ H_b_a.transpose(1, 2)
    return p[..., :2] / p[..., 2:].clamp(min=1e-6)


def transfer_by_depth(uv: Tensor, a: View, b: View, T_b_a: Tensor) -> tuple[Tensor, Tensor]:
    """Pixels (B, N, 2) of a in b, and which (B, N) are truly seen there.

    Seen: the depth is known, the point lies before the camera and within the image, and b's depth there says the same
    to within OCCLUSION.
    """
    near = _nearest(a.depth, uv)
    rays = functional.pad(uv, (0, 1), value=1.0) @ torch.linalg.inv(a.K).transpose(1, 2)
    points = (rays * near[..., None]) @ T_b_a[:, :3, :3].transpose(1, 2) + T_b_a[:, None, :3, 3]
    projected = points @ b.K.transpose(1, 2)
    there = projected[..., :2] / projected[..., 2:].clamp(min=1e-6)
    height, width = b.depth.shape[-2:]
    inside = ((there >= 0) & (there <= there.new_tensor([width - 1, height - 1]))).all(dim=-1)
    depth = points[..., 2]
    seen = _nearest(b.depth, there)
    agrees = (seen > 0) & ((seen - depth).abs() < OCCLUSION * depth)
    return there, (near > 0) & (depth > 0) & inside & agrees


def _nearest(depth: Tensor, uv: Tensor) -> Tensor:
    """Depth (B, N) of the pixels nearest to (B, N, 2); interpolating would invent surfaces between two."""
    height, width = depth.shape[-2:]
    columns = uv[..., 0].round().long().clamp(0, width - 1)
    rows = uv[..., 1].round().long().clamp(0, height - 1)
    return depth.flatten(1).gather(1, rows * width + columns)
