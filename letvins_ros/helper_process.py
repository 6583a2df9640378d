# SPDX-License-Identifier: Apache-2.0
"""A second process of ours for heavy work: GTSAM holds Python's lock while it solves, and a thread would delay all."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from multiprocessing.connection import Connection

from letvins_ros.processes import PARENT, end_with_named_parent

_INTERRUPT = {signal.SIGINT}


def start_helper(serve: Callable[[Connection], None], pipe: Connection, nice: int = 0) -> "subprocess.Popen[bytes]":
    """Call a module's function with this end of a pipe in a new process, which ends with this one.

    It must be called in a thread that lasts as long as the new process.
    """
    what = (str(pipe.fileno()), serve.__module__, serve.__name__, str(nice))
    command = [sys.executable, "-P", "-m", "letvins_ros.helper_process", *what]
    own = {PARENT: str(os.getpid()), "PYTHONPATH": os.pathsep.join(path or os.curdir for path in sys.path)}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _INTERRUPT)  # for the child, until it ignores Ctrl-C
    try:
        return subprocess.Popen(command, env={**os.environ, **own}, stdin=subprocess.DEVNULL, pass_fds=[pipe.fileno()])  # noqa: S603  (our own)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def main() -> None:
    """In the new process: heavy imports come once it is certain that it ends with its parent, which gets the Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _INTERRUPT)
    end_with_named_parent()
    pipe, module, name, nice = sys.argv[1:]
    os.nice(int(nice))
    getattr(import_module(module), name)(Connection(int(pipe)))


if __name__ == "__main__":
    main()
