# SPDX-License-Identifier: Apache-2.0
"""Folders whose image files begin with the number of their frame: 000012.png, 000012_left.png."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from letvins_ros.datasets.base import ReadReport
from letvins_ros.datasets.sequence import FrameFiles, Size
from letvins_ros.errors import DataError
from letvins_ros.image_files import read_image

SUFFIXES = (".png", ".jpg", ".jpeg")


def numbered_images(folder: Path) -> dict[int, Path]:
    """Images of a folder by frame number, in order; none without the folder. DataError where a folder has none."""
    if not folder.is_dir():
        return {}
    images = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
    files = {int(number): path for path in images if (number := path.name[:6]).isdecimal()}
    if not files:
        raise DataError(f"{folder}: no image whose name begins with six digits")
    return dict(sorted(files.items()))


def numbered_frames(cameras: Sequence[dict[int, Path]], stamps_ns: np.ndarray, report: ReadReport) -> list[FrameFiles]:
    """Join the images of one or two cameras that have the same number, which is the row of their stamp."""
    late = np.flatnonzero(np.diff(stamps_ns) <= 0)
    if len(late):
        folder = next(iter(cameras[0].values())).parent
        raise DataError(f"{folder}: frame {late[0] + 1} has a time not after the one before it")
    left = [number for number in cameras[0] if number < len(stamps_ns)]
    if beyond := len(cameras[0]) - len(left):
        report.add("cam0: images beyond the last stamp, dropped", str(max(cameras[0])), beyond)
    if missing := len(stamps_ns) - len(left):
        first = next(i for i in range(len(stamps_ns)) if i not in cameras[0])
        report.add("cam0: image files missing", f"number {first}", missing)
    for right in cameras[1:]:
        if alone := [number for number in left if number not in right]:
            report.add("left images without right, used alone", str(cameras[0][alone[0]].name), len(alone))
    return [FrameFiles(int(stamps_ns[i]), tuple(camera.get(i) for camera in cameras)) for i in left]


def first_size(images: dict[int, Path]) -> Size:
    """Return the size of the first image that can be decoded."""
    for path in images.values():
        if (image := read_image(path)) is not None:
            return image.shape[1], image.shape[0]
    raise DataError(f"{next(iter(images.values())).parent}: none of {len(images)} images can be decoded")
