# SPDX-License-Identifier: Apache-2.0
"""MCAP files, as ROS 2 writes them: read in passing, so that one without summary or end gives what it has.

The layout is that of https://mcap.dev/spec: records of one byte for the kind, eight for the length, and content.
"""

import struct
import zlib
from collections import Counter
from collections.abc import Collection, Iterator
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

from letvins_ros.datasets.bags.base import Raw, Stored
from letvins_ros.errors import DataError

_MAGIC = b"\x89MCAP0\r\n"
_FOOTER, _SCHEMA, _CHANNEL, _MESSAGE, _CHUNK, _STATISTICS, _DATA_END = 0x02, 0x03, 0x04, 0x05, 0x06, 0x0B, 0x0F
_FOOTER_BYTES = 9 + 20 + len(_MAGIC)
_MAX_CHUNK = 1 << 29  # bytes; one that claims more is taken for damaged
_SERIALISATIONS = {"cdr": False, "ros1": True}


class McapFile:
    """See BagFile."""

    def __init__(self, path: Path) -> None:
        """Raise DataError where the file cannot be read."""
        self.ros1, self.topics, self.problems = False, list[Stored](), list[str]()
        self._path, self._types, self._names = path, dict[int, str](), dict[int, str]()
        self._kinds: dict[int, str] = {}  # type by channel
        self._file = path.open("rb")
        try:
            self._size = self._file.seek(0, 2)
            self._file.seek(0)
            magic = self._file.read(len(_MAGIC))
            if magic != _MAGIC:
                raise DataError(f"{path}: {'is no MCAP file' if magic else 'the file is empty'}")
            self._read_topics()
        except BaseException:
            self._file.close()
            raise

    def _read_topics(self) -> None:
        counted = self._from_summary() or self._by_scan()
        counts, self.start_ns, self.end_ns = counted
        totals: Counter[tuple[str, str]] = Counter()
        for channel, name in self._names.items():
            totals[name, self._kinds[channel]] += counts.get(channel, 0)
        self.topics = [Stored(name, kind, count) for (name, kind), count in totals.items() if count]

    def _from_summary(self) -> tuple[dict[int, int], int, int] | None:
        """Messages by channel, and the first and last time; None where the file has no statistics at its end."""
        if self._size < len(_MAGIC) + _FOOTER_BYTES:
            return None
        self._file.seek(self._size - _FOOTER_BYTES)
        footer = self._file.read()
        start = struct.unpack_from("<Q", footer, 9)[0]
        if footer[-len(_MAGIC) :] != _MAGIC or footer[0] != _FOOTER or not 0 < start < self._size:
            return None
        self._file.seek(start)
        found = None
        for kind, content in self._records(self._file, self._size):
            if kind == _STATISTICS and len(content) >= 46:
                first, last, length = struct.unpack_from("<QQI", content, 26)
                found = dict(struct.iter_unpack("<HQ", content[46 : 46 + length // 10 * 10])), first, last
            else:
                self._describe(kind, content)
        return found if found and self._names else None

    def _by_scan(self) -> tuple[dict[int, int], int, int]:
        counts, first, last = Counter[int](), 2**63, 0
        for channel, recorded_ns, _ in self._scan():
            counts[channel] += 1
            first, last = min(first, recorded_ns), max(last, recorded_ns)
        return counts, first, last

    def messages(self, names: Collection[str]) -> Iterator[Raw]:
        """See BagFile."""
        for channel, recorded_ns, data in self._scan():
            if self._names.get(channel) in names:
                yield Raw(self._names[channel], recorded_ns, data)

    def close(self) -> None:
        """See BagFile."""
        self._file.close()

    def _scan(self) -> Iterator[tuple[int, int, bytes]]:
        """Channel, time and data of all messages; those of a chunk in the order of time."""
        self._file.seek(len(_MAGIC))
        for kind, content in self._records(self._file, self._size):
            if kind in (_DATA_END, _FOOTER):
                return
            if kind != _CHUNK:
                yield from self._message(kind, content)
                continue
            records = _decompress(content)
            if records is None:
                self._lost("damaged chunks left out")
                continue
            inside = self._records(BytesIO(records), len(records))
            found = [message for kind, content in inside for message in self._message(kind, content)]
            yield from sorted(found, key=lambda message: message[1])
        self._lost("the file has no end: its recorder was killed or the copy is not complete")

    def _records(self, file: BinaryIO, size: int) -> Iterator[tuple[int, bytes]]:
        """Kind and content of the records from here on, as far as they are whole."""
        while True:
            head = file.read(9)
            if len(head) < 9 or head == _MAGIC + b"\n":
                return
            kind, length = struct.unpack("<BQ", head)
            if length > size - file.tell():
                self._lost("the last record is cut off")
                return
            yield kind, file.read(length)
            if kind == _FOOTER:
                return

    def _message(self, kind: int, content: bytes) -> Iterator[tuple[int, int, bytes]]:
        if kind == _MESSAGE and len(content) >= 22:
            channel, _, log_time, _ = struct.unpack_from("<HIQQ", content)
            if log_time < 2**63:
                yield channel, log_time, content[22:]
        else:
            self._describe(kind, content)

    def _describe(self, kind: int, content: bytes) -> None:
        """Remember schemas and channels, those in ROS serialisation."""
        try:
            if kind == _SCHEMA:
                self._types[struct.unpack_from("<H", content)[0]] = _text(content, 2)[0]
            elif kind == _CHANNEL:
                channel, schema = struct.unpack_from("<HH", content)
                topic, after = _text(content, 4)
                encoding, _ = _text(content, after)
                if encoding in _SERIALISATIONS and schema in self._types:
                    self.ros1 = _SERIALISATIONS[encoding]
                    self._names[channel], self._kinds[channel] = topic, _ros2_name(self._types[schema])
        except (struct.error, UnicodeDecodeError):
            self._lost("damaged descriptions of topics")

    def _lost(self, what: str) -> None:
        if what not in self.problems:
            self.problems.append(what)


def _text(content: bytes, at: int) -> tuple[str, int]:
    """A text that begins here with its length, and where it ends."""
    end = at + 4 + struct.unpack_from("<I", content, at)[0]
    return content[at + 4 : end].decode(), end


def _ros2_name(kind: str) -> str:
    package, _, name = kind.partition("/")
    return kind if name.startswith("msg/") or not name else f"{package}/msg/{name}"


def _decompress(chunk: bytes) -> bytes | None:
    """Records of a chunk, None where it is damaged."""
    if len(chunk) < 40:
        return None
    size, crc = struct.unpack_from("<QI", chunk, 16)
    try:
        compression, at = _text(chunk, 28)
        packed = chunk[at + 8 : at + 8 + struct.unpack_from("<Q", chunk, at)[0]]
        records = _unpack(compression, packed, size) if size <= _MAX_CHUNK else b""
    except Exception:  # of the decompressors, too, each has its own
        return None
    return records if len(records) == size and crc in (0, zlib.crc32(records)) else None


def _unpack(compression: str, packed: bytes, size: int) -> bytes:
    if not compression:
        return packed
    if compression == "lz4":
        from lz4.frame import LZ4FrameDecompressor  # type: ignore[import-untyped]

        return bytes(LZ4FrameDecompressor().decompress(packed, max_length=size))
    if compression == "zstd":
        from backports.zstd import ZstdDecompressor

        return ZstdDecompressor().decompress(packed, max_length=size)
    raise ValueError(compression)
