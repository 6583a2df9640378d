# SPDX-License-Identifier: Apache-2.0
"""Files and folders that appear complete or not at all, and JSON."""

import fcntl
import json
import math
import os
import re
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile
from typing import Any

from letvins_ros.errors import DataError

_PART = re.compile(r"\..*-[a-z0-9_]{8}\.part")  # a temporary folder of `part_folder`
_MOVING, _OLD = ".moving", ".old"  # how a folder ends whose files replace others, and its list of those
_YOUNG_S = 10.0  # a folder that is not locked may be about to be


@contextmanager
def part_folder(path: Path) -> Iterator[Path]:
    """A temporary folder beside `path`, removed at the end; the folder of `path` is made.

    That of a process that was killed is removed by the next one that writes into the same folder.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_abandoned(path.parent.resolve())
    with TemporaryDirectory(".part", f".{path.name}-", path.parent, ignore_cleanup_errors=True) as folder:
        held = os.open(folder, os.O_RDONLY)
        try:
            with suppress(OSError):  # a disk without locks: nobody else gets one either
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield Path(folder)
        finally:
            os.close(held)


@cache  # once in a process
def _remove_abandoned(folder: Path) -> None:
    """Remove the temporary folders of processes that were killed."""
    for part in folder.iterdir():
        if _PART.fullmatch(part.name):
            with suppress(OSError):  # another process is writing there, or has removed it
                _remove_unused(part)


def _remove_unused(part: Path) -> None:
    """Raises OSError where a process holds its lock, which the system gives back when a process ends."""
    held = os.open(part, os.O_RDONLY)
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if time.time() - os.fstat(held).st_mtime > _YOUNG_S:
            shutil.rmtree(part)
    finally:
        os.close(held)


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A path of the same name to write a file or folder to; it replaces `path` at the end, not after an error.

    It lies in a `part_folder`. Raises DataError where that cannot be written.
    """
    try:
        with part_folder(path) as folder:
            part = folder / path.name
            yield part
            part.replace(path)
    except OSError as error:
        raise DataError(f"cannot write {path}: {error.strerror or error}") from error


def write_atomic(path: Path, content: str | bytes) -> None:
    """Write a file that appears complete or not at all. Raises DataError where it cannot be written."""
    with atomic_path(path) as part:
        part.write_bytes(content.encode() if isinstance(content, str) else content)


def move_set(part: Path, folder: Path, last: str, others: Iterable[str] = ()) -> None:
    """Move the files of a folder into another on the same disk, in place of those of these names; `last` goes last.

    Whenever the process ends, files of two sets never stand side by side: the old ones go first, `last` before all. A
    process that ends before has changed nothing; what one has left that ended later is done by `finish_sets`.
    `others`: names that the old set may have besides.
    """
    with _alone_in(folder):
        _finish_sets(folder)
        names = {path.name for path in part.iterdir()}
        old = sorted(name for name in {*names, *others} if (folder / name).exists())
        if len({*names, *old}) > 1:  # a single file is replaced at once
            (part / _OLD).write_text("".join(f"{name}\n" for name in old))
        part.replace(folder / f".{last}{_MOVING}")
        _finish_sets(folder)


def finish_sets(folder: Path) -> list[str]:
    """Move the sets of files whose processes were killed while they did it; the last file of each."""
    with _alone_in(folder):
        return _finish_sets(folder)


def _finish_sets(folder: Path) -> list[str]:
    return [_finish(moving) for moving in folder.glob(f".*{_MOVING}")]


def _finish(moving: Path) -> str:
    """Remove the old files as long as the list of them is there, then move the new ones."""
    last = moving.name[1 : -len(_MOVING)]
    old = moving / _OLD
    if old.exists():
        for name in sorted(old.read_text().splitlines(), key=lambda name: name != last):
            (moving.parent / name).unlink(missing_ok=True)
        old.unlink()
    for file in sorted(moving.iterdir(), key=lambda file: file.name == last):
        file.replace(moving.parent / file.name)
    moving.rmdir()
    return last


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """No other process moves a set of files into the folder."""
    held = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # a disk without locks
            fcntl.flock(held, fcntl.LOCK_EX)
        yield
    finally:
        os.close(held)


def write_set(folder: Path, texts: Mapping[str, str]) -> None:
    """Write files by their names, together, the first one last. Raises DataError where they cannot be written."""
    try:
        with part_folder(folder / next(iter(texts))) as part:
            for name, text in texts.items():
                (part / name).write_text(text)
            move_set(part, folder, next(iter(texts)))
    except OSError as error:
        raise DataError(f"cannot write {folder}/: {error.strerror or error}") from error


def unused(folder: Path) -> Path:
    """The folder, or the next free name where it exists: NAME-2, NAME-3 and so on."""
    candidate, i = folder, 1
    while candidate.exists():
        i += 1
        candidate = folder.with_name(f"{folder.name}-{i}")
    return candidate


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
