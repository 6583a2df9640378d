# SPDX-License-Identifier: Apache-2.0
"""Files to read from."""

import errno
import stat
from pathlib import Path


def ending(path: Path) -> Path:
    """The path, unless it leads to what may never end; OSError for a named pipe, a device and a socket.

    A pipe without a name, as a shell makes it of `<(command)`, ends with its command.
    """
    mode = path.stat().st_mode
    if stat.S_ISREG(mode) or stat.S_ISDIR(mode) or (stat.S_ISFIFO(mode) and not path.resolve().exists()):
        return path
    kind = "a named pipe" if stat.S_ISFIFO(mode) else "a socket" if stat.S_ISSOCK(mode) else "a device"
    raise OSError(errno.EINVAL, f"is {kind}, not a file", str(path))
