# SPDX-License-Identifier: Apache-2.0
"""Folders of photographs."""

from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from letvins_ros.errors import DataError
from letvins_ros.image_files import read_image

_ENDINGS = {".jpg", ".jpeg", ".png", ".ppm", ".bmp"}


def list_images(folder: Path) -> list[Path]:
    """Every image below a folder, sorted: a flat one, COCO's train2017 or any tree; DataError where there is none."""
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in _ENDINGS)
    if not found:
        raise DataError(f"{folder}: no images; put .jpg or .png photographs there, for example COCO's train2017")
    return found


def read_rgb(path: Path) -> np.ndarray:
    """(H, W, 3) RGB uint8; DataError where it cannot be read."""
    image = read_image(path, cv2.IMREAD_COLOR_RGB)
    if image is None:
        raise DataError(f"{path}: not a readable photograph")
    return image


def read_array(path: Path) -> np.ndarray:
    """The array of a .npy file, read from it when it is used; DataError where the file is none or incomplete."""
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError, OverflowError, TypeError) as error:
        raise DataError(f"{path}: not a whole .npy file ({' '.join(str(error).split())})") from error


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
