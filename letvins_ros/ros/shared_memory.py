# SPDX-License-Identifier: Apache-2.0
"""Shared memory of Fast DDS that killed processes have left; needs no ROS."""

import fcntl
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

FOLDER = Path("/dev/shm")  # noqa: S108  (where Fast DDS puts it on Linux)
_SEGMENT = re.compile(r"fastrtps_[0-9a-f]{16}_el")  # beside the segment; its process holds a lock on it while it lives
_PORT = re.compile(r"fastrtps_port(\d+)_el")  # the same for what a process receives by
_YOUNG_S = 10.0  # a process may be about to lock it
_DISCOVERY = range(7000, 7400)  # ports for discovery, in all domains; as seen of Fast DDS 2.14
_AVOIDED = 60  # ports at most; Fast DDS tries a hundred until it finds a free one


@contextmanager
def fresh_ports(domain: int, folder: Path = FOLDER) -> Iterator[int]:
    """A participant that is made meanwhile gets no port that a process killed of late has had; how many there are.

    With its predecessor's port it would be deaf until those who send there have found out that they write into the
    memory of a dead process: for one to three seconds, and for good where it died between two messages.
    """
    data = range(7400 + 250 * domain, 7650 + 250 * domain)  # RTPS 2.3, 9.6.1.1
    matches = [match for lock in folder.glob("fastrtps_port*_el") if (match := _PORT.fullmatch(lock.name))]
    ours = [folder / match[0] for match in matches if int(match[1]) in data or int(match[1]) in _DISCOVERY]
    held: list[int] = []
    for lock in sorted(ours, key=_made_at, reverse=True):
        if len(held) < _AVOIDED and (file := _take(lock)) is not None:
            held.append(file)
    try:
        yield len(held)
    finally:
        for file in held:
            os.close(file)


def _made_at(lock: Path) -> float:
    try:
        return _memory(lock).stat().st_mtime
    except OSError:
        return 0.0


def _memory(lock: Path) -> Path:
    return lock.with_name(lock.name.removesuffix("_el"))


def _take(lock: Path) -> int | None:
    """The open file, locked until it is closed; None where another process holds it, it is another user's, or gone."""
    try:
        file = os.open(lock, os.O_RDONLY)
    except OSError:
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(file)
        return None
    return file


def remove_abandoned(folder: Path = FOLDER) -> int:
    """Remove this user's segments that no process holds, as `fastdds shm clean` does; how many there were.

    They cannot be told apart by program: those of other users of Fast DDS that were killed go too.
    """
    return sum(_removed(lock) for lock in folder.glob("fastrtps_*_el") if _SEGMENT.fullmatch(lock.name))


def _removed(lock: Path) -> bool:
    held = _take(lock)
    if held is None:
        return False
    try:
        status = os.fstat(held)
        if status.st_uid != os.getuid() or time.time() - status.st_mtime < _YOUNG_S:
            return False
        _memory(lock).unlink(missing_ok=True)
        lock.unlink()
    except OSError:  # another process has just removed it
        return False
    finally:
        os.close(held)
    return True
