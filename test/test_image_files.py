# SPDX-License-Identifier: Apache-2.0
import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from letvins_ros.datasets.images import open_images
from letvins_ros.datasets.ros_image import ImageDecoder
from letvins_ros.errors import DataError
from letvins_ros.image_files import MAX_DECODED, decode_image, decoded_bytes, opencv_name, read_image

from .command import environment
from .some import some

RNG = np.random.default_rng(0)
COLOR = np.kron(RNG.integers(0, 256, (12, 16, 3), np.uint8), np.ones((4, 4, 1), np.uint8))
STRANGE = b"n\xff\xfe\xc3\xbc"  # no UTF-8


def encoded(suffix: str, image: np.ndarray = COLOR) -> bytes:
    return cv2.imencode(suffix, image)[1].tobytes()


def png_of_size(width: int, height: int) -> bytes:
    """A whole PNG whose header claims this size, with the pixels of a smaller one."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    small = encoded(".png", COLOR[..., 0])
    return small[:12] + header + struct.pack(">I", zlib.crc32(header)) + small[33:]


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".webp", ".tif", ".ppm"])
@pytest.mark.parametrize("flags", [cv2.IMREAD_GRAYSCALE, cv2.IMREAD_COLOR, cv2.IMREAD_UNCHANGED])
def test_images_are_what_opencv_reads(suffix: str, flags: int, tmp_path: Path) -> None:
    path = tmp_path / f"image{suffix}"
    path.write_bytes(encoded(suffix))
    assert decoded_bytes(path.read_bytes()) >= COLOR.nbytes
    assert np.array_equal(some(read_image(path, flags)), some(cv2.imread(str(path), flags)))


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_sixteen_bits_stay(suffix: str) -> None:
    deep = COLOR[..., 0].astype(np.uint16) * 257
    data = encoded(suffix, deep)
    assert decoded_bytes(data) >= deep.nbytes
    assert np.array_equal(some(decode_image(data, cv2.IMREAD_UNCHANGED)), deep)


def test_jpegs_with_thumbnail_and_comments_have_the_size_of_the_image() -> None:
    data = encoded(".jpg")
    comment = b"\xff\xfe" + struct.pack(">H", 300) + bytes(298)
    thumbnail = b"\xff\xe1" + struct.pack(">H", len(data) + 2) + data
    assert decoded_bytes(data[:2] + thumbnail + comment + data[2:]) == decoded_bytes(data) == 64 * 48 * 4


@pytest.mark.parametrize(
    "data",
    [
        png_of_size(60_000, 60_000),
        png_of_size(2**31 - 1, 1),
        png_of_size(0, 5),
        b"P5 60000 60000 255\n" + bytes(1000),
        encoded(".png")[:41] + b"\x7f\xff\xff\xf0" + encoded(".png")[45:],  # the length of a chunk
        b"\x76\x2f\x31\x01\x02\0\0\0" + bytes(100),  # EXR
        b"GIF89a" + bytes(100),
        b"",
        b"torn",
        encoded(".png")[:100],
        encoded(".tif")[:9],
    ],
)
def test_what_cannot_be_decoded_is_none_at_once(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(data)
    assert decode_image(data) is None
    assert read_image(tmp_path / "a.png") is None
    assert ImageDecoder().decode(SimpleNamespace(format="png", data=data)) is None


def test_a_header_within_the_limit_is_read() -> None:
    assert decoded_bytes(png_of_size(8192, 8192)) == MAX_DECODED
    assert decoded_bytes(png_of_size(8192, 8193)) > MAX_DECODED
    assert decode_image(png_of_size(64, 48)) is not None


def test_only_files_are_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")  # opening it would wait for a writer
    (tmp_path / "folder.png").mkdir()
    for name in ("pipe.png", "folder.png", "none.png"):
        assert read_image(tmp_path / name) is None


@pytest.mark.parametrize("locale", [{}, {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}])
def test_a_name_need_not_be_text(locale: dict[str, str], tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(STRANGE)
    folder.mkdir()
    (folder / os.fsdecode(STRANGE + b".png")).write_bytes(encoded(".png"))
    with opencv_name(folder / "clip.avi") as name:
        video = cv2.VideoWriter(name, cv2.VideoWriter.fourcc(*"MJPG"), 25.0, (64, 48))
        for _ in range(3):
            video.write(COLOR)
        video.release()
    (folder / "clip.avi").rename(folder / os.fsdecode(STRANGE + b".avi"))
    code = f"""
import os
from pathlib import Path
from letvins_ros.datasets.images import open_images
from letvins_ros.image_files import read_image
folder = Path(os.fsdecode({os.fsencode(folder)!r}))
assert read_image(folder / os.fsdecode({STRANGE + b".png"!r})).shape == (48, 64)
assert len(list(open_images(folder).frames())) == 1
assert len(list(open_images(folder / os.fsdecode({STRANGE + b".avi"!r})).frames())) == 3
"""
    command, env = [sys.executable, "-c", code], environment(**locale)
    done = subprocess.run(command, check=False, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_video_that_claims_more_frames_than_it_has_bytes_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "clip.avi"
    video = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 25.0, (64, 48))
    video.write(COLOR)
    video.release()
    data = bytearray(path.read_bytes())
    length = data.index(b"strh") + 8 + 32  # dwLength of the stream
    data[length : length + 4] = (10**8).to_bytes(4, "little")
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"clip\.avi: no video that can be decoded \(100000000 frames of 64x48\)"):
        open_images(path)
