# SPDX-License-Identifier: Apache-2.0
import tempfile
from functools import cache
from pathlib import Path
from random import Random
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from letvins_ros.datasets.images import open_images
from letvins_ros.datasets.ros_image import ENCODINGS, ImageDecoder
from letvins_ros.image_files import read_image
from letvins_ros.types import ImageFrame

from . import mutations
from .survival_check import Damage, Reader, survives

COLOR = np.kron(np.random.default_rng(0).integers(0, 256, (12, 16, 3), np.uint8), np.ones((4, 4, 1), np.uint8))
DEEP = COLOR.astype(np.uint16) * 257


@cache
def images() -> list[bytes]:
    made = [cv2.imencode(s, COLOR)[1].tobytes() for s in (".png", ".jpg", ".bmp", ".webp", ".tif", ".ppm")]
    made += [cv2.imencode(s, COLOR[..., 0])[1].tobytes() for s in (".png", ".jpg", ".bmp", ".pgm")]
    return [*made, *(cv2.imencode(s, DEEP)[1].tobytes() for s in (".png", ".tif"))]


@cache
def videos() -> list[bytes]:
    made = []
    with tempfile.TemporaryDirectory() as folder:
        for name, code in (("a.avi", "MJPG"), ("a.mp4", "mp4v")):
            video = cv2.VideoWriter(f"{folder}/{name}", cv2.VideoWriter.fourcc(*code), 25.0, (64, 48))
            for _ in range(5):
                video.write(COLOR)
            video.release()
            made.append(Path(folder, name).read_bytes())
    return made


def damage_image(folder: Path, rng: Random) -> Path:
    (folder / "0.png").write_bytes(mutations.mutate(rng.choice(images()), rng, mutations.BINARY))
    return folder / "0.png"


def damage_video(folder: Path, rng: Random) -> Path:
    (folder / "0.avi").write_bytes(mutations.mutate(rng.choice(videos()), rng, mutations.BINARY))
    return folder / "0.avi"


def read_file(path: Path) -> None:
    for flags in (cv2.IMREAD_GRAYSCALE, cv2.IMREAD_COLOR_RGB, cv2.IMREAD_UNCHANGED):
        read_image(path, flags)


def read_recording(path: Path) -> list[ImageFrame]:
    return list(open_images(path if path.suffix == ".avi" else path.parent).frames())


def damage_message(folder: Path, rng: Random) -> Path:
    """The fields of an Image, whose height, width and step are often near what fits."""
    data = rng.randbytes(rng.choice((0, 1, 7, 48, 3072, 9216)))
    numbers = [rng.choice((0, 1, 2, 3, 7, 48, 64, 192, 2**31, 2**32 - 1)) for _ in range(3)]
    encoding = rng.choice([*ENCODINGS, "", "32FC1", "yuv422"])
    (folder / "message").write_text(repr((data, encoding, *numbers, rng.randrange(2))))
    return folder / "message"


def read_message(path: Path) -> None:
    data, encoding, height, width, step, big = eval(path.read_text())
    message = SimpleNamespace(data=data, encoding=encoding, height=height, width=width, step=step, is_bigendian=big)
    for color in (False, True):
        ImageDecoder(color).decode(message)


def read_compressed(path: Path) -> None:
    for color in (False, True):
        ImageDecoder(color).decode(SimpleNamespace(format="png", data=path.read_bytes()))


@pytest.mark.parametrize(
    ("damage", "read"),
    [
        (damage_image, read_file),
        (damage_image, read_recording),
        (damage_image, read_compressed),
        (damage_video, read_recording),
        (damage_message, read_message),
    ],
)
def test_damaged_images_harm_nobody(damage: Damage, read: Reader, tmp_path: Path) -> None:
    assert survives(damage, read, tmp_path)["read"]
