# SPDX-License-Identifier: Apache-2.0
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from letvins_ros.datasets.ros_image import image_from_message
from letvins_ros.errors import DataError

H, W = 10, 14
RGB = (200, 120, 40)
GRAY = 0.299 * RGB[0] + 0.587 * RGB[1] + 0.114 * RGB[2]  # ITU-R BT.601


def message(encoding, pixels, padding=0, **more):
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


def colored(order):
    return np.tile(np.array([{"r": RGB[0], "g": RGB[1], "b": RGB[2], "a": 255}[c] for c in order], np.uint8), (H, W, 1))


def mosaic(pattern):
    values = dict(zip("rgb", RGB, strict=True))
    return np.tile(np.array([values[c] for c in pattern], np.uint8).reshape(2, 2), (H // 2, W // 2))


@pytest.mark.parametrize("encoding", ["mono8", "8UC1"])
def test_gray_images_are_taken_as_they_are_without_the_padding_of_rows(encoding):
    pixels = np.random.default_rng(0).integers(0, 256, (H, W), dtype=np.uint8)
    assert np.array_equal(image_from_message(message(encoding, pixels, padding=5)), pixels)


@pytest.mark.parametrize("big", [0, 1])
def test_of_16_bits_the_high_byte_stays(big):
    pixels = np.random.default_rng(0).integers(0, 65536, (H, W), dtype=np.uint16)
    stored = pixels.byteswap() if big else pixels
    assert np.array_equal(image_from_message(message("mono16", stored, padding=2, is_bigendian=big)), pixels >> 8)


@pytest.mark.parametrize(
    ("encoding", "order"), [("rgb8", "rgb"), ("bgr8", "bgr"), ("8UC3", "bgr"), ("rgba8", "rgba"), ("bgra8", "bgra")]
)
def test_colours_come_as_rgb_or_as_their_brightness(encoding, order):
    gray = image_from_message(message(encoding, colored(order), padding=3))
    assert gray.shape == (H, W)
    assert np.abs(gray - GRAY).max() < 1
    assert np.array_equal(image_from_message(message(encoding, colored(order)), color=True), colored("rgb"))


@pytest.mark.parametrize("pattern", ["rggb", "bggr", "gbrg", "grbg"])
def test_every_bayer_pattern_gives_the_colour_it_was_made_of(pattern):
    made = message(f"bayer_{pattern}8", mosaic(pattern))
    assert np.array_equal(image_from_message(made, color=True), colored("rgb"))
    assert np.abs(image_from_message(made) - GRAY).max() < 1


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_compressed_images_are_decoded(suffix):
    data = cv2.imencode(suffix, colored("bgr"))[1].ravel()
    made = SimpleNamespace(format=suffix[1:], data=data)
    assert np.abs(image_from_message(made).astype(float) - GRAY).max() < 3
    assert np.abs(image_from_message(made, color=True).astype(int) - RGB).max() < 4


def test_damaged_images_are_none():
    pixels = np.zeros((H, W), np.uint8)
    assert image_from_message(message("mono8", pixels, data=np.zeros(5, np.uint8))) is None
    assert image_from_message(message("mono8", pixels, step=3)) is None
    assert image_from_message(message("mono8", pixels, height=0)) is None
    assert image_from_message(SimpleNamespace(format="png", data=np.zeros(0, np.uint8))) is None
    assert image_from_message(SimpleNamespace(format="png", data=np.zeros(9, np.uint8))) is None


def test_an_unknown_encoding_is_an_error_with_the_known_ones():
    with pytest.raises(DataError, match="encoding 32FC1 is not known; known: mono8"):
        image_from_message(message("32FC1", np.zeros((H, W), np.float32)))
