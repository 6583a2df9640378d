# SPDX-License-Identifier: Apache-2.0
"""Pictures that tests of the training are fed with."""

import cv2
import numpy as np

from training.data.shapes import draw

MILD = np.array([[0.95, 0.08, 6.0], [-0.06, 1.02, 4.0], [1e-4, -5e-5, 1.0]])  # a homography of 240 x 320 pixels


def picture(seed: int, size: tuple[int, int] = (240, 320)) -> np.ndarray:
    """Boards and stars on soft noise, (H, W, 3) uint8: something to match everywhere."""
    rng = np.random.default_rng(seed)
    planes = []
    for _ in range(3):
        noise = cv2.GaussianBlur(rng.normal(0, 1, size), (0, 0), 2.5)
        planes.append(128 + 40 * noise / noise.std())
    board, _ = draw("checkerboard", rng, size)
    mixed = 0.7 * np.stack(planes, axis=2) + 0.3 * board[..., None]
    return np.clip(mixed, 0, 255).astype(np.uint8)
