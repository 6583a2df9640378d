# SPDX-License-Identifier: Apache-2.0
"""All surfaces of a world in one picture, with smaller copies for distant views (Williams 1983)."""

from dataclasses import dataclass

import cv2
import numpy as np

LEVELS = 5
GUTTER = 1 << (LEVELS - 1)  # texels around each surface, so that the smallest copy does not mix neighbours
WIDTH = 8192
MAX_SIDE = 32_000  # cv2.remap addresses its source in 16 bits


@dataclass(frozen=True, eq=False)
class Atlas:
    """Level 0 at the left, the halved copies below each other at its right."""

    image: np.ndarray  # (H, 1.5 W[, 3]) uint8
    offset: np.ndarray  # (Q, 2) float64, texel edge x y in level 0 of each surface's first texel
    level_offset: np.ndarray  # (LEVELS, 2) float32, texels


def pack(surfaces: list[np.ndarray]) -> Atlas:
    """Lay surfaces (H, W[, 3]) uint8 in rows, the highest first."""
    spots, height = _place([surface.shape for surface in surfaces])
    image = np.zeros((height, WIDTH * 3 // 2, *surfaces[0].shape[2:]), np.uint8)
    for surface, (x, y) in zip(surfaces, spots, strict=True):
        padded = cv2.copyMakeBorder(surface, GUTTER, GUTTER, GUTTER, GUTTER, cv2.BORDER_REPLICATE)
        image[y : y + padded.shape[0], x : x + padded.shape[1]] = padded
    level_offset = np.zeros((LEVELS, 2), np.float32)
    level, y = image[:, :WIDTH], 0
    for i in range(1, LEVELS):
        level = cv2.resize(level, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
        image[y : y + level.shape[0], WIDTH : WIDTH + level.shape[1]] = level
        level_offset[i] = WIDTH, y
        y += level.shape[0]
    return Atlas(image, np.array(spots, float) + GUTTER, level_offset)


def _place(shapes: list[tuple[int, ...]]) -> tuple[list[tuple[int, int]], int]:
    """Corner x y of each surface with its gutter, and the height of all."""
    spots = [(0, 0)] * len(shapes)
    x, y, row = 0, 0, 0
    for i in sorted(range(len(shapes)), key=lambda i: -shapes[i][0]):
        height, width = (-(-(side + 2 * GUTTER) // GUTTER) * GUTTER for side in shapes[i][:2])
        if x + width > WIDTH:
            x, y, row = 0, y + row, 0
        spots[i] = x, y
        x, row = x + width, max(row, height)
    if y + row > MAX_SIDE or max(shape[1] for shape in shapes) + 2 * GUTTER > WIDTH:
        raise ValueError(f"the surfaces need {y + row} rows of {WIDTH} texels, {MAX_SIDE} fit")
    return spots, y + row
