# SPDX-License-Identifier: Apache-2.0
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from letvins_ros.calibration import MountedCamera, Rig
from letvins_ros.camera import Camera
from letvins_ros.geometry import apply, inverse, transform
from letvins_ros.types import Trajectory
from training.data.lighting import to_uint8
from training.tasks.flow import LIGHTS, Clip, Shares, follow, open_maps, predict_clip, shares_of
from training.tasks.true_flow import true_positions


@pytest.fixture(scope="module")
def clip() -> Clip:
    """A texture that moves by (2, -1) px per image."""
    noise = np.random.default_rng(0).normal(128, 400, (240, 320))
    big = to_uint8(128 + 3 * (cv2.GaussianBlur(noise, (0, 0), 2.5) - 128))
    images = [np.roll(big, (-i, 2 * i), (0, 1))[40:200, 40:280].copy() for i in range(16)]
    corners = cv2.goodFeaturesToTrack(images[0][30:, :-60], 60, 0.01, 10)[:, 0] + np.array([0, 30], np.float32)
    end = corners + np.array([30, -15], np.float32)
    true = end.copy()
    true[::2] = np.nan
    return Clip(images, corners, end, true)


def test_a_moving_texture_is_followed_to_its_true_place(clip: Clip) -> None:
    uv, alive = follow(clip.images, clip.corners)
    inside = (clip.tracked > 12).all(axis=1)
    assert alive[inside].mean() > 0.95
    assert np.median(np.linalg.norm(uv - clip.tracked, axis=1)[inside & alive]) < 0.1


def test_flicker_kills_plain_tracking_and_nothing_else_does_here(clip: Clip) -> None:
    def shares(model: str, light: str) -> Shares:
        return shares_of(clip, predict_clip(clip, open_maps(model, "auto"), LIGHTS[light], 0))

    assert shares("lk", "plain").tracked > 0.8
    assert shares("lk", "plain").true > 0.8
    assert shares("lk", "flicker").tracked < 0.3
    assert shares("clahe", "flicker").tracked > shares("lk", "flicker").tracked
    assert shares("local", "flicker").true > 0.8


@pytest.mark.parametrize("light", LIGHTS)
def test_lights_are_repeatable_and_keep_type_and_size(clip: Clip, light: str) -> None:
    first, again = (LIGHTS[light](clip.images, np.random.default_rng(3)) for _ in range(2))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert all(a.dtype == np.uint8 and a.shape == clip.images[0].shape for a in first)


def test_true_positions_are_the_projections_of_the_points() -> None:
    camera = Camera("pinhole-radtan", 640, 480, (400.0, 400.0, 320.0, 240.0), (-0.2, 0.05, 0.0, 0.0))
    right = transform(np.eye(3), np.array([0.1, 0.0, 0.0]))
    rig = Rig((MountedCamera(camera, np.eye(4)), MountedCamera(camera, right)), None)
    points = np.random.default_rng(0).uniform([-1, -1, 3], [1, 1, 6], (20, 3))
    positions = np.array([[0, 0, 0], [0.2, -0.1, 0.3]])
    truth = Trajectory(np.array([0, 10**9]), positions, np.tile([0, 0, 0, 1.0], (2, 1)))
    dataset = SimpleNamespace(rig=rig, truth=truth)
    uv, uv_right = camera.project(points)[0], camera.project(apply(inverse(right), points))[0]
    uv_right[0] = np.nan
    uv_right[1, 1] += 5
    later = true_positions(dataset, (0, 10**9), uv, uv_right)
    assert np.isnan(later[:2]).all()
    assert later[2:] == pytest.approx(camera.project(points[2:] - positions[1])[0], abs=1e-6)
    assert np.isnan(true_positions(dataset, (0, 5 * 10**8), uv, uv_right)).all()
