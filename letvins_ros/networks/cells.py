# SPDX-License-Identifier: Apache-2.0
"""Keypoints as KP2D sees them: one in each cell of the image, with a score, a place and a descriptor."""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from letvins_ros.errors import ConfigError


class CellPoints(NamedTuple):
    """One keypoint per cell of an image (H, W)."""

    score: Tensor  # (B, 1, h, w) 0..1, 0 in the outermost ring
    coord: Tensor  # (B, 2, h, w) px, x and y, within the image
    descriptor: Tensor  # (B, D, h', w') dense, neither normalised nor sampled at the keypoints


def conv_block(channels_in: int, channels_out: int, leaky: bool = True, momentum: float = 0.1) -> nn.Sequential:
    """3x3 convolution without bias, batch norm and LeakyReLU (ReLU if not leaky)."""
    return nn.Sequential(
        nn.Conv2d(channels_in, channels_out, 3, padding=1, bias=False),
        nn.BatchNorm2d(channels_out, momentum=momentum),
        nn.LeakyReLU() if leaky else nn.ReLU(),
    )


def without_border(score: Tensor) -> Tensor:
    """Set the outermost ring of (B, 1, h, w) to zero."""
    return functional.pad(score[..., 1:-1, 1:-1], (1, 1, 1, 1))


def to_pixels(offset: Tensor, cell: int, reach: float) -> Tensor:
    """Pixels (B, 2, h, w) of offsets (B, 2, h, w) in -1..1 from the centres of cells of `cell` pixels.

    A reach of 1 keeps a keypoint within its cell; 2 lets it cross the border (Tang et al. 2020, eq. 1).
    """
    height, width = offset.shape[-2:]
    step = (cell - 1) / 2
    x = torch.arange(width, device=offset.device, dtype=offset.dtype) * cell + step
    y = torch.arange(height, device=offset.device, dtype=offset.dtype) * cell + step
    place = offset * (reach * step)
    return torch.stack(
        [
            (place[:, 0] + x).clamp(0, width * cell - 1),
            (place[:, 1] + y[:, None]).clamp(0, height * cell - 1),
        ],
        dim=1,
    )


def describe(descriptor: Tensor, coord: Tensor, size: tuple[int, int]) -> Tensor:
    """Unit descriptors (B, D, h, w) read bilinearly from a dense map (B, D, h', w') at pixels (B, 2, h, w).

    size is the image's (height, width); the map's corner pixels lie on the image's.
    """
    scale = coord.new_tensor([2 / (size[1] - 1), 2 / (size[0] - 1)])
    grid = coord.permute(0, 2, 3, 1) * scale - 1
    return functional.normalize(functional.grid_sample(descriptor, grid, align_corners=True), dim=1)


def check_size(image: Tensor, channels: int, multiple: int) -> None:
    """Raise ConfigError if (B, C, H, W) has other channels or a side that is no multiple."""
    if not isinstance(image.shape[-1], int):
        return  # a symbol, while the network is being exported
    if image.ndim != 4 or image.shape[1] != channels:
        raise ConfigError(f"an image batch must be (B, {channels}, H, W), got {tuple(image.shape)}")
    height, width = image.shape[-2:]
    if height % multiple or width % multiple:
        raise ConfigError(f"height and width must be multiples of {multiple}, got {height}x{width}")
