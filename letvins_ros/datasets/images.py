# SPDX-License-Identifier: Apache-2.0
"""Plain folders of images and video files: frames without calibration, IMU or truth."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np

from letvins_ros.calibration import Rig
from letvins_ros.datasets.base import ReadReport
from letvins_ros.datasets.sequence import FileRecording, FrameFiles, Loaded, Recording, Sensors
from letvins_ros.errors import DataError
from letvins_ros.image_files import MAX_DECODED, opencv_name

IMAGES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".pgm", ".ppm")
VIDEOS = (".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg")
RATE_HZ = 20.0  # where nothing tells the time of the images
MAX_RATE_HZ = 1e5  # of a video; above, its header is damaged


def recognises(path: Path) -> bool:
    """Whether this is a video file, or a folder in which images lie."""
    return path.suffix.lower() in VIDEOS if path.is_file() else bool(_images(path))


def open_images(path: Path, rig: Rig | None = None) -> Recording:
    """Read a folder of images in the order of the numbers in their names, or a video; raises DataError."""
    if path.is_file():
        return VideoRecording(path, rig)
    stamps_ns = _stamps(len(_images(path)), RATE_HZ)
    frames = [FrameFiles(int(stamp), (file,)) for stamp, file in zip(stamps_ns, _images(path), strict=True)]
    return FileRecording(path, frames, Sensors(rig), ReadReport())


def _images(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted((file for file in folder.iterdir() if file.suffix.lower() in IMAGES), key=_by_number)


def _by_number(file: Path) -> list[tuple[int, str]]:
    """Sort key by which frame9 comes before frame10."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", file.name)]


def _stamps(count: int, rate_hz: float) -> np.ndarray:
    return np.rint(np.arange(count) * (1e9 / rate_hz)).astype(np.int64)


class VideoRecording(Recording):
    """A Dataset of the frames of a video."""

    def __init__(self, path: Path, rig: Rig | None) -> None:
        with _opened(path) as video:
            count, rate_hz = video.get(cv2.CAP_PROP_FRAME_COUNT), video.get(cv2.CAP_PROP_FPS)
            size = video.get(cv2.CAP_PROP_FRAME_WIDTH), video.get(cv2.CAP_PROP_FRAME_HEIGHT)
        if not (1 <= count <= path.stat().st_size and 0 < size[0] * size[1] * 3 <= MAX_DECODED):
            raise DataError(f"{path}: no video that can be decoded ({count:.0f} frames of {size[0]:.0f}x{size[1]:.0f})")
        self._path = path
        stamps_ns = _stamps(int(count), rate_hz if 0 < rate_hz < MAX_RATE_HZ else RATE_HZ)
        super().__init__(path.stem, stamps_ns, Sensors(rig), ReadReport())

    def _load(self, chosen: range) -> Iterator[list[Loaded | None]]:
        with _opened(self._path) as video:
            for i in range(chosen.stop):
                image = _next_frame(video)
                if i >= chosen.start:
                    yield [Loaded(f"{self._path.name}, frame {i}", image)]


@contextmanager
def _opened(path: Path) -> Iterator[cv2.VideoCapture]:
    with opencv_name(path) as name:
        video = cv2.VideoCapture(name)
        try:
            yield video
        finally:
            video.release()


def _next_frame(video: cv2.VideoCapture) -> np.ndarray | None:
    """(H, W) uint8 gray, None where it cannot be decoded."""
    try:
        good, image = video.read()
        return cv2.cvtColor(image, cv2.COLOR_BGR2GRAY) if good else None
    except cv2.error:
        return None
