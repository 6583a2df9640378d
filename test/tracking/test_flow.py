# SPDX-License-Identifier: Apache-2.0
from collections.abc import Callable, Sequence

import numpy as np
import pytest

from letvins_ros.config import TrackerConfig
from letvins_ros.tracking.detection import GridDetector
from letvins_ros.tracking.flow import LearnedMaps, LucasKanade, equalised_maps, gray_maps
from letvins_ros.tracking.follower import Follower, make_follower

from ..stand_in_runtime import StandInRuntime
from .patterns import pixels

UV = np.stack(np.meshgrid(np.arange(40, 290, 25), np.arange(40, 210, 25)), axis=-1).reshape(-1, 2).astype(np.float32)
LK = LucasKanade(gray_maps, GridDetector())
EQUALISED_LK = LucasKanade(equalised_maps, GridDetector())


def follow(
    image_a: np.ndarray,
    image_b: np.ndarray,
    uv_a: np.ndarray = UV,
    guess_b: np.ndarray | None = None,
    lk: Follower = LK,
) -> tuple[np.ndarray, np.ndarray]:
    a, b = lk.prepare([image_a, image_b])
    return lk.follow(a, b, uv_a, uv_a if guess_b is None else guess_b)


@pytest.mark.parametrize("shift", [(0.0, 0.0), (0.3, -0.7), (5.25, 3.5), (-14.6, 11.1)])
def test_a_shift_is_found_to_a_twentieth_of_a_pixel(
    pattern: Callable[..., np.ndarray], shift: tuple[float, float]
) -> None:
    uv, found = follow(pattern(), pattern(lambda p: p - shift))
    assert found.mean() > 0.95
    assert np.linalg.norm(uv - UV - shift, axis=1)[found].max() < 0.05


def test_a_shift_is_found_on_evened_out_images(pattern: Callable[..., np.ndarray]) -> None:
    uv, found = follow(pattern(), pattern(lambda p: p - [5.25, 3.5]), lk=EQUALISED_LK)
    assert found.mean() > 0.95
    assert np.median(np.linalg.norm(uv - UV - [5.25, 3.5], axis=1)[found]) < 0.05


def test_the_lens_does_not_hold_back_what_moves_once_it_is_evened_out(pattern: Callable[..., np.ndarray]) -> None:
    u = np.linspace(-1, 1, 320)[None]
    shift = np.array([6.0, 0.0])
    weak = [110 + 0.12 * (image.astype(float) - 128) for image in (pattern(), pattern(lambda p: p - shift))]
    aside_a, aside_b = (np.rint(image * (1 - 0.5 * u**2)).astype(np.uint8) for image in weak)
    outward = UV[:, 0] > 180

    def error(lk: LucasKanade) -> float:
        uv, found = follow(aside_a, aside_b, lk=lk)
        return abs(float(np.mean((uv - UV - shift)[found & outward, 0])))

    assert error(EQUALISED_LK) < 0.5 * error(LK)


@pytest.mark.parametrize(
    ("angle", "limit_px"), [(0.01, 0.05), (0.05, 0.2)]
)  # windows are compared without turning them
def test_a_rotation_is_found_to_a_fraction_of_a_pixel(
    pattern: Callable[..., np.ndarray], angle: float, limit_px: float
) -> None:
    c, s = np.cos(angle), np.sin(angle)
    R, centre = np.array([[c, -s], [s, c]]), np.array([160.0, 120.0])
    turned = (UV - centre) @ R.T + centre
    uv, found = follow(pattern(), pattern(lambda p: (p - centre) @ R + centre))
    assert found.mean() > 0.9
    assert np.median(np.linalg.norm(uv - turned, axis=1)[found]) < limit_px


def test_a_motion_beyond_the_pyramid_needs_the_guess(pattern: Callable[..., np.ndarray]) -> None:
    a, b = pattern(width=640), pattern(lambda p: p - [150.0, 0.0], width=640)
    expected = UV + np.array([150, 0])
    blind, seen = follow(a, b)
    assert (seen & (np.abs(blind - expected).max(1) < 1)).mean() < 0.1
    uv, found = follow(a, b, guess_b=expected + np.array([4, -3]))
    assert found.mean() > 0.95
    assert np.abs(uv - expected)[found].max() < 0.05


