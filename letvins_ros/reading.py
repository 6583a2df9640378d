# SPDX-License-Identifier: Apache-2.0
"""Files to read from, and arrays in .npy files."""

import errno
import stat
import tokenize
from pathlib import Path

import numpy as np

from letvins_ros.errors import DataError

_MALFORMED = (  # what numpy raises for a damaged header, which it parses as Python
    *(EOFError, MemoryError, OSError, OverflowError, RecursionError, SyntaxError, TypeError, ValueError),
    tokenize.TokenError,
)


def ending(path: Path) -> Path:
    """The path, unless it leads to what may never end; OSError for a named pipe, a device and a socket.

    A pipe without a name, as a shell makes it of `<(command)`, ends with its command.
    """
    mode = path.stat().st_mode
    if stat.S_ISREG(mode) or stat.S_ISDIR(mode) or (stat.S_ISFIFO(mode) and not path.resolve().exists()):
        return path
    kind = "a named pipe" if stat.S_ISFIFO(mode) else "a socket" if stat.S_ISSOCK(mode) else "a device"
    raise OSError(errno.EINVAL, f"is {kind}, not a file", str(path))


def read_array(path: Path) -> np.ndarray:
    """The array of a .npy file, read from it when it is used; DataError where the file is none or incomplete."""
    try:
        return np.load(ending(path), mmap_mode="r", allow_pickle=False)
    except _MALFORMED as error:
        raise DataError(f"{path}: not a whole .npy file ({' '.join(str(error).split())})") from error
