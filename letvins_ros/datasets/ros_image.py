# SPDX-License-Identifier: Apache-2.0
"""Pixels of sensor_msgs Image and CompressedImage messages, of any library that has their fields."""

from typing import Any

import cv2
import numpy as np

from letvins_ros.errors import DataError
from letvins_ros.image_files import decode_image

# encoding: channels, bytes a channel, OpenCV's conversion to gray and to RGB (None: nothing to do).
# OpenCV names a Bayer pattern by the second row, ROS by the first.
_ENCODINGS: dict[str, tuple[int, int, int | None, int | None]] = {
    "mono8": (1, 1, None, cv2.COLOR_GRAY2RGB),
    "8UC1": (1, 1, None, cv2.COLOR_GRAY2RGB),
    "mono16": (1, 2, None, cv2.COLOR_GRAY2RGB),
    "16UC1": (1, 2, None, cv2.COLOR_GRAY2RGB),
    "bgr8": (3, 1, cv2.COLOR_BGR2GRAY, cv2.COLOR_BGR2RGB),
    "8UC3": (3, 1, cv2.COLOR_BGR2GRAY, cv2.COLOR_BGR2RGB),
    "rgb8": (3, 1, cv2.COLOR_RGB2GRAY, None),
    "bgra8": (4, 1, cv2.COLOR_BGRA2GRAY, cv2.COLOR_BGRA2RGB),
    "rgba8": (4, 1, cv2.COLOR_RGBA2GRAY, cv2.COLOR_RGBA2RGB),
    "bayer_rggb8": (1, 1, cv2.COLOR_BayerBG2GRAY, cv2.COLOR_BayerBG2RGB),
    "bayer_bggr8": (1, 1, cv2.COLOR_BayerRG2GRAY, cv2.COLOR_BayerRG2RGB),
    "bayer_gbrg8": (1, 1, cv2.COLOR_BayerGR2GRAY, cv2.COLOR_BayerGR2RGB),
    "bayer_grbg8": (1, 1, cv2.COLOR_BayerGB2GRAY, cv2.COLOR_BayerGB2RGB),
}


def image_from_message(message: Any, color: bool = False) -> np.ndarray | None:
    """(H, W) uint8 gray or (H, W, 3) uint8 RGB of an Image or CompressedImage, None where it cannot be decoded.

    16-bit images lose their low byte. Raises DataError for an encoding that is not known.
    """
    data = np.frombuffer(message.data, np.uint8)
    if hasattr(message, "format"):
        return decode_image(data.tobytes(), cv2.IMREAD_COLOR_RGB if color else cv2.IMREAD_GRAYSCALE)
    if message.encoding not in _ENCODINGS:
        raise DataError(f"image encoding {message.encoding} is not known; known: {', '.join(_ENCODINGS)}")
    channels, depth, to_gray, to_rgb = _ENCODINGS[message.encoding]
    row = message.width * channels * depth
    if message.step < row or len(data) < message.step * message.height or not row * message.height:
        return None
    image = data[: message.step * message.height].reshape(message.height, message.step)[:, :row]
    if depth == 2:
        image = image[:, 0 if message.is_bigendian else 1 :: 2]
    image = np.ascontiguousarray(image).reshape(message.height, message.width, channels)
    conversion = to_rgb if color else to_gray
    return image.squeeze(2) if channels == 1 and conversion is None else _convert(image, conversion)


def _convert(image: np.ndarray, conversion: int | None) -> np.ndarray:
    return image if conversion is None else cv2.cvtColor(image, conversion)
