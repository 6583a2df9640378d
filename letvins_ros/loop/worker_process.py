# SPDX-License-Identifier: Apache-2.0
"""The loop closer's process. Heavy imports come once it is certain that it ends with its parent."""

import signal
import sys
from multiprocessing.connection import Connection

from letvins_ros.processes import end_with_named_parent


def main() -> None:
    """Serve the pipe whose file descriptor is the first argument."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends the run
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    end_with_named_parent()
    from letvins_ros.loop.serving import serve

    serve(Connection(int(sys.argv[1])))


if __name__ == "__main__":
    main()
