# SPDX-License-Identifier: Apache-2.0
"""What both writers share."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np

from letvins_ros.errors import DataError

# A Huffman code alone packs noisy images better and faster than the search for repetitions.
FAST_PNG = (cv2.IMWRITE_PNG_COMPRESSION, 1, cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_HUFFMAN_ONLY)


@contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """A folder beside `out`, which takes its name when all went well and vanishes otherwise.

    Raise DataError where `out` holds something already or cannot be written.
    """
    try:
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise DataError(f"{out}: exists and is not an empty folder; name a new one")
        out.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    except OSError as error:
        raise DataError(f"{out}: cannot be made ({error.strerror})") from error
    try:
        yield temporary
        temporary.chmod(0o755)
        temporary.replace(out)
    except OSError as error:  # such as a full disk
        raise DataError(f"{out}: cannot be written ({error.strerror})") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def write_png(path: Path, image: np.ndarray) -> None:
    """Write a gray (H, W) or RGB (H, W, 3) image."""
    bgr = image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    path.write_bytes(cv2.imencode(".png", bgr, FAST_PNG)[1].tobytes())
