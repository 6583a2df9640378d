# SPDX-License-Identifier: Apache-2.0
"""The parts of KP2Dtiny: encoder, descriptor head and the decoder for whatever is dense."""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from letvins_ros.networks.cells import conv_block
from letvins_ros.networks.efficient_attention import AttentionBlock

DROPOUT = 0.2


class Style:
    """How blocks are made: LeakyReLU and pixel shuffle, or ReLU and transposed convolution for microcontrollers."""

    def __init__(self, mcu: bool, dropout: bool) -> None:
        self.mcu, self.dropout = mcu, dropout

    def block(self, channels_in: int, channels_out: int) -> nn.Sequential:
        """3x3 convolution, batch norm, activation."""
        return conv_block(channels_in, channels_out, leaky=not self.mcu)

    def drop(self) -> nn.Module:
        """Dropout of whole channels."""
        return nn.Dropout2d(DROPOUT) if self.dropout else nn.Identity()

    def upsample(self, channels: int) -> nn.Module:
        """Double the size with a quarter of the channels."""
        if not self.mcu:
            return nn.PixelShuffle(2)
        return nn.Sequential(
            nn.ConvTranspose2d(channels, channels // 4, 3, 2, padding=1, output_padding=1, bias=False),
            nn.BatchNorm2d(channels // 4),
            nn.ReLU(),
        )

    def task_head(self, channels_in: int, channels_out: int) -> nn.Sequential:
        """Score or location."""
        return nn.Sequential(
            self.block(channels_in, channels_in), self.drop(), nn.Conv2d(channels_in, channels_out, 3, padding=1)
        )


class Backbone(nn.Module):
    """Image -> features (B, c4, H/cell, W/cell) and those before the last pooling."""

    def __init__(self, widths: tuple[int, int, int, int], poolings: int, style: Style) -> None:
        super().__init__()
        c1, c2, c3, c4 = widths
        channels = (3, c1, c2, c2, c3, c3, c4, c4, c4)
        self.blocks = nn.ModuleList(style.block(a, b) for a, b in pairwise(channels))
        self.drop = style.drop()
        self.poolings = poolings

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self._pair(x, 0)
        x = self._pair(functional.max_pool2d(x, 2) if self.poolings >= 2 else x, 1)
        skip = self._pair(functional.max_pool2d(x, 2) if self.poolings >= 3 else x, 2)
        return self._pair(functional.max_pool2d(skip, 2), 3), skip

    def _pair(self, x: Tensor, pair: int) -> Tensor:
        return self.drop(self.blocks[2 * pair + 1](self.blocks[2 * pair](x)))


class DescriptorHead(nn.Module):
    """Features at both sizes -> descriptors (B, n, h, w) at the size of the skip."""

    def __init__(self, c3: int, c4: int, features: int, style: Style) -> None:
        super().__init__()
        self.reduce, self.drop = style.block(c4, c4), style.drop()
        self.grow = nn.Conv2d(c4, 4 * c3, 3, padding=1)
        self.up = style.upsample(4 * c3)
        self.merge = style.block(c3 + c4, c4)
        self.out = nn.Conv2d(c4, features, 3, padding=1)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        x = self.up(self.grow(self.drop(self.reduce(x))))
        return self.out(self.merge(torch.cat([x, skip], dim=1)))


class Decoder(nn.Module):
    """Features at both sizes -> hidden features (B, hidden, h, w) at the size of the skip, having looked far around."""

    def __init__(self, widths: tuple[int, ...], hidden: int, attention: bool, residual: bool, style: Style) -> None:
        super().__init__()
        _, _, c3, c4, c5, d1 = widths
        coarse = (
            [AttentionBlock(c5, 4, 2, 2, residual), AttentionBlock(c5, 4, 2, 2, residual)]
            if attention
            else [style.block(c5, c5) for _ in range(3)]
        )
        self.blocks = nn.ModuleList(
            [
                style.block(c4, c5),
                *coarse,
                style.block(c5, d1),
                style.block(c5 + d1 // 4, c5),
                style.block(c5, d1),
                style.block(c4 + c3, hidden),
            ]
        )
        self.up1, self.up2, self.drop = style.upsample(d1), style.upsample(d1), style.drop()

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        grow, mix, grow_again, last = self.blocks[-4:]
        coarse = functional.max_pool2d(self.blocks[1](self.blocks[0](x)), 2)
        for block in self.blocks[2:-4]:
            coarse = block(coarse)
        near = mix(torch.cat([self.up1(self.drop(grow(coarse))), x], dim=1))
        return last(torch.cat([self.up2(self.drop(grow_again(near))), skip], dim=1))
