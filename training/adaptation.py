# SPDX-License-Identifier: Apache-2.0
"""Homographic adaptation (DeTone et al. 2018): what a detector finds in an image from many views of it."""

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from letvins_ros.networks.superpoint import heat_map
from training.data.homographies import random_affine

_SCALES = 0.4, 1.5  # of the views
_AT_ONCE = 10  # views of an image
_SPREAD_PX = 1.0  # of heat, so that a point is not missed between the pixels of a larger view


def random_views(rng: np.random.Generator, size: tuple[int, int], count: int) -> Tensor:
    """H_view_image (count, 3, 3) float32 of the image itself and of views of it, turned and scaled anyhow."""
    views = [np.eye(3), *(random_affine(rng, size, _SCALES, np.pi) for _ in range(count - 1))]
    return torch.from_numpy(np.stack(views)).float()


@torch.no_grad()
def adapted_heat(network: nn.Module, gray: Tensor, H_view_image: Tensor) -> Tensor:
    """Mean heat (B, H, W) of gray images (B, 1, H, W) in 0..1 over their views (B, K, 3, 3).

    A point keeps its sum of heat, whatever the scale of the view that shows it.
    """
    size = (gray.shape[-2], gray.shape[-1])
    total = gray.new_zeros(2, len(gray), *size)  # of heat, and of views that show the pixel
    for views in H_view_image.split(_AT_ONCE, dim=1):
        shape = views.shape[:2]
        H = views.flatten(0, 1)
        seen = resample(gray.repeat_interleave(shape[1], dim=0), torch.linalg.inv(H), size, "reflection")
        heat = _spread(heat_map(network(seen).logits)[:, None])
        back = resample(torch.cat([heat, torch.ones_like(heat)], dim=1), H, size)
        back[:, 0] *= area_ratio(H, size)
        total += back.unflatten(0, shape).sum(dim=1).transpose(0, 1)
    return total[0] / total[1].clamp(min=1e-6)


def _spread(heat: Tensor) -> Tensor:
    """Blur (B, 1, H, W) by a Gaussian."""
    axis = torch.arange(-3.0, 4.0, device=heat.device)
    kernel = torch.exp(-(axis**2) / (2 * _SPREAD_PX**2))
    kernel = (kernel / kernel.sum()).reshape(1, 1, 1, -1)
    return functional.conv2d(functional.conv2d(heat, kernel, padding=(0, 3)), kernel.transpose(2, 3), padding=(3, 0))


def resample(x: Tensor, H_x_y: Tensor, size: tuple[int, int], beyond: str = "zeros") -> Tensor:
    """(B, C, H, W) as seen in y, (B, C, *size): read bilinearly at the places (B, 3, 3) takes y's pixels to."""
    p = _pixels(H_x_y, size)
    uv = p[..., :2] / p[..., 2:].clamp(min=1e-6)
    grid = uv * uv.new_tensor([2 / (x.shape[-1] - 1), 2 / (x.shape[-2] - 1)]) - 1
    return functional.grid_sample(x, grid.unflatten(1, size), align_corners=True, padding_mode=beyond)


def area_ratio(H_x_y: Tensor, size: tuple[int, int]) -> Tensor:
    """Area (B, *size) in x that a pixel of y takes."""
    w = _pixels(H_x_y, size)[..., 2].clamp(min=1e-6)
    return (torch.linalg.det(H_x_y).abs()[:, None] / w**3).unflatten(1, size)


def _pixels(H: Tensor, size: tuple[int, int]) -> Tensor:
    rows, columns = torch.meshgrid(*(torch.arange(n, device=H.device, dtype=H.dtype) for n in size), indexing="ij")
    uv = torch.stack([columns, rows, torch.ones_like(rows)], dim=-1).flatten(0, 1)
    return uv @ H.transpose(1, 2)
