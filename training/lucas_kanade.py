# SPDX-License-Identifier: Apache-2.0
"""Lucas-Kanade as a differentiable layer: a batch of independent 2x2 systems per Gauss-Newton step."""

import torch
from torch import Tensor
from torch.nn import functional

DAMPING = 1 / 64  # of gradients per pixel: LET-NET2's 1.0 for its undivided Sobel, rescaled by 1/8 squared


WINDOW = 21  # pixels, as in the tracker


def track(feature_a: Tensor, feature_b: Tensor, points: Tensor, start: Tensor, steps: int) -> Tensor:
    """Flow (B, P, 2) px of `points` (B, P, 2) from map a to map b (B, C, H, W), begun at `start` (B, P, 2).

    Like OpenCV's, it takes the gradient (Sobel / 8) from a, once, so A is inverted once (Baker & Matthews 2004, inverse
    compositional for translations). Pixels outside repeat the border.
    """
    around = points[:, :, None] + _window().to(points)  # (B, P, K, 2)
    template = sample(feature_a, around)  # (B, C, P, K)
    gx, gy = (sample(gradient, around) for gradient in gradients(feature_a))
    xx, xy, yy = ((a * b).sum((1, 3)) for a, b in ((gx, gx), (gx, gy), (gy, gy)))  # each (B, P)
    xx, yy = xx + DAMPING, yy + DAMPING
    determinant = xx * yy - xy * xy
    flow = start
    for _ in range(steps):
        residual = sample(feature_b, around + flow[:, :, None]) - template
        bx, by = (gx * residual).sum((1, 3)), (gy * residual).sum((1, 3))
        step = torch.stack([yy * bx - xy * by, xx * by - xy * bx], dim=-1) / determinant[..., None]
        flow = flow - step
    return flow


def gradients(image: Tensor) -> tuple[Tensor, Tensor]:
    """Derivatives per pixel along x and y of (B, C, H, W), by Sobel / 8."""
    channels = image.shape[1]
    sobel = image.new_tensor([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]]) / 8
    padded = functional.pad(image, (1, 1, 1, 1), mode="replicate")
    gx = functional.conv2d(padded, sobel.expand(channels, 1, 3, 3), groups=channels)
    gy = functional.conv2d(padded, sobel.T.expand(channels, 1, 3, 3), groups=channels)
    return gx, gy


def sample(image: Tensor, points: Tensor) -> Tensor:
    """(B, C, H, W) read bilinearly at (B, P, K, 2) pixels -> (B, C, P, K)."""
    height, width = image.shape[-2:]
    scale = points.new_tensor([2 / (width - 1), 2 / (height - 1)])
    return functional.grid_sample(image, points * scale - 1, align_corners=True, padding_mode="border")


def pyramid_down(image: Tensor) -> Tensor:
    """Halve (B, C, H, W) like OpenCV's pyrDown: pixel (i, j) of the result lies at (2i, 2j)."""
    channels = image.shape[1]
    taps = image.new_tensor([1, 4, 6, 4, 1]) / 16
    kernel = torch.outer(taps, taps).expand(channels, 1, 5, 5)
    return functional.conv2d(functional.pad(image, (2, 2, 2, 2), mode="reflect"), kernel, stride=2, groups=channels)


def _window() -> Tensor:
    axis = torch.arange(WINDOW) - WINDOW // 2
    return torch.stack(torch.meshgrid(axis, axis, indexing="xy"), dim=-1).reshape(-1, 2)
