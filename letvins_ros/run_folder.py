# SPDX-License-Identifier: Apache-2.0
"""The folder that a run writes to."""

import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from letvins_ros.errors import LetvinsError

RESULTS = Path("results")


@contextmanager
def run_folder(out: Path | None, name: str) -> Iterator[Path]:
    """Make the folder `out`, or `results/<name>-<time>` which `results/latest` then points to.

    Raises LetvinsError where it cannot be written, before any work is done. After an error an empty new folder goes.
    """
    folder = out or _unused(RESULTS / f"{name}-{time.strftime('%Y%m%d-%H%M%S')}")
    is_new = not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise LetvinsError(f"{folder}: cannot write results there: {error.strerror}") from None
    try:
        yield folder
    except BaseException:
        if is_new:
            with suppress(OSError):  # what was written before the error is kept
                folder.rmdir()
        raise
    if out is None:
        _link_latest(folder)


def _unused(folder: Path) -> Path:
    """Return the folder or, when another run took the name in the same second, the next free one."""
    candidate, i = folder, 1
    while candidate.exists():
        i += 1
        candidate = folder.with_name(f"{folder.name}-{i}")
    return candidate


def _link_latest(folder: Path) -> None:
    """Let results/latest point to the folder; another run that does the same never finds it missing."""
    link = folder.parent / f".latest-{os.getpid()}"
    try:
        link.symlink_to(folder.name)
        link.replace(folder.parent / "latest")
    except OSError:  # no symbolic links on this disk, or a real folder of that name: the run is good all the same
        link.unlink(missing_ok=True)
