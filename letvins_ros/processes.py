# SPDX-License-Identifier: Apache-2.0
"""A process: its memory, and that it ends with its parent, however that ends."""

import ctypes
import os
import resource
import signal
import sys
import threading
import time
from pathlib import Path

from letvins_ros.errors import LetvinsError

ADDRESS_SPACE = 2_000_000_000  # bytes that the libraries of a run reserve at most, and use a quarter of
PARENT = "LETVINS_PARENT"  # environment variable: id of the process with which a command is to end
_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_GRACE_S = 1.5  # between the signal and the end by force
_POLL_S = 0.5


def end_with_parent(parent: int, sign: signal.Signals = signal.SIGKILL) -> None:
    """Let this process get a signal when the parent process with this id has ended, and end soon after.

    On Linux the system sends the signal, also while this process is within a long call; elsewhere a thread looks for
    the parent's end. The parent must start this process from a thread that lasts as long as it does.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(sign))
    threading.Thread(target=_watch, args=(parent, sign), name="parent", daemon=True).start()


def end_with_named_parent(sign: signal.Signals = signal.SIGKILL) -> None:
    """The same where the environment names the parent; this process's own children are told nothing."""
    if parent := os.environ.pop(PARENT, ""):
        end_with_parent(int(parent), sign)


def _watch(parent: int, sign: signal.Signals) -> None:
    while os.getppid() == parent:
        time.sleep(_POLL_S)
    os.kill(os.getpid(), sign)  # it may have ended before the system was asked
    time.sleep(_GRACE_S)
    os._exit(1)


def check_address_space() -> None:
    """Raise LetvinsError where `ulimit -v` leaves too little address space, as native libraries crash without."""
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if 0 <= limit < ADDRESS_SPACE:
        raise LetvinsError(
            f"the address space is limited to {limit / 1e9:.2f} GB (`ulimit -v`), {ADDRESS_SPACE / 1e9:g} GB are needed"
        )


def peak_rss_mb() -> float:
    """Peak memory of this process, MB."""
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    for line in lines:  # getrusage would count a parent's memory from before exec
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
