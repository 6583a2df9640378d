# SPDX-License-Identifier: Apache-2.0
"""`python -m letvins_ros.ros.start NODE ...` runs a node; a signal ends it with code 0 while it still imports, too."""

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module

from letvins_ros.processes import end_with_named_parent

SIGNALS = (signal.SIGINT, signal.SIGTERM)
LINGER_S = 0.3  # else `ros2 launch` loses the exit code of who ends between the terminal's Ctrl-C and its own


def main() -> None:
    """Run the node that the first argument names, which takes over both signals."""
    for sign in SIGNALS:
        signal.signal(sign, _leave)
    end_with_named_parent(signal.SIGTERM)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)  # who started this process may have held them back until now
    name = sys.argv[1]
    sys.argv[:2] = [name]
    import_module(f"letvins_ros.ros.{name}").main()


def _leave(*_: object) -> None:
    """End while there is nothing to put in order yet."""
    time.sleep(LINGER_S)
    os._exit(0)


@contextmanager
def signals_noted() -> Iterator[threading.Event]:
    """Ctrl-C and SIGTERM set the event and interrupt nothing; afterwards they do nothing, because the process ends."""
    ended = threading.Event()
    for sign in SIGNALS:
        signal.signal(sign, lambda *_: ended.set())
    yield ended
    for sign in SIGNALS:  # the interpreter gives other handlers back to the system before it is gone
        signal.signal(sign, signal.SIG_IGN)


if __name__ == "__main__":
    main()
