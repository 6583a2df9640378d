# SPDX-License-Identifier: Apache-2.0
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from letvins_ros.datasets.bit_depth import BitDepth
from letvins_ros.datasets.ros_image import ImageDecoder
from letvins_ros.errors import DataError

from ..some import some

H, W = 10, 14
RGB = (200, 120, 40)
GRAY = 0.299 * RGB[0] + 0.587 * RGB[1] + 0.114 * RGB[2]  # ITU-R BT.601


def message(encoding: str, pixels: np.ndarray, padding: int = 0, **more: object) -> SimpleNamespace:
    rows = pixels.reshape(len(pixels), -1).view(np.uint8)
    rows = np.hstack([rows, np.full((len(rows), padding), 255, np.uint8)])
    fields = {
        "encoding": encoding,
        "height": len(pixels),
        "width": pixels.shape[1],
        "step": rows.shape[1],
        "is_bigendian": 0,
    }
    return SimpleNamespace(**(fields | {"data": rows.ravel()} | more))


def colored(order: str) -> np.ndarray:
    return np.tile(np.array([{"r": RGB[0], "g": RGB[1], "b": RGB[2], "a": 255}[c] for c in order], np.uint8), (H, W, 1))


def mosaic(pattern: str) -> np.ndarray:
    values = dict(zip("rgb", RGB, strict=True))
    return np.tile(np.array([values[c] for c in pattern], np.uint8).reshape(2, 2), (H // 2, W // 2))


def decoded(made: SimpleNamespace, color: bool = False) -> np.ndarray | None:
    """Of those with 16 bits the upper 8."""
    return ImageDecoder(color, BitDepth(16)).decode(made)


def image_from_message(made: SimpleNamespace, color: bool = False) -> np.ndarray:
    return some(decoded(made, color))


@pytest.mark.parametrize("encoding", ["mono8", "8UC1"])
def test_gray_images_are_taken_as_they_are_without_the_padding_of_rows(encoding: str) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (H, W), dtype=np.uint8)
    assert np.array_equal(image_from_message(message(encoding, pixels, padding=5)), pixels)


@pytest.mark.parametrize("big", [0, 1])
def test_of_16_bits_the_high_byte_stays(big: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 65536, (H, W), dtype=np.uint16)
    stored = pixels.byteswap() if big else pixels
    assert np.array_equal(image_from_message(message("mono16", stored, padding=2, is_bigendian=big)), pixels >> 8)


@pytest.mark.parametrize(
    ("encoding", "order"), [("rgb8", "rgb"), ("bgr8", "bgr"), ("8UC3", "bgr"), ("rgba8", "rgba"), ("bgra8", "bgra")]
)
def test_colours_come_as_rgb_or_as_their_brightness(encoding: str, order: str) -> None:
    gray = image_from_message(message(encoding, colored(order), padding=3))
    assert gray.shape == (H, W)
    assert np.abs(gray - GRAY).max() < 1
    assert np.array_equal(image_from_message(message(encoding, colored(order)), color=True), colored("rgb"))


@pytest.mark.parametrize("pattern", ["rggb", "bggr", "gbrg", "grbg"])
def test_every_bayer_pattern_gives_the_colour_it_was_made_of(pattern: str) -> None:
    made = message(f"bayer_{pattern}8", mosaic(pattern))
    assert np.array_equal(image_from_message(made, color=True), colored("rgb"))
    assert np.abs(image_from_message(made) - GRAY).max() < 1


@pytest.mark.parametrize("order", ["rgb", "bgr", "rgba", "bgra"])
def test_colours_of_16_bits_lose_their_low_bytes(order: str) -> None:
    deep = colored(order).astype(np.uint16) * 256 + 77
    assert np.array_equal(image_from_message(message(f"{order}16", deep, padding=2), color=True), colored("rgb"))


@pytest.mark.parametrize("pattern", ["rggb", "bggr", "gbrg", "grbg"])
def test_bayer_patterns_of_16_bits_lose_their_low_bytes(pattern: str) -> None:
    made = message(f"bayer_{pattern}16", mosaic(pattern).astype(np.uint16) * 256 + 77)
    assert np.array_equal(image_from_message(made, color=True), colored("rgb"))


def luma_and_chroma() -> tuple[int, int, int]:
    """Full-range BT.601 of RGB squeezed into the range of video, as cameras give it."""
    r, g, b = (x / 255 for x in RGB)
    y = 16 + 65.481 * r + 128.553 * g + 24.966 * b
    return round(y), round(128 - 37.797 * r - 74.203 * g + 112 * b), round(128 + 112 * r - 93.786 * g - 18.214 * b)


@pytest.mark.parametrize(
    ("encoding", "order"), [("yuv422", "uyvy"), ("uyvy", "uyvy"), ("yuv422_yuy2", "yuyv"), ("yuyv", "yuyv")]
)
def test_packed_yuv_gives_luma_or_the_colour_it_was_made_of(encoding: str, order: str) -> None:
    y, u, v = luma_and_chroma()
    pair = np.array([{"y": y, "u": u, "v": v}[c] for c in order], np.uint8)
    made = message(encoding, np.tile(pair, (H, W // 2)).reshape(H, W, 2), padding=4)
    assert np.array_equal(image_from_message(made), np.full((H, W), y))
    assert np.abs(image_from_message(made, color=True).astype(int) - RGB).max() <= 3


@pytest.mark.parametrize(("encoding", "order"), [("nv12", "uv"), ("nv21", "vu")])
def test_planar_yuv_gives_luma_or_the_colour_it_was_made_of(encoding: str, order: str) -> None:
    y, u, v = luma_and_chroma()
    chroma = np.array([{"u": u, "v": v}[c] for c in order], np.uint8)
    planes = np.vstack([np.full((H, W), y, np.uint8), np.tile(chroma, (H // 2, W // 2))])
    made = message(encoding, planes, padding=2, height=H)
    assert np.array_equal(image_from_message(made), np.full((H, W), y))
    assert np.abs(image_from_message(made, color=True).astype(int) - RGB).max() <= 3
    assert decoded(message(encoding, planes[:-1], height=H)) is None


def test_a_compressed_bayer_pattern_gives_the_colour_it_was_made_of() -> None:
    data = cv2.imencode(".png", mosaic("rggb"))[1].ravel()
    made = SimpleNamespace(format="bayer_rggb8; png compressed bayer_rggb8", data=data)
    assert np.array_equal(image_from_message(made, color=True), colored("rgb"))
    assert np.abs(image_from_message(made).astype(float) - GRAY).max() < 1


def test_bits_of_a_camera_are_told_by_its_first_image_and_kept() -> None:
    decoder, bright = ImageDecoder(), np.full((H, W), 1000, np.uint16)
    assert (some(decoder.decode(message("mono16", bright))) == 250).all()
    assert (some(decoder.decode(message("mono16", bright // 10))) == 25).all()
    assert (some(decoder.decode(message("mono16", bright * 4))) == 255).all()


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_compressed_images_are_decoded(suffix: str) -> None:
    data = cv2.imencode(suffix, colored("bgr"))[1].ravel()
    made = SimpleNamespace(format=suffix[1:], data=data)
    assert np.abs(image_from_message(made).astype(float) - GRAY).max() < 3
    assert np.abs(image_from_message(made, color=True).astype(int) - RGB).max() < 4


def test_damaged_images_are_none() -> None:
    pixels = np.zeros((H, W), np.uint8)
    assert decoded(message("mono8", pixels, data=np.zeros(5, np.uint8))) is None
    assert decoded(message("mono8", pixels, step=3)) is None
    assert decoded(message("mono8", pixels, height=0)) is None
    assert decoded(SimpleNamespace(format="png", data=np.zeros(0, np.uint8))) is None
    assert decoded(SimpleNamespace(format="png", data=np.zeros(9, np.uint8))) is None


def test_an_unknown_encoding_is_an_error_with_the_known_ones() -> None:
    with pytest.raises(DataError, match="encoding 32FC1 is not known; known: mono8"):
        image_from_message(message("32FC1", np.zeros((H, W), np.float32)))


def test_a_live_topic_keeps_the_bits_that_its_first_images_use() -> None:
    """The brightest of the first eight that are not black tells; later ones change nothing, so brightness stays."""
    decoder, dim = ImageDecoder(live=True), np.full((H, W), 900, np.uint16)  # 10 bits
    assert (some(decoder.decode(message("mono16", 0 * dim))) == 0).all()
    assert (some(decoder.decode(message("mono16", dim))) == 225).all()
    assert (some(decoder.decode(message("mono16", dim * 4))) == 225).all()  # 12
    for _ in range(6):
        assert (some(decoder.decode(message("mono16", dim))) == 56).all()
    assert (some(decoder.decode(message("mono16", dim * 70))) == 255).all()
    assert (some(decoder.decode(message("mono16", dim))) == 56).all()
