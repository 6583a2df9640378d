# SPDX-License-Identifier: Apache-2.0
"""DDS domains for tests."""

import fcntl
import os
from collections import deque
from pathlib import Path
from tempfile import gettempdir
from typing import IO

_HELD = 8  # by a process: one that a test has just left may still hear of its killed nodes
_held = deque[tuple[int, IO[str]]]()


def own_domain() -> int:
    """A DDS domain that no other test process of this machine has."""
    if len(_held) < _HELD:
        _held.append(_free())
    else:
        _held.rotate(-1)
    return _held[-1][0]


def _free() -> tuple[int, IO[str]]:
    for domain in range(1, 102):  # the ports of those above may be taken by connections
        lock = Path(gettempdir(), f"letvins_{os.getuid()}_domain_{domain}.lock").open("a")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
        else:
            return domain, lock
    raise RuntimeError("other test processes have all DDS domains")
