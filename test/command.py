# SPDX-License-Identifier: Apache-2.0
"""The command line: called in this process by the fixture `letvins`, or started as one of its own."""

import os
import resource
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[1]
RESULTS = {  # what a run writes
    *("trajectory.tum", "trajectory_map.tum", "metrics.json", "timing.csv", "config.yaml"),
    *("trajectory.png", "error.png", "timing.png", "report.html"),
}
Letvins = Callable[..., tuple[str | int, str, str]]  # arguments to exit code, stdout and stderr


def letvins_command(*arguments: object) -> list[str]:
    """The words that start it."""
    return [sys.executable, "-m", "letvins_ros.cli", *map(str, arguments)]


def environment(**more: str) -> dict[str, str]:
    """Of a process that takes this source, wherever it is started, and messages of ROS that are installed."""
    paths = filter(None, (str(ROOT), os.environ.get("PYTHONPATH")))
    return {**os.environ, "PYTHONPATH": ":".join(paths), **more}


@contextmanager
def no_file_above(size: int) -> Iterator[None]:
    """Files may not grow beyond so many bytes, which fails in every writer as a full disk does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
