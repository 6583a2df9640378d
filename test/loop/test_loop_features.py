# SPDX-License-Identifier: Apache-2.0
import cv2
import numpy as np
import pytest

from letvins_ros.loop import place_map
from letvins_ros.loop.orb import OrbDescriber, Vlad
from letvins_ros.loop.place_map import PlaceIndex
from letvins_ros.types import Keyframe

from ..vectors import unit
from .walk import CAMERA


def picture(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    image = np.full((480, 752), 120, np.uint8)
    for x, y, w, h, gray in zip(*(rng.integers(0, top, 150) for top in (752, 480, 90, 90, 256)), strict=True):
        cv2.rectangle(image, (int(x), int(y)), (int(x + w), int(y + h)), int(gray), -1)
    return cv2.GaussianBlur(image, (3, 3), 0)


NOWHERE, LEVEL = np.zeros((0, 2), np.float32), np.eye(4)


def keyframe(uv: np.ndarray = NOWHERE, T: np.ndarray = LEVEL) -> Keyframe:
    n = len(uv)
    return Keyframe(0, 0, T, np.eye(6), np.zeros((0, 4, 4)), np.eye(6), np.arange(n), uv, np.ones((n, 3)))


@pytest.fixture(scope="module")
def describer() -> OrbDescriber:
    return OrbDescriber(CAMERA, 300, gravity_aligned=True)


def test_landmarks_come_with_their_points_and_ids(describer: OrbDescriber) -> None:
    uv = np.array([[100.0, 100.0], [300.5, 200.0], [2.0, 2.0]], np.float32)
    features = describer.describe(picture(0), keyframe(uv))
    assert features.ids[:2].tolist() == [0, 1] and (features.ids[2:] == -1).all()  # the third is too near the edge
    assert np.isfinite(features.points_body[:2]).all() and np.isnan(features.points_body[2:]).all()
    assert 100 < len(features) <= 300


def test_the_same_place_is_more_alike_than_another_even_in_other_light(describer: OrbDescriber) -> None:
    here, there = (describer.describe(picture(seed), keyframe()).place for seed in (1, 2))
    dim = cv2.add(cv2.convertScaleAbs(picture(1), alpha=0.5), 20)  # type: ignore[call-overload]
    shifted = np.roll(dim, 12, axis=1)
    again = describer.describe(shifted, keyframe()).place
    assert here @ here == pytest.approx(1.0, abs=1e-5)
    assert here @ again > here @ there + 0.2


def test_other_lamps_find_the_same_corners_with_the_same_bits(describer: OrbDescriber) -> None:
    """Bright at the left, then dim and bright at the right."""
    left, right = np.linspace(0.5, 0.15, 752), np.linspace(0.05, 0.25, 752)
    one, other = (describer.describe(np.rint(picture(4) * lamp).astype(np.uint8), keyframe()) for lamp in (left, right))
    apart = np.linalg.norm(one.uv[:, None] - other.uv[None], axis=2)
    same = apart.min(axis=1) < 1.5
    bits = np.unpackbits(one.descriptors, axis=1) != np.unpackbits(other.descriptors[apart.argmin(axis=1)], axis=1)
    assert len(one) > 200 and same.mean() > 0.75 and bits[same].mean() < 0.1
    assert one.place @ other.place > 0.75


def test_an_image_without_corners_has_no_features(describer: OrbDescriber) -> None:
    features = describer.describe(np.full((480, 752), 90, np.uint8), keyframe())
    assert len(features) == 0 and not features.place.any()


def test_descriptors_do_not_turn_with_the_camera(describer: OrbDescriber) -> None:
    """Gravity tells how far the image is rolled, and the patch is turned with it."""
    image, angle = picture(3), 20.0
    centre = (CAMERA.camera.intrinsics[2], CAMERA.camera.intrinsics[3])
    M = cv2.getRotationMatrix2D(centre, angle, 1.0)
    rolled = cv2.warpAffine(image, M, (752, 480), borderValue=120)
    uv = np.array([[300, 200], [376, 240], [450, 260], [330, 300]], np.float32)
    roll = np.deg2rad(-angle)
    R_body = CAMERA.T_body_cam[:3, :3]
    R_cam = np.array([[np.cos(roll), -np.sin(roll), 0], [np.sin(roll), np.cos(roll), 0], [0, 0, 1]])
    T = np.eye(4)
    T[:3, :3] = R_body @ R_cam.T @ R_body.T
    moved = (uv @ M[:, :2].T + M[:, 2]).astype(np.float32)

    def bits(image: np.ndarray, points: np.ndarray, T: np.ndarray) -> np.ndarray:
        described = describer.describe(image, keyframe(points, T))
        return np.unpackbits(described.descriptors[: len(points)], axis=1)

    upright, turned, wrong = bits(image, uv, np.eye(4)), bits(rolled, moved, T), bits(rolled, moved, np.eye(4))
    assert (upright != turned).mean() < 0.1 < (upright != wrong).mean()


def test_vlad_is_a_unit_vector_of_the_promised_size() -> None:
    vlad = Vlad.load()
    rng = np.random.default_rng(0)
    place = vlad.aggregate(rng.integers(0, 256, (50, 32)).astype(np.uint8))
    assert place.shape == (vlad.size,) and np.linalg.norm(place) == pytest.approx(1.0, abs=1e-5)


def vectors(rng: np.random.Generator, count: int, size: int = 32) -> np.ndarray:
    return unit(rng.normal(size=(count, size)).astype(np.float32))


@pytest.mark.parametrize("count", [1, 2, 50])
def test_the_search_finds_what_brute_force_finds(count: int) -> None:
    rng = np.random.default_rng(count)
    places, query = vectors(rng, count), vectors(rng, 1)[0]
    found = PlaceIndex(32)
    found.add(np.arange(count) * 10, places)
    numbers, similarity = found.query(query, 5)
    expected = np.argsort(-(places @ query))[:5]
    assert numbers.tolist() == (expected * 10).tolist()
    np.testing.assert_allclose(similarity, (places @ query)[expected], atol=1e-6)


def test_a_large_index_goes_over_to_lists_and_still_finds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(place_map, "EXACT_UP_TO", 2000)
    monkeypatch.setattr(place_map, "LISTS", 16)
    rng = np.random.default_rng(0)
    places, found = vectors(rng, 3000), PlaceIndex(32)
    for start in range(0, 3000, 500):
        found.add(np.arange(start, start + 500), places[start : start + 500])
    assert len(found) == 3000
    hits = [i in found.query(places[i], 3)[0] for i in range(0, 3000, 30)]
    assert np.mean(hits) > 0.95


def test_an_empty_index_finds_nothing() -> None:
    assert len(PlaceIndex(8).query(np.ones(8, np.float32), 4)[0]) == 0
