# SPDX-License-Identifier: Apache-2.0
"""Which files belong to a bag, and all of them as one."""

import re
import struct
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from heapq import merge
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import BinaryIO

import yaml

from letvins_ros.datasets.bags.base import BagFile, Raw, Stored
from letvins_ros.errors import DataError
from letvins_ros.reading import ending

SUFFIXES = (".bag", ".db3", ".mcap")
_PACKED = (".zstd", ".zst")
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
_BLOCK = 1 << 22  # bytes unpacked at a time
_MAX_MESSAGE = 1 << 28  # bytes, unpacked
_NEXT_AFTER_NS = 10_000_000_000  # a recorder begins its next file within this


def recognises(path: Path) -> bool:
    """Whether this is a bag file, or a folder that holds them."""
    return (path.is_dir() and bool(_files(path))) or (path.is_file() and _is_storage(path))


def _is_storage(path: Path) -> bool:
    return path.with_suffix("").suffix in SUFFIXES if path.suffix in (*_PACKED, ".active") else path.suffix in SUFFIXES


def _files(folder: Path) -> list[Path]:
    """Storage files of a folder: those that its metadata.yaml names, else all."""
    found = sorted(file for file in folder.iterdir() if _is_storage(file) and file.is_file())
    named = _named_in_metadata(folder / "metadata.yaml")
    return [file for file in found if file.name in named] or found


def _named_in_metadata(path: Path) -> set[str]:
    """File names in the metadata of a ROS 2 bag; none where it is missing or damaged."""
    try:
        content = yaml.safe_load(ending(path).read_text(encoding="utf-8", errors="replace"))
        return {Path(str(name)).name for name in content["rosbag2_bagfile_information"]["relative_file_paths"]}
    except (OSError, yaml.YAMLError, KeyError, TypeError, ValueError, RecursionError):
        return set()


class Storage:
    """The files of one recording; packed ones are unpacked into a folder that lives as long as this object."""

    def __init__(self, path: Path) -> None:
        """path: a file, or a folder with the files of one recording. Raises DataError where there are several."""
        self._path = path
        files = _files(path) if path.is_dir() else [path]
        active = [file for file in files if file.suffix == ".active"]
        if active:
            raise DataError(f"{active[0]}: was not closed by its recorder; `rosbag reindex` mends such a bag")
        self._folder: TemporaryDirectory[str] | None = None
        self._files = [self._unpacked(file) if file.suffix in _PACKED else file for file in files]
        if len(files) > 1 and not {file.name for file in files} <= _named_in_metadata(path / "metadata.yaml"):
            self._check_one_recording(files)

    @contextmanager
    def open(self) -> Iterator["Bag"]:
        """All files as one bag. It must be closed by the thread that opened it."""
        with ExitStack() as stack:
            files = []
            for file in self._files:
                files.append(_open_file(file))
                stack.callback(files[-1].close)
            yield Bag(files)

    def _unpacked(self, file: Path) -> Path:
        self._folder = self._folder or TemporaryDirectory(prefix="letvins-bag-")
        out = Path(self._folder.name) / file.stem
        with file.open("rb") as packed, out.open("wb") as plain:
            for block in _plain_blocks(packed):
                plain.write(block)
        if not out.stat().st_size:
            raise DataError(f"{file}: is damaged: nothing of it can be unpacked")
        return out

    def _check_one_recording(self, names: list[Path]) -> None:
        """Raise DataError unless the files follow one another, as those of a split recording do."""
        with self.open() as bag:
            spans = sorted(
                (file.start_ns, file.end_ns, name) for file, name in zip(bag.files, names, strict=True) if file.topics
            )
        for (_, end, before), (start, _, after) in pairwise(spans):
            follows = _stem(before) == _stem(after) and before.suffixes == after.suffixes
            if not (follows and start - end < _NEXT_AFTER_NS and start > end - _NEXT_AFTER_NS // 10):
                raise DataError(
                    f"{self._path}: holds several recordings; name one of {', '.join(file.name for file in names)}"
                )


def _stem(file: Path) -> str:
    """A file's name without the number of the part and the time of its beginning."""
    return re.sub(r"(_|\d{4}-\d\d-\d\d-\d\d-\d\d-\d\d|\d+)*$", "", file.name.partition(".")[0])


def _open_file(path: Path) -> BagFile:
    from letvins_ros.datasets.bags import mcap, ros1, sqlite  # each only where it is needed

    if path.suffix == ".bag":
        return ros1.Ros1File(path)
    return mcap.McapFile(path) if path.suffix == ".mcap" else sqlite.SqliteFile(path)


class Bag:
    """The open files of one recording."""

    def __init__(self, files: list[BagFile]) -> None:
        self.files = files
        self.ros1 = files[0].ros1

    @property
    def topics(self) -> dict[str, Stored]:
        """Topics by name, with the messages of all files."""
        found: dict[str, Stored] = {}
        for topic in (topic for file in self.files for topic in file.topics):
            before = found[topic.name].count if topic.name in found else 0
            found[topic.name] = Stored(topic.name, topic.type, before + topic.count)
        return found

    @property
    def duration_s(self) -> float:
        """From the first message to the last."""
        used = [file for file in self.files if file.topics]
        return (max(file.end_ns for file in used) - min(file.start_ns for file in used)) / 1e9 if used else 0.0

    @property
    def problems(self) -> list[str]:
        """What was lost, in words."""
        return [problem for file in self.files for problem in file.problems]

    def messages(self, names: Collection[str]) -> Iterator[Raw]:
        """Messages of these topics in the order in which they were recorded."""
        for raw in merge(*(file.messages(names) for file in self.files), key=lambda raw: raw.recorded_ns):
            yield Raw(raw.topic, raw.recorded_ns, _unpack(raw.data)) if raw.data[:4] == _ZSTD_MAGIC else raw


def _plain_blocks(packed: BinaryIO) -> Iterator[bytes]:
    """Unpack a zstd file, as far as it is whole."""
    from backports.zstd import ZstdDecompressor, ZstdError

    unpacker = ZstdDecompressor()
    while block := packed.read(_BLOCK):
        try:
            while block or not (unpacker.needs_input or unpacker.eof):
                yield unpacker.decompress(block, max_length=_BLOCK)
                block = b""
                if unpacker.eof:  # another frame may follow
                    block, unpacker = unpacker.unused_data, ZstdDecompressor()
        except ZstdError:
            return


def _unpack(data: bytes) -> bytes:
    """A message of a bag that is packed message by message; empty where it is damaged."""
    from backports import zstd

    try:
        return zstd.ZstdDecompressor().decompress(data, max_length=_MAX_MESSAGE)
    except zstd.ZstdError:
        return b""


def header_stamp_ns(raw: Raw, ros1: bool) -> int | None:
    """Time in the header that the message begins with; None where the message is cut short.

    ROS 1 starts with a sequence number, CDR with its byte order; then both have seconds and nanoseconds.
    """
    if len(raw.data) < 12:
        return None
    order = ">" if not ros1 and raw.data[1] == 0 else "<"
    seconds, nanoseconds = struct.unpack_from(f"{order}II", raw.data, 4)
    return int(seconds) * 1_000_000_000 + int(nanoseconds)
