# SPDX-License-Identifier: Apache-2.0
"""Images of 10 to 16 bits a pixel, of which trackers use 8."""

from collections.abc import Iterable

import numpy as np

_DEPTHS = (8, 10, 12, 14, 16)  # that cameras give
LOOKED_AT = 8  # images of a recording that tell how many bits it uses


class BitDepth:
    """Keeps the upper 8 of the bits that a camera uses, of all its images alike, so that brightness does not jump."""

    def __init__(self, bits: int | None = None) -> None:
        """bits: of a pixel, where that is known; else those of the brightest pixel that `look` has seen."""
        self._known, self._brightest = bits, 0

    def look(self, pixels: np.ndarray) -> None:
        """Take note of how bright pixels (H, W, ...) uint16 are."""
        self._brightest = max(self._brightest, int(pixels.max(initial=0)))

    @property
    def is_known(self) -> bool:
        """Whether anything tells the number of bits: black images do not."""
        return bool(self._known or self._brightest)

    @property
    def bits(self) -> int:
        """8, 10, 12, 14 or 16."""
        used = self._brightest.bit_length()
        return self._known or next(depth for depth in _DEPTHS if used <= depth)

    def reduce(self, pixels: np.ndarray) -> np.ndarray:
        """Pixels uint16 as uint8; those that are brighter than the ones looked at become 255."""
        return np.minimum(pixels >> (self.bits - 8), 255).astype(np.uint8)


def bits_note(camera: str, depth: BitDepth) -> str:
    """Say what was found."""
    return f"{camera}: images of 16 bits use {depth.bits}, the upper 8 of these are taken"


def spread(count: int) -> Iterable[int]:
    """Numbers of the images to look at, of so many."""
    return sorted({i * (count - 1) // (LOOKED_AT - 1) for i in range(LOOKED_AT)}) if count else ()
