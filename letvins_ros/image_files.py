# SPDX-License-Identifier: Apache-2.0
"""Image files and compressed messages, decoded by OpenCV: for all readers one way, which checks the header first.

OpenCV reserves what a header asks for, refuses some sizes by an exception and crashes at some names of files.
"""

import os
import re
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np

MAX_FILE = 256 << 20  # bytes
MAX_DECODED = 256 << 20  # bytes: 64 megapixels of RGBA
_SOF = (*range(0xC0, 0xC4), *range(0xC5, 0xC8), *range(0xC9, 0xCC), *range(0xCD, 0xD0))  # markers of JPEG with a size
_PNM = re.compile(rb"P([1-6])(?:\s|#[^\n]*\n)+(\d{1,9})(?:\s|#[^\n]*\n)+(\d{1,9})")


def read_image(path: Path, flags: int = cv2.IMREAD_GRAYSCALE) -> np.ndarray | None:
    """Decode a file by one of OpenCV's IMREAD flags; None where there is none, or none that can be decoded."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode) or status.st_size > MAX_FILE:
            return None
        return decode_image(path.read_bytes(), flags)
    except OSError:
        return None


def decode_image(data: bytes, flags: int = cv2.IMREAD_GRAYSCALE) -> np.ndarray | None:
    """Decode PNG, JPEG, TIFF, WebP, BMP or PNM; None where it cannot be, or would be larger than MAX_DECODED."""
    size = decoded_bytes(data)
    if not 0 < size <= MAX_DECODED:
        return None
    try:
        return cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error:
        return None


@contextmanager
def opencv_name(path: Path) -> Iterator[str]:
    """Under this name OpenCV finds a file, also where the file's own is not UTF-8, at which it would crash.

    A file that does not exist yet needs a name in UTF-8, in a folder of any name. Raises OSError without the folder.
    """
    try:
        str(path).encode()
        yield str(path)
    except UnicodeEncodeError:
        is_file = path.is_file()
        descriptor = os.open(path if is_file else path.parent, os.O_RDONLY)
        try:
            yield f"/proc/self/fd/{descriptor}" + ("" if is_file else f"/{path.name}")
        finally:
            os.close(descriptor)


def decoded_bytes(data: bytes) -> int:
    """How many bytes the decoded image will have, by its header: at least as many, 0 where there is no such header."""
    for signature, size in _SIZES.items():
        if data.startswith(signature):
            try:
                return size(data)
            except IndexError:
                return 0
    return 0


def _integer(data: bytes, at: int, length: int, order: str = "little") -> int:
    if at < 0 or at + length > len(data):
        raise IndexError
    return int.from_bytes(data[at : at + length], "big" if order == "big" else "little")


def _png(data: bytes) -> int:
    """Of the image or, where that is larger, of a frame of an animation; 0 where a chunk is cut off.

    OpenCV decodes no PNG that is incomplete, but reserves what a chunk claims to be.
    """
    pixel, at, largest = (8 if _integer(data, 24, 1) > 8 else 4), 8, 0
    while at < len(data):
        length, kind = _integer(data, at, 4, "big"), data[at + 4 : at + 8]
        if at + 12 + length > len(data):
            return 0
        if kind in (b"IHDR", b"fcTL"):
            place = at + (8 if kind == b"IHDR" else 12)
            largest = max(largest, _integer(data, place, 4, "big") * _integer(data, place + 4, 4, "big") * pixel)
        if kind == b"IEND":
            break
        at += 12 + length
    return largest


def _jpeg(data: bytes) -> int:
    at = 2
    while True:
        if data[at] != 0xFF:
            at += 1  # OpenCV looks for the next marker too
        elif data[at + 1] in _SOF:
            return _integer(data, at + 5, 2, "big") * _integer(data, at + 7, 2, "big") * 4
        elif data[at + 1] == 0xFF:
            at += 1
        else:
            at += 2 + (0 if data[at + 1] in (0x01, *range(0xD0, 0xD9)) else _integer(data, at + 2, 2, "big"))


def _bmp(data: bytes) -> int:
    if _integer(data, 14, 4) == 12:
        return _integer(data, 18, 2) * _integer(data, 20, 2) * 4
    height = _integer(data, 22, 4)
    return _integer(data, 18, 4) * min(height, 2**32 - height) * 4  # negative: from the top


def _pnm(data: bytes) -> int:
    found = _PNM.match(data[:4096])
    return int(found[2]) * int(found[3]) * 6 if found else 0  # 16 bits a channel


def _webp(data: bytes) -> int:
    kind = data[12:16]
    if data[8:12] != b"WEBP":
        return 0
    if kind == b"VP8 ":
        return (_integer(data, 26, 2) & 0x3FFF) * (_integer(data, 28, 2) & 0x3FFF) * 4
    if kind == b"VP8L":
        bits = _integer(data, 21, 4)
        return ((bits & 0x3FFF) + 1) * ((bits >> 14 & 0x3FFF) + 1) * 4
    return (_integer(data, 24, 3) + 1) * (_integer(data, 27, 3) + 1) * 4 if kind == b"VP8X" else 0


def _tiff(data: bytes) -> int:
    """Of the image or, where that is larger, of one of its tiles."""
    order = "big" if data[:2] == b"MM" else "little"
    directory, fields = _integer(data, 4, 4, order), dict[int, int]()
    for i in range(_integer(data, directory, 2, order)):
        at = directory + 2 + 12 * i
        tag, kind, count = (_integer(data, at + o, n, order) for o, n in ((0, 2), (2, 2), (4, 4)))
        length = 2 if kind == 3 else 4
        place = at + 8 if count * length <= 4 else _integer(data, at + 8, 4, order)
        fields[tag] = _integer(data, place, length, order) if tag in (256, 257, 258, 277, 278, 322, 323) else 0
    pixel = max(fields.get(258, 1) // 8, 1) * max(fields.get(277, 1), 4)
    image, tile = fields.get(256, 0) * fields.get(257, 0), fields.get(322, 0) * fields.get(323, 0)
    return max(image, tile) * pixel


_SIZES: dict[bytes, Callable[[bytes], int]] = {
    b"\x89PNG\r\n\x1a\n": _png,
    b"\xff\xd8": _jpeg,
    b"BM": _bmp,
    b"RIFF": _webp,
    b"II*\0": _tiff,
    b"MM\0*": _tiff,
    b"P": _pnm,
}
