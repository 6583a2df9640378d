# SPDX-License-Identifier: Apache-2.0
"""Child processes that end with their parent, however it ends."""

import ctypes
import os
import signal
import sys
import threading
import time

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
