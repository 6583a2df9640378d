# SPDX-License-Identifier: Apache-2.0
import numpy as np

FIRST = 60  # a frame of the simulated hall, in flight


class Texture:
    """An endless smooth pattern, known between the pixels too."""

    def __init__(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        angles, lengths = rng.uniform(0, 2 * np.pi, 60), rng.uniform(8, 80, 60)
        self.waves = 2 * np.pi / lengths * np.stack([np.cos(angles), np.sin(angles)])
        self.phases = rng.uniform(0, 2 * np.pi, 60)

    def image(self, uv_of_pixels: np.ndarray) -> np.ndarray:
        """(H, W) uint8 with the pattern at the positions (H, W, 2)."""
        return np.clip(128 + 10 * np.sin(uv_of_pixels @ self.waves + self.phases).sum(-1), 0, 255).astype(np.uint8)


def pixels(height: int = 240, width: int = 320) -> np.ndarray:
    return np.stack(np.meshgrid(np.arange(width), np.arange(height)), axis=-1).astype(float)
