# SPDX-License-Identifier: Apache-2.0
"""Shared memory of Fast DDS that killed processes have left; needs no ROS."""

import fcntl
import os
import re
import time
from pathlib import Path

FOLDER = Path("/dev/shm")  # noqa: S108  (where Fast DDS puts it on Linux)
_LOCK = re.compile(r"fastrtps_[0-9a-f]{16}_el")  # beside the segment, whose process holds a lock on it while it lives
_YOUNG_S = 10.0  # a process may be about to lock it


def remove_abandoned(folder: Path = FOLDER) -> int:
    """Remove this user's segments that no process holds, as `fastdds shm clean` does; how many there were.

    They cannot be told apart by program: those of other users of Fast DDS that were killed go too.
    """
    locks = [path for path in folder.glob("fastrtps_*_el") if _LOCK.fullmatch(path.name)]
    return sum(map(_removed, locks))


def _removed(lock: Path) -> bool:
    try:
        held = os.open(lock, os.O_RDONLY)
    except OSError:  # another user's, or another process has just removed it
        return False
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        status = os.fstat(held)
        if status.st_uid != os.getuid() or time.time() - status.st_mtime < _YOUNG_S:
            return False
        lock.with_name(lock.name.removesuffix("_el")).unlink(missing_ok=True)
        lock.unlink()
    except OSError:  # a process holds it
        return False
    finally:
        os.close(held)
    return True
