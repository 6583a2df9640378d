# SPDX-License-Identifier: Apache-2.0
from collections.abc import Callable

import numpy as np
import pytest

from letvins_ros.contrast import equalise_contrast, to_gray


def difference(a: np.ndarray, b: np.ndarray) -> float:
    """Mean difference as a share of the contrast."""
    return np.abs(a.astype(float) - b).mean() / a.std()


@pytest.mark.parametrize("gain", [0.5, 0.7, 1.3])
def test_another_exposure_changes_little(pattern: Callable[..., np.ndarray], gain: float) -> None:
    image = 40 + pattern() // 2
    assert difference(equalise_contrast(image), equalise_contrast(np.rint(image * gain).astype(np.uint8))) < 0.2


def test_a_lamp_from_the_side_changes_little(pattern: Callable[..., np.ndarray]) -> None:
    image = 40 + pattern() // 4
    lit = np.rint(image * np.linspace(0.5, 1.8, 320)).astype(np.uint8)
    assert difference(image, lit) > 1
    assert difference(equalise_contrast(image), equalise_contrast(lit)) < 0.25


def test_every_part_gets_the_same_mean_and_contrast(pattern: Callable[..., np.ndarray]) -> None:
    image = pattern() // 4
    image[:, 160:] += 120
    image[:, 160:] //= 2
    left, right = equalise_contrast(image)[:, 20:120], equalise_contrast(image)[:, 200:300]
    assert abs(left.mean() - right.mean()) < 3
    assert 0.7 < left.std() / right.std() < 1.4


def test_noise_on_a_flat_wall_stays_below_texture(pattern: Callable[..., np.ndarray]) -> None:
    noise = np.rint(100 + np.random.default_rng(0).normal(0, 1, (240, 320))).astype(np.uint8)
    assert equalise_contrast(noise).std() < 0.5 * equalise_contrast(pattern()).std()


@pytest.mark.parametrize("shape", [(240, 320), (241, 323), (9, 8), (7, 300), (1, 1)])
def test_every_size_keeps_its_shape(shape: tuple[int, int]) -> None:
    image = np.random.default_rng(0).integers(0, 255, shape, np.uint8)
    assert equalise_contrast(image).shape == shape
    assert equalise_contrast(image).dtype == np.uint8


def test_black_and_white_images_become_gray() -> None:
    for value in (0, 255):
        assert (equalise_contrast(np.full((240, 320), value, np.uint8)) == 128).all()


def test_gray_images_are_taken_as_they_are(pattern: Callable[..., np.ndarray]) -> None:
    assert to_gray(pattern()).shape == (240, 320)
    gray = pattern()
    assert to_gray(gray) is gray