@pytest.mark.parametrize("change", ["flat", "elsewhere", "upside_down"])
def test_points_whose_surroundings_have_changed_are_not_found(pattern: Callable[..., np.ndarray], change: str) -> None:
    patches = {"flat": 128, "elsewhere": pattern(lambda p: p + 1000.0)[60:180, 100:220]}
    patches["upside_down"] = pattern()[60:180, 100:220][::-1, ::-1]
    changed = pattern().copy()
    changed[60:180, 100:220] = patches[change]
    dense = pixels()[::6, ::6].reshape(-1, 2).astype(np.float32)
    inside = ((dense >= [112, 72]) & (dense < [208, 168])).all(1)
    outside = ((dense < [85, 45]) | (dense >= [235, 195])).any(1) & ((dense > 12) & (dense < [308, 228])).all(1)
    _, found = follow(pattern(), changed, dense)
    assert found[inside].mean() < 0.1
    assert found[outside].mean() > 0.99


def test_points_that_leave_the_image_are_not_found(pattern: Callable[..., np.ndarray]) -> None:
    uv, found = follow(pattern(), pattern(lambda p: p - [60.0, 0.0]), guess_b=UV + np.array([60, 0]))
    assert not found[UV[:, 0] + 60 >= 318].any()
    assert (uv[found] < [318, 238]).all()


def test_nothing_is_found_for_nothing_in_black_or_in_another_size(pattern: Callable[..., np.ndarray]) -> None:
    empty, found = follow(pattern(), pattern(), np.zeros((0, 2), np.float32))
    assert (empty.shape, found.shape) == ((0, 2), (0,))
    assert not follow(pattern(), np.zeros_like(pattern()))[1].any()
    assert not follow(pattern(), pattern(height=200))[1].any()


def test_the_points_and_guesses_given_are_left_as_they_are(pattern: Callable[..., np.ndarray]) -> None:
    uv, guess = UV.copy(), UV + np.float32(1)
    follow(pattern(), pattern(lambda p: p - 2.0), uv, guess)
    assert (uv == UV).all()
    assert (guess == UV + 1).all()


def test_maps_of_gray_and_of_equal_rgb_are_the_same(pattern: Callable[..., np.ndarray]) -> None:
    gray = pattern()
    rgb = np.repeat(gray[..., None], 3, axis=2)
    for maps in (gray_maps, equalised_maps):
        (a,), (b,) = maps([gray]), maps([rgb])
        assert (a == b).all()


@pytest.mark.parametrize("equalise", ["none", "local"])
def test_the_configuration_chooses_the_map(pattern: Callable[..., np.ndarray], equalise: str) -> None:
    (view,) = make_follower(TrackerConfig(equalise=equalise)).prepare([pattern()])
    assert (view.compared == pattern()).all() == (equalise == "none")


def test_learned_maps_recover_a_shift(pattern: Callable[..., np.ndarray]) -> None:
    lk = make_follower(TrackerConfig(method="letnet2"))
    uv, found = follow(pattern(), pattern(lambda p: p - [4.5, -2.25]), lk=lk)
    assert found.mean() > 0.9
    assert np.median(np.linalg.norm(uv - UV - [4.5, -2.25], axis=1)[found]) < 0.2
    (view,) = lk.prepare([pattern()])
    assert view.compared.shape[:2] == (240, 320)
    assert view.gray.shape == (240, 320)


def test_a_network_sees_the_evened_out_image_or_the_image_as_it_is(pattern: Callable[..., np.ndarray]) -> None:
    def negative(images: Sequence[np.ndarray]) -> list[dict[str, np.ndarray]]:
        return [{"feature": 255 - image} for image in images]

    for even, expected in ((True, equalised_maps([pattern()])[0]), (False, pattern())):
        (seen,) = LearnedMaps(StandInRuntime(negative), even)([pattern()])
        assert (seen == 255 - expected).all()
