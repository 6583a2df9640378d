# SPDX-License-Identifier: Apache-2.0
"""Files and folders that appear complete or not at all, and JSON."""

import json
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile
from typing import Any

from letvins_ros.errors import DataError


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A path of the same name to write a file or folder to; it replaces `path` at the end, not after an error.

    It lies in a temporary folder beside `path`, which is removed. Raises DataError where that cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix=f".{path.name}-", dir=path.parent, ignore_cleanup_errors=True) as folder:
            part = Path(folder) / path.name
            yield part
            part.replace(path)
    except OSError as error:
        raise DataError(f"cannot write {path}: {error.strerror or error}") from error


def write_atomic(path: Path, content: str | bytes) -> None:
    """Write a file that appears complete or not at all. Raises DataError where it cannot be written."""
    with atomic_path(path) as part:
        part.write_bytes(content.encode() if isinstance(content, str) else content)


def check_writable(path: Path) -> None:
    """Raise DataError where a file could not be written to `path`; its folder is made."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        TemporaryFile(dir=path.parent).close()
    except OSError as error:
        raise DataError(f"cannot write {path}: {error.strerror}") from error
    if path.is_dir():
        raise DataError(f"cannot write {path}: it is a folder")


def sync(path: Path) -> None:
    """Wait until a file's content is on the disk, so that it survives a power failure."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def to_json(value: Any) -> str:
    """Indented JSON; what is not a finite number becomes null, as JSON has no NaN."""
    return json.dumps(_finite(value), indent=2, allow_nan=False) + "\n"


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
