# SPDX-License-Identifier: Apache-2.0
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest

from letvins_ros.inference.keypoints import Keypoints
from letvins_ros.tracking.detection import GridDetector

NONE = np.zeros((0, 2), np.float32)
DETECTOR, MOST = GridDetector(), 200
REFINED_PX = 6  # two corners may each move by 3 px when they are refined


def nearest_distance(uv: np.ndarray, others: np.ndarray) -> np.ndarray:
    return np.linalg.norm(uv[:, None] - others[None], axis=2)


def squares(centres: list[tuple[int, int]], half: int = 6, shape: tuple[int, int] = (240, 320)) -> np.ndarray:
    image = np.full(shape, 60, np.uint8)
    for u, v in centres:
        image[v - half : v + half, u - half : u + half] = 200
    return image


def test_corners_of_a_square_are_found_between_the_pixels() -> None:
    # the square covers pixels 94..105, so its edges lie half a pixel outside
    found = replace(DETECTOR, min_distance_px=5).detect(squares([(100, 100)]), NONE, None, MOST)
    corners = np.array([[93.5, 93.5], [105.5, 93.5], [93.5, 105.5], [105.5, 105.5]])
    assert len(found) == 4
    assert nearest_distance(corners, found).min(1).max() < 0.25


def test_corners_keep_their_distance(pattern: Callable[..., np.ndarray]) -> None:
    found = DETECTOR.detect(pattern(), NONE, None, MOST)
    apart = nearest_distance(found, found) + 1e3 * np.eye(len(found))
    assert len(found) > 30
    assert apart.min() > DETECTOR.min_distance_px - REFINED_PX


def test_new_corners_keep_away_from_present_ones(pattern: Callable[..., np.ndarray]) -> None:
    present = np.array([[50.0, 60.0], [160.5, 120.2], [319.0, 239.0], [0.0, 0.0]], np.float32)
    found = DETECTOR.detect(pattern(), present, None, MOST)
    assert len(found) > 30
    assert nearest_distance(found, present).min() > DETECTOR.min_distance_px - REFINED_PX / 2


def test_corners_spread_over_the_image_though_one_side_is_stronger(pattern: Callable[..., np.ndarray]) -> None:
    image = pattern(height=480, width=752)
    image[:, :376] = 128 + (image[:, :376].astype(float) - 128) * 0.2
    found = DETECTOR.detect(image, NONE, None, 200)
    assert (found[:, 0] < 376).mean() > 0.25
    counts, _, _ = np.histogram2d(found[:, 1], found[:, 0], bins=(3, 4), range=((0, 480), (0, 752)))
    assert counts.min() >= 5


def test_no_corner_lies_where_the_mask_is_zero_and_the_mask_stays(pattern: Callable[..., np.ndarray]) -> None:
    mask = np.full((240, 320), 255, np.uint8)
    mask[:, 100:220] = 0
    before = mask.copy()
    found = DETECTOR.detect(pattern(), np.array([[40.0, 40.0]]), mask, MOST)
    assert len(found) > 15
    assert not ((found[:, 0] > 103) & (found[:, 0] < 216)).any()
    assert (mask == before).all()
    assert len(DETECTOR.detect(pattern(), NONE, np.zeros_like(mask), MOST)) == 0


@pytest.mark.parametrize(("wanted", "present"), [(0, 0), (1, 0), (10, 0), (10, 4), (10, 10), (10, 12)])
def test_there_are_never_more_than_the_maximum(pattern: Callable[..., np.ndarray], wanted: int, present: int) -> None:
    uv = np.stack([np.arange(present) * 25.0 + 20, np.full(present, 30.0)], axis=1)
    found = DETECTOR.detect(pattern(), uv, None, wanted)
    assert len(found) == max(wanted - present, 0)
    assert (found.dtype, found.shape[1:]) == (np.float32, (2,))  # type: ignore[comparison-overlap]


@pytest.mark.parametrize("level", [0, 128, 255])
def test_a_flat_image_has_no_corners(level: int) -> None:
    assert len(DETECTOR.detect(np.full((240, 320), level, np.uint8), NONE, None, MOST)) == 0


def test_sensor_noise_has_no_corners(pattern: Callable[..., np.ndarray]) -> None:
    noise = np.random.default_rng(0).normal(20, 1.0, (240, 320))
    assert len(DETECTOR.detect(np.rint(noise).astype(np.uint8), NONE, None, MOST)) == 0
    assert len(replace(DETECTOR, min_eigenvalue=0.0).detect(np.rint(noise).astype(np.uint8), NONE, None, MOST)) > 30


def test_the_same_image_gives_the_same_bytes(pattern: Callable[..., np.ndarray]) -> None:
    present = np.array([[50.0, 60.0]])
    assert (
        DETECTOR.detect(pattern(), present, None, MOST).tobytes()
        == DETECTOR.detect(pattern(), present, None, MOST).tobytes()
    )


EDGES = [8, 9, 15, 16, 17, 31, 33, 217, 333, 376, 1241, 2047, 2048]


def keypoints(uv: np.ndarray, scores: np.ndarray) -> Keypoints:
    return Keypoints(uv, scores, np.zeros((len(uv), 0), np.float32))


SIZES = [(w, h) for w in EDGES for h in (8, 9, 217, 2048)]
SIZES += [tuple(size) for size in np.random.default_rng(0).integers(8, 2049, (60, 2)).tolist()]


ALL = [(side, 2056 - side) for side in range(8, 2049)]  # each width and each height once


@pytest.mark.parametrize(("sizes", "masked"), [(SIZES, False), (SIZES, True), (ALL, False)])
def test_points_up_to_every_edge_can_be_chosen_in_images_of_every_size(
    sizes: Sequence[tuple[int, int]], masked: bool
) -> None:
    rng = np.random.default_rng(1)
    for width, height in sizes:
        last = np.array([width - 1, height - 1], np.float32)
        corners = np.array([[0, 0], [1, 0], [0, 1], [1, 1]], np.float32) * last
        uv = np.concatenate([corners, corners * 0.999, rng.uniform(0, 1, (60, 2)).astype(np.float32) * last])
        mask = np.full((height, width), 255, np.uint8) if masked else None
        detector = replace(DETECTOR, min_distance_px=1)
        chosen = detector.choose(keypoints(uv, np.linspace(1, 0.5, len(uv))), (height, width), NONE, mask, MOST)
        assert {tuple(p) for p in chosen.tolist()} <= {tuple(p) for p in uv.tolist()}, (width, height)
        assert (chosen == last).all(1).any() or min(width, height) < 10, (width, height)
        near_last = detector.choose(keypoints(uv, np.ones(len(uv))), (height, width), last[None], mask, MOST)
        assert len(near_last) <= len(uv)


def test_corners_are_found_within_images_of_every_size(pattern: Callable[..., np.ndarray]) -> None:
    whole = np.tile(pattern(height=256, width=256), (8, 8))
    for width, height in SIZES[::6]:
        found = DETECTOR.detect(np.ascontiguousarray(whole[:height, :width]), NONE, None, MOST)
        assert ((found >= 0) & (found <= [width - 1, height - 1])).all(), (width, height)
