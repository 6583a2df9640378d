# SPDX-License-Identifier: Apache-2.0
"""Folders of photographs."""

from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from letvins_ros.errors import DataError
from letvins_ros.image_files import read_image
from letvins_ros.reading import ending

ENDINGS = {".jpg", ".jpeg", ".png", ".ppm", ".bmp"}
_BEGINNINGS = (b"\xff\xd8", b"\x89PNG", b"BM", b"P2", b"P3", b"P5", b"P6", b"RIFF", b"II*\0", b"MM\0*")
_ENDS = {b"\xff\xd8": b"\xff\xd9", b"\x89PNG": b"IEND"}  # markers, which cannot occur in the pixels' code
_TAIL = 1024  # bytes that are looked at for it: some cameras add to their files


def list_images(folder: Path) -> list[Path]:
    """Every image below a folder, sorted: a flat one, COCO's train2017 or any tree; DataError where there is none."""
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in ENDINGS)
    if not found:
        raise DataError(f"{folder}: no images; put .jpg or .png photographs there, for example COCO's train2017")
    return found


def read_rgb(path: Path) -> np.ndarray:
    """(H, W, 3) RGB uint8; DataError where it cannot be read."""
    return _read(path, cv2.IMREAD_COLOR_RGB)


def read_gray(path: Path) -> np.ndarray:
    """(H, W) uint8; DataError where it cannot be read."""
    return _read(path, cv2.IMREAD_GRAYSCALE)


def looks_broken(path: Path) -> str:
    """Why a file can be no photograph, by its beginning and its end, or nothing; it is not decoded."""
    try:
        with ending(path).open("rb") as file:
            head = file.read(16)
            file.seek(max(0, path.stat().st_size - _TAIL))
            tail = file.read()
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    if not head.startswith(_BEGINNINGS):
        return "is not a photograph"
    end = next((end for begin, end in _ENDS.items() if head.startswith(begin)), b"")
    return "" if end in tail else "is cut off"


def _read(path: Path, flags: int) -> np.ndarray:
    """OpenCV shows the missing part of a JPEG that is cut off as gray, and says nothing."""
    image = None if looks_broken(path) else read_image(path, flags)
    if image is None:
        raise DataError(f"{path}: {looks_broken(path) or 'not a readable photograph'}")
    return image


def to_tensor(image: np.ndarray, channels: int) -> Tensor:
    """(H, W, 3) RGB 0..255 -> (channels, H, W) float32 0..1, with one channel its luminance."""
    if channels == 1:
        image = cv2.cvtColor(image.astype(np.float32), cv2.COLOR_RGB2GRAY)[..., None]
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1), np.float32)) / 255


def resize(image: np.ndarray, size: tuple[int, int], nearest: bool = False) -> np.ndarray:
    """To (height, width)."""
    shrinks = size[0] < image.shape[0]
    way = cv2.INTER_NEAREST if nearest else cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return cv2.resize(image, size[::-1], interpolation=way)


def scaling(shape: tuple[int, ...], size: tuple[int, int]) -> np.ndarray:
    """(3, 3) from pixels of an image (height, width, ...) to those of it resized to (height, width)."""
    sx, sy = size[1] / shape[1], size[0] / shape[0]
    # pixel centres: (u + 0.5) scales, u does not
    return np.array([[sx, 0, 0.5 * sx - 0.5], [0, sy, 0.5 * sy - 0.5], [0, 0, 1]])
