# SPDX-License-Identifier: Apache-2.0
"""What both writers share."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np

from letvins_ros.errors import DataError
from letvins_ros.writing import atomic_path

# A Huffman code alone packs noisy images better and faster than the search for repetitions.
FAST_PNG = (cv2.IMWRITE_PNG_COMPRESSION, 1, cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_HUFFMAN_ONLY)


@contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """A folder to write to, which becomes `out` at the end, and is removed after an error.

    Raises DataError where `out` holds something already or cannot be written.
    """
    try:
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise DataError(f"{out}: exists and is not an empty folder; name a new one")
    except OSError as error:
        raise DataError(f"{out}: {error.strerror}") from error
    with atomic_path(out) as part:
        part.mkdir()
        yield part


def write_png(path: Path, image: np.ndarray) -> None:
    """Write a gray (H, W) or RGB (H, W, 3) image."""
    bgr = image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    path.write_bytes(cv2.imencode(".png", bgr, FAST_PNG)[1].tobytes())
