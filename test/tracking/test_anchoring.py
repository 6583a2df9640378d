# SPDX-License-Identifier: Apache-2.0
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import pytest

from letvins_ros.config import TrackerConfig
from letvins_ros.geometry import inverse
from letvins_ros.simulation.sequence import Simulation
from letvins_ros.tracking import FeatureTracker
from letvins_ros.tracking.anchoring import MAX_MOVE_PX, Patches
from letvins_ros.types import FrameTracks, ImageFrame

from .patterns import FIRST

UV = np.stack(np.meshgrid(np.arange(60, 270, 25), np.arange(60, 190, 25)), axis=-1).reshape(-1, 2).astype(np.float32)
CENTRE = np.array([160.0, 120.0])


def changed(pattern: Callable[..., np.ndarray], A: np.ndarray, shift: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The pattern after x -> A (x - CENTRE) + CENTRE + shift, and where UV are then."""
    back = np.linalg.inv(A)
    return pattern(lambda p: (p - CENTRE - shift) @ back.T + CENTRE), (UV - CENTRE) @ A.T + CENTRE + shift


@pytest.mark.parametrize(
    "A",
    [np.eye(2), np.array([[0.96, -0.2], [0.2, 0.96]]), np.diag([1.15, 1.15]), np.array([[1.0, 0.15], [0.0, 0.9]])],
    ids=["the same", "turned", "nearer", "slanted"],
)
def test_a_patch_is_found_in_another_shape_to_a_twentieth_of_a_pixel(
    pattern: Callable[..., np.ndarray], A: np.ndarray
) -> None:
    image, truth = changed(pattern, A, np.array([3.3, -1.6]))
    led = truth + np.random.default_rng(0).uniform(-0.4, 0.4, truth.shape)
    patches, uv = Patches.at(pattern(), UV), led.astype(np.float32)
    for _ in range(3):  # as the shape is known from the frame before
        uv, patches, _ = patches.found_again(image, uv)
    error = np.linalg.norm(uv - truth, axis=1)
    assert np.median(error) < 0.05
    assert np.median(np.abs(patches.shape - A)) < 0.03


def test_what_is_not_found_where_flow_has_led_stays_there_and_is_a_new_patch(
    pattern: Callable[..., np.ndarray],
) -> None:
    far = UV + np.float32(3 * MAX_MOVE_PX)
    uv, patches, there = Patches.at(pattern(), UV).found_again(pattern(), far)
    moved = np.linalg.norm(uv - far, axis=1)
    assert (moved <= MAX_MOVE_PX).all()
    stayed = moved == 0
    assert stayed.mean() > 0.5
    assert not there[stayed].any()
    np.testing.assert_array_equal(patches.first[stayed], Patches.at(pattern(), far).first[stayed])


@pytest.mark.parametrize("level", [0, 128])
def test_without_texture_nothing_moves(level: int) -> None:
    image = np.full((240, 320), level, np.uint8)
    uv, patches, there = Patches.at(image, UV).found_again(image, UV)
    assert there.all()
    np.testing.assert_array_equal(uv, UV)
    assert np.isfinite(patches.shape).all()


@pytest.mark.parametrize("shape", [(8, 8), (2, 2), (15, 40)])
def test_images_smaller_than_a_patch_and_points_on_the_border_are_left_alone(shape: tuple[int, int]) -> None:
    image = np.random.default_rng(0).integers(0, 255, shape, np.uint8)
    uv = np.array([[0, 0], [shape[1] - 1, shape[0] - 1], [-5, 3], [1e6, 1e6]], np.float32)
    np.testing.assert_array_equal(Patches.at(image, uv).found_again(image, uv)[0], uv)


def test_features_do_not_slide_over_what_turns_and_nears(pattern: Callable[..., np.ndarray]) -> None:
    """Sixty frames in which the scene turns and grows, as when flying toward a wall."""

    def drift(first: Patches | None, follow: Callable[[Any, np.ndarray, np.ndarray], Any]) -> float:
        uv, state = UV.copy(), first
        before = pattern()
        for i in range(1, 61):
            angle, scale = 0.004 * i, 1 + 0.003 * i
            c, s = scale * np.cos(angle), scale * np.sin(angle)
            image, truth = changed(pattern, np.array([[c, -s], [s, c]]), np.array([0.0, 0.0]))
            led, _, _ = cv2.calcOpticalFlowPyrLK(before, image, uv, uv.copy(), winSize=(15, 15))
            uv, state, _ = follow(state, image, led)
            before = image
        inside = ((truth > 15) & (truth < [305, 225])).all(1)
        return float(np.median(np.linalg.norm(uv - truth, axis=1)[inside]))

    by_flow = drift(None, lambda state, image, led: (led, state, None))
    anchored = drift(Patches.at(pattern(), UV), lambda state, image, led: state.found_again(image, led))
    assert anchored < 0.5 * by_flow


def test_a_patch_keeps_its_feature_when_the_scale_changes_and_is_taken_anew(pattern: Callable[..., np.ndarray]) -> None:
    """Flow's error is not taken over with the new patch."""
    image, truth = changed(pattern, np.eye(2) * 1.7, np.zeros(2))
    inside = np.flatnonzero(((truth > 30) & (truth < [290, 210])).all(1))
    patches = Patches(Patches.at(pattern(), UV).first, np.tile(np.eye(2) * 1.65, (len(UV), 1, 1)))[inside]
    uv, now, there = patches.found_again(image, (truth[inside] + 0.4).astype(np.float32))
    assert there.mean() > 0.8
    assert np.median(np.linalg.norm(uv - truth[inside], axis=1)) < 0.1
    np.testing.assert_array_equal(now.shape[there], np.tile(np.eye(2), (there.sum(), 1, 1)))


def test_a_change_of_light_and_blur_of_a_whole_image_lose_no_feature(pattern: Callable[..., np.ndarray]) -> None:
    blurred = cv2.GaussianBlur(pattern(), (0, 0), 2.0) // 2 + 20
    _, _, there = Patches.at(pattern(), UV).found_again(blurred, UV)
    assert there.mean() > 0.8


def test_the_tracker_anchors_unless_told_otherwise(hall: Simulation, frames: list[ImageFrame]) -> None:
    def last(config: TrackerConfig) -> FrameTracks:
        tracker = FeatureTracker(config, hall.rig)
        return [tracker.process(frame) for frame in frames][-1]

    anchored, free = last(TrackerConfig()), last(TrackerConfig(anchor=False))
    shared, a, b = np.intersect1d(anchored.ids, free.ids, return_indices=True)
    difference = np.linalg.norm(anchored.uv[0, a] - free.uv[0, b], axis=1)
    assert len(shared) > 50
    assert 0 < np.median(difference) < 1


def test_outlines_are_the_corners_of_what_a_patch_has_become() -> None:
    patches = Patches(np.zeros((1, 21, 21), np.float32), np.array([[[0.0, -2.0], [1.0, 0.0]]]))
    corners = patches.outlines(np.array([[100.0, 50.0]]))[0]
    assert sorted(map(tuple, corners.tolist())) == [(82, 41), (82, 59), (118, 41), (118, 59)]


def test_a_partner_shows_the_patch_in_a_shape_of_its_own(pattern: Callable[..., np.ndarray]) -> None:
    """A wall that slants away is compressed there; flow, which knows of no shapes, has led beside the place."""
    image, truth = changed(pattern, np.array([[0.85, 0.0], [0.0, 1.0]]), np.array([-12.0, 0.0]))
    led = truth + np.random.default_rng(0).uniform(-0.4, 0.4, truth.shape)
    uv = Patches.at(pattern(), UV).placed(image, led.astype(np.float32))
    assert np.median(np.linalg.norm(uv - truth, axis=1)) < 0.05
    far = UV + np.float32(3 * MAX_MOVE_PX)
    moved = np.linalg.norm(Patches.at(pattern(), UV).placed(pattern(), far) - far, axis=1)
    assert moved.max() <= MAX_MOVE_PX
    assert (moved == 0).mean() > 0.5


def test_the_partners_places_are_as_exact_as_the_leads(hall: Simulation, frames: list[ImageFrame]) -> None:
    """Against the true depth at the lead's: half of them within a tenth of a pixel, a fifth closer than by flow."""

    def error(config: TrackerConfig) -> float:
        tracker, errors = FeatureTracker(config, hall.rig), []
        left, right = hall.rig.cameras[:2]
        T_right_left = inverse(right.T_body_cam) @ left.T_body_cam
        for i, frame in enumerate(frames):
            uv, uv_right = tracker.process(frame).uv[:2]
            column, row = np.rint(uv).astype(int).T
            depth = 1 / hall.view(FIRST + i, 0).inverse_depth
            flat = cv2.dilate(depth, np.ones((21, 21))) < 1.2 * cv2.erode(depth, np.ones((21, 21)))
            bearings = left.camera.unproject(uv)
            points = bearings / bearings[:, 2:] * cv2.remap(depth, uv[:, None], np.empty(0), cv2.INTER_LINEAR)
            truth, _ = right.camera.project(points @ T_right_left[:3, :3].T + T_right_left[:3, 3])
            errors.append(np.linalg.norm(uv_right - truth, axis=1)[flat[row, column]])
        return float(np.nanmedian(np.concatenate(errors)))

    assert error(TrackerConfig()) < min(0.1, 0.8 * error(TrackerConfig(anchor=False)))
