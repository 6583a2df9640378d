# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from letvins_ros.errors import DataError
from training.data.lighting import motion_blur, sensor_noise, spot_light, to_uint8
from training.data.photos import LIGHTS, PhotoPairs


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for i in range(3):
        noise = np.random.default_rng(i).normal(128, 200, (336, 448))
        cv2.imwrite(str(folder / f"{i}.png"), to_uint8(128 + 3 * (cv2.GaussianBlur(noise, (0, 0), 1.2) - 128)))
    return folder


def test_an_item_is_always_the_same_and_another_seed_gives_another(photos: Path) -> None:
    first, again, other = (PhotoPairs(photos, 5, seed)[3] for seed in (0, 0, 1))
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not torch.equal(first["image_a"], other["image_a"])


def test_items_have_the_promised_shapes(photos: Path) -> None:
    item = PhotoPairs(photos, 1, 0, size=(120, 160), points=30)[0]
    assert item["image_a"].shape == item["image_b"].shape == (1, 120, 160)
    assert item["points"].shape == item["flow"].shape == (30, 2)
    assert 0 <= item["image_a"].min() < item["image_a"].max() <= 1


def test_flow_is_where_lucas_kanade_finds_the_points(photos: Path) -> None:
    """On pairs of unchanged light, whose flow is checked by a tracker that knows nothing of the homography."""
    pairs = PhotoPairs(photos, 40, 0)
    errors = []
    for item in (pairs[i] for i in range(40)):
        if LIGHTS[int(item["light"])] == "plain":
            a, b = (to_uint8(item[key][0].numpy() * 255) for key in ("image_a", "image_b"))
            points = item["points"].numpy()
            found, _, _ = cv2.calcOpticalFlowPyrLK(a, b, points, points.copy(), winSize=(21, 21), maxLevel=3)
            errors.append(np.median(np.linalg.norm(found - points - item["flow"].numpy(), axis=1)))
    assert len(errors) > 4
    assert np.median(errors) < 0.15


def test_a_folder_without_photos_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no images"):
        PhotoPairs(tmp_path, 1, 0)


def test_a_torn_photo_is_named(tmp_path: Path) -> None:
    (tmp_path / "torn.jpg").write_bytes(b"torn")
    with pytest.raises(DataError, match=r"torn\.jpg: is not a photograph"):
        PhotoPairs(tmp_path, 1, 0)[0]


def test_noise_of_a_bright_image_is_shot_noise() -> None:
    noisy = sensor_noise(np.full((300, 300), 200, np.float32), np.random.default_rng(0), read_noise=0)
    assert noisy.mean() == pytest.approx(200, abs=0.1)
    assert noisy.std() == pytest.approx(np.sqrt(200 * 255 / 4000), rel=0.02)


def test_lamp_is_brightest_where_it_points() -> None:
    gain = spot_light((100, 200), np.array([150, 20]), 30, 0.5, 1.5)
    assert gain.shape == (100, 200)
    assert gain[20, 150] == gain.max() == pytest.approx(2)
    assert gain.min() == pytest.approx(0.5, abs=1e-3)


def test_motion_smears_along_its_way_only_and_keeps_the_light() -> None:
    dot = np.zeros((21, 21), np.float32)
    dot[10, 10] = 1
    smeared = motion_blur(dot, np.array([5.0, 0.0]))
    assert smeared.sum() == pytest.approx(1)
    assert np.count_nonzero(smeared[10]) >= 5
    assert np.count_nonzero(np.delete(smeared, 10, axis=0)) == 0
    assert np.array_equal(motion_blur(dot, np.zeros(2)), dot)


def test_saturation_and_rounding_are_the_cameras() -> None:
    assert to_uint8(np.array([-3, 1.4, 1.6, 300])).tolist() == [0, 1, 2, 255]
