# SPDX-License-Identifier: Apache-2.0
"""A second process of ours for heavy work: GTSAM holds Python's lock while it solves, and a thread would delay all."""

import os
import signal
import subprocess
import sys
from multiprocessing.connection import Connection

from letvins_ros.processes import PARENT, end_with_named_parent

_INTERRUPT = {signal.SIGINT}


def start_helper(module: str, pipe: Connection) -> "subprocess.Popen[bytes]":
    """Run a module, which speaks by this end of a pipe, sees the same modules and ends with this process.

    It must be called in a thread that lasts as long as the new process.
    """
    command = [sys.executable, "-P", "-m", module, str(pipe.fileno())]
    own = {PARENT: str(os.getpid()), "PYTHONPATH": os.pathsep.join(path or os.curdir for path in sys.path)}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _INTERRUPT)  # for the child, until it ignores Ctrl-C
    try:
        return subprocess.Popen(command, env={**os.environ, **own}, stdin=subprocess.DEVNULL, pass_fds=[pipe.fileno()])  # noqa: S603  (our own)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def helper_pipe() -> Connection:
    """In the new process, before heavy imports: the pipe to the parent, to which a Ctrl-C is left."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _INTERRUPT)
    end_with_named_parent()
    return Connection(int(sys.argv[1]))
