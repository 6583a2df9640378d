# SPDX-License-Identifier: Apache-2.0
"""Pixels of sensor_msgs Image and CompressedImage messages, of any library that has their fields."""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from letvins_ros.datasets.bit_depth import LOOKED_AT, BitDepth
from letvins_ros.errors import DataError
from letvins_ros.image_files import decode_image


@dataclass(frozen=True)
class _Encoding:
    """How pixels lie in the rows of a message, and OpenCV's conversions to gray and to RGB (None: nothing to do)."""

    channels: int
    depth: int  # bytes a channel
    to_gray: int | None
    to_rgb: int | None
    rows: float = 1.0  # rows of data per row of the image


_GRAY, _GRAY16 = (_Encoding(1, depth, None, cv2.COLOR_GRAY2RGB) for depth in (1, 2))
_UYVY = _Encoding(2, 1, cv2.COLOR_YUV2GRAY_UYVY, cv2.COLOR_YUV2RGB_UYVY)
_YUYV = _Encoding(2, 1, cv2.COLOR_YUV2GRAY_YUY2, cv2.COLOR_YUV2RGB_YUY2)
_NV12 = _Encoding(1, 1, cv2.COLOR_YUV2GRAY_NV12, cv2.COLOR_YUV2RGB_NV12, 1.5)
_NV21 = _Encoding(1, 1, cv2.COLOR_YUV2GRAY_NV21, cv2.COLOR_YUV2RGB_NV21, 1.5)
_COLOURS = {
    "bgr": (3, cv2.COLOR_BGR2GRAY, cv2.COLOR_BGR2RGB),
    "rgb": (3, cv2.COLOR_RGB2GRAY, None),
    "bgra": (4, cv2.COLOR_BGRA2GRAY, cv2.COLOR_BGRA2RGB),
    "rgba": (4, cv2.COLOR_RGBA2GRAY, cv2.COLOR_RGBA2RGB),
    # OpenCV names a Bayer pattern by the second row, ROS by the first
    "bayer_rggb": (1, cv2.COLOR_BayerBG2GRAY, cv2.COLOR_BayerBG2RGB),
    "bayer_bggr": (1, cv2.COLOR_BayerRG2GRAY, cv2.COLOR_BayerRG2RGB),
    "bayer_gbrg": (1, cv2.COLOR_BayerGR2GRAY, cv2.COLOR_BayerGR2RGB),
    "bayer_grbg": (1, cv2.COLOR_BayerGB2GRAY, cv2.COLOR_BayerGB2RGB),
}
ENCODINGS: dict[str, _Encoding] = {
    "mono8": _GRAY,
    "8UC1": _GRAY,
    "mono16": _GRAY16,
    "16UC1": _GRAY16,
    **{f"{name}8": _Encoding(n, 1, gray, rgb) for name, (n, gray, rgb) in _COLOURS.items()},
    **{f"{name}16": _Encoding(n, 2, gray, rgb) for name, (n, gray, rgb) in _COLOURS.items()},
    "8UC3": _Encoding(3, 1, cv2.COLOR_BGR2GRAY, cv2.COLOR_BGR2RGB),
    "8UC4": _Encoding(4, 1, cv2.COLOR_BGRA2GRAY, cv2.COLOR_BGRA2RGB),
    "yuv422": _UYVY,
    "uyvy": _UYVY,
    "yuv422_yuy2": _YUYV,
    "yuyv": _YUYV,
    "nv12": _NV12,
    "nv21": _NV21,
}


class ImageDecoder:
    """Decodes the images of one camera, of those with 16 bits the upper 8 that the camera uses."""

    def __init__(self, color: bool = False, depth: BitDepth | None = None, live: bool = False) -> None:
        """color: (H, W, 3) RGB instead of (H, W) gray. depth: where it is known or shared.

        live: there is nothing to look at before images are decoded, so the first ones tell which bits are used.
        """
        self._color = color
        self.depth, self.is_deep = depth or BitDepth(), False
        self._looking, self._to_look_at = False, LOOKED_AT if live else 0

    def look(self, message: Any) -> None:
        """Take note of the bits that a message's image uses, before images are decoded."""
        self._looking = True
        try:
            self.decode(message)
        except DataError:  # an encoding that is not known is told when the image is wanted
            pass
        finally:
            self._looking = False

    def decode(self, message: Any) -> np.ndarray | None:
        """(H, W) uint8 gray or (H, W, 3) uint8 RGB of an Image or CompressedImage, None where it cannot be decoded.

        Raises DataError for an encoding that is not known.
        """
        try:
            return self._decompressed(message) if hasattr(message, "format") else self._plain(message)
        except cv2.error:  # a size that the encoding cannot have
            return None

    def _plain(self, message: Any) -> np.ndarray | None:
        if message.encoding not in ENCODINGS:
            raise DataError(f"image encoding {message.encoding} is not known; known: {', '.join(ENCODINGS)}")
        how, data = ENCODINGS[message.encoding], np.frombuffer(message.data, np.uint8)
        row, rows = message.width * how.channels * how.depth, int(message.height * how.rows)
        if message.step < row or len(data) < message.step * rows or not row * rows:
            return None
        pixels = np.ascontiguousarray(data[: message.step * rows].reshape(rows, message.step)[:, :row])
        if how.depth == 2:
            pixels = self._eight_bits(pixels.view(">u2" if message.is_bigendian else "<u2"))
        shaped = pixels.reshape(rows, message.width, how.channels)
        return _convert(shaped if how.channels > 1 else shaped[:, :, 0], how.to_rgb if self._color else how.to_gray)

    def _decompressed(self, message: Any) -> np.ndarray | None:
        """A picture file; that of a Bayer camera may hold the pattern as if it were gray."""
        data = np.frombuffer(message.data, np.uint8)
        if not len(data):
            return None
        pattern = ENCODINGS.get(message.format.partition(";")[0].strip())
        raw = pattern is not None and message.format.startswith("bayer")
        kept = cv2.IMREAD_UNCHANGED if raw else cv2.IMREAD_ANYDEPTH
        image = decode_image(data.tobytes(), kept | (cv2.IMREAD_COLOR if self._color else cv2.IMREAD_GRAYSCALE))
        if image is None or image.dtype not in (np.uint8, np.uint16):
            return None
        image = self._eight_bits(image) if image.dtype == np.uint16 else image
        how = pattern if raw and pattern else _GRAY
        if image.ndim == 3:
            how = ENCODINGS["bgr8"]
        return _convert(image, how.to_rgb if self._color else how.to_gray)

    def _eight_bits(self, pixels: np.ndarray) -> np.ndarray:
        self.is_deep = True
        if self._looking or self._to_look_at or not self.depth.is_known:
            self.depth.look(pixels)
        if self.depth.is_known and self._to_look_at:
            self._to_look_at -= 1
        return self.depth.reduce(pixels)


def _convert(image: np.ndarray, conversion: int | None) -> np.ndarray:
    return image if conversion is None else cv2.cvtColor(image, conversion)
