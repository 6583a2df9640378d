# SPDX-License-Identifier: Apache-2.0
"""Arrays in .npy files."""

import tokenize
from pathlib import Path

import numpy as np

from letvins_ros.errors import DataError
from letvins_ros.reading import ending

_MALFORMED = (  # what numpy raises for a damaged header, which it parses as Python
    *(EOFError, MemoryError, OSError, OverflowError, RecursionError, SyntaxError, TypeError, ValueError),
    tokenize.TokenError,
)


def read_array(path: Path) -> np.ndarray:
    """The array of a .npy file, read from it when it is used; DataError where the file is none or incomplete."""
    try:
        return np.load(ending(path), mmap_mode="r", allow_pickle=False)
    except _MALFORMED as error:
        raise DataError(f"{path}: not a whole .npy file ({' '.join(str(error).split())})") from error
