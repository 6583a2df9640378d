# SPDX-License-Identifier: Apache-2.0
"""The output folder of a run."""

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from letvins_ros.errors import DataError, LetvinsError
from letvins_ros.writing import atomic_path, unused

RESULTS = Path("results")


@contextmanager
def run_folder(out: Path | None, name: str) -> Iterator[Path]:
    """Make the folder `out`, or `results/<name>-<time>` which `results/latest` then points to.

    Raises LetvinsError at the start where it cannot be written. A new folder that is empty after an error is removed.
    """
    folder = out or unused(RESULTS / f"{name}-{time.strftime('%Y%m%d-%H%M%S')}")
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
            with suppress(OSError):  # not empty: what was written is kept
                folder.rmdir()
        raise
    if out is None:
        _link_latest(folder)


def _link_latest(folder: Path) -> None:
    """Point results/latest to the folder, atomically."""
    with suppress(DataError), atomic_path(folder.parent / "latest") as link:  # no symbolic links here: not essential
        link.symlink_to(folder.name)
