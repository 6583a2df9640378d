# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from letvins_ros.errors import DataError
from training.data import photometric
from training.data.corners import repeated_corners, repeats
from training.data.homographies import (
    FREE,
    KP2D,
    KP2DTINY,
    SUPERPOINT,
    UPRIGHT,
    ZOOMED,
    Ranges,
    random_homography,
    transfer,
    warp,
)
from training.data.images import list_images
from training.data.labelled_points import PointPairs
from training.data.pairs import HomographyPairs, PairOptions, make_pair

from .pictures import picture

SIZE = (120, 160)


@pytest.mark.parametrize(
    ("ranges", "smallest"),
    [(FREE, 0.06), (UPRIGHT, 0.06), (ZOOMED, 0.06), (KP2D, 0.1), (KP2DTINY, 0.1), (SUPERPOINT, 0.1)],
)
def test_every_view_lies_within_the_image_and_keeps_its_handedness(ranges: Ranges, smallest: float) -> None:
    view = np.array([[0, 0], [159, 0], [159, 119], [0, 119]], float)
    for seed in range(100):
        H = random_homography(np.random.default_rng(seed), SIZE, ranges)
        corners = transfer(np.linalg.inv(H), view)
        assert (corners > -0.01).all()
        assert (corners < np.array([159.01, 119.01])).all()
        assert cv2.contourArea(corners.astype(np.float32), oriented=True) > smallest * 120 * 160


@pytest.mark.parametrize(("ranges", "little", "least"), [(FREE, 1 / 6, 25), (UPRIGHT, 0.64, 8)])
def test_free_views_turn_all_the_way_and_come_near_or_stay(ranges: Ranges, little: float, least: int) -> None:
    """`little` of them turn by less than 30 degrees."""
    turns, scales = [], []
    for seed in range(400):
        H = random_homography(np.random.default_rng(seed), SIZE, ranges)
        pixel = transfer(np.linalg.inv(H), np.array([[80.0, 60.0], [81.0, 60.0], [80.0, 61.0]]))
        by_u, by_v = pixel[1:] - pixel[0]
        turns.append(np.arctan2(by_u[1], by_u[0]))
        scales.append(1 / np.sqrt(abs(by_u[0] * by_v[1] - by_u[1] * by_v[0])))
    assert np.histogram(turns, 8, (-np.pi, np.pi))[0].min() > least
    assert np.mean(np.abs(turns) < np.pi / 6) == pytest.approx(little, abs=0.06)
    assert np.quantile(scales, 0.05) < 1.4
    assert np.quantile(scales, 0.95) > 2.4


def test_a_near_view_shows_what_the_photograph_has_and_the_far_one_not() -> None:
    """Stripes of two pixels of the photograph: gray where it shrinks, black and white where a view comes near."""
    photo = np.tile(np.array([0, 0, 255, 255], np.uint8)[None, :, None], (360, 120, 3))
    contrast: dict[str, list[float]] = {"image_a": [], "image_b": []}
    for seed in range(40):
        pair = make_pair(photo, np.random.default_rng(seed), PairOptions(SIZE, 1, FREE, turned=False))
        for key, values in contrast.items():
            values.append(float(pair[key].std()))
    assert max(contrast["image_a"]) < 0.1
    assert max(contrast["image_b"]) > 0.2


def test_no_ranges_give_the_middle_of_the_image() -> None:
    H = random_homography(np.random.default_rng(0), (101, 201), Ranges(0.5, 0, 0, 0, shift=False))
    assert transfer(H, np.array([[50.0, 25.0], [100.0, 50.0]])) == pytest.approx(
        np.array([[0, 0], [100, 50]]), abs=1e-4
    )


def test_what_a_view_shows_lies_before_the_camera() -> None:
    """Of a strong slant the image's first pixel may lie behind it, by which cv2 sets the sign."""
    middle = np.array([[SIZE[1] / 2, SIZE[0] / 2]])
    views = [random_homography(np.random.default_rng(i), SIZE, KP2D) for i in range(1000)]
    assert np.isfinite([transfer(np.linalg.inv(H), middle) for H in views]).all()
    assert min(H[2, 2] for H in views) < 0


def test_transfer_of_points_behind_the_view_is_unknown() -> None:
    H = np.array([[1.0, 0, 0], [0, 1, 0], [-0.1, 0, 1]])
    assert np.isnan(transfer(H, np.array([[20.0, 0.0]]))).all()
    assert transfer(H, np.zeros((0, 2))).shape == (0, 2)


def test_a_pair_follows_its_homography(photo_folder: Path) -> None:
    pairs = HomographyPairs(photo_folder, 3, 0, PairOptions(SIZE, 1, KP2D))
    for i in range(3):
        item = pairs[i]
        seen = warp(item["image_a"][0].numpy(), item["H_b_a"].numpy(), SIZE)
        assert item["image_b"].shape == (1, *SIZE)
        assert np.abs(seen - item["image_b"][0].numpy()).mean() < 0.01


def test_a_crop_shows_any_part_of_a_photograph() -> None:
    """Red is the column of the photograph, green its row: a view tells what it shows."""
    rows, columns = np.mgrid[0:240, 0:250]
    photo = np.stack([columns, rows, rows], axis=2).astype(np.uint8)
    options = PairOptions(SIZE, 3, KP2D, crop=0.4, turned=False)
    views = [make_pair(photo, np.random.default_rng(i), options)["image_a"].numpy() * 255 for i in range(60)]
    shares = np.array([[np.ptp(v[0]) / 249, np.ptp(v[1]) / 239] for v in views])
    assert np.abs(shares[:, 0] - shares[:, 1]).max() < 0.03
    assert 0.38 < shares.min() < 0.45
    assert 0.9 < shares.max() <= 1
    assert min(v[0].min() for v in views) < 3
    assert max(v[0].max() for v in views) > 246


def test_points_go_with_both_views_of_their_photograph(photo_folder: Path, tmp_path: Path) -> None:
    """One point of a share of 0.6 and one surer than sure, each where the homography takes it."""
    for photo in list_images(photo_folder):
        place = (tmp_path / photo.relative_to(photo_folder)).with_suffix(".npz")
        place.parent.mkdir(parents=True, exist_ok=True)
        np.savez(place, pts=np.array([[100, 80, 0.6], [120, 95, 1.3]], np.float32), size=(180, 240))
    options = PairOptions(SIZE, 1, KP2D)
    items = [PointPairs(photo_folder, tmp_path, 40, 0, options)[i] for i in range(40)]
    assert {key: tuple(x.shape) for key, x in items[0].items()} == {
        "image_a": (1, *SIZE),
        "image_b": (1, *SIZE),
        "points_a": SIZE,
        "points_b": SIZE,
        "valid_a": SIZE,
        "valid_b": SIZE,
        "H_b_a": (3, 3),
    }
    both = 0
    for item in items:
        (a, b), H = (item[f"points_{key}"].numpy() for key in "ab"), item["H_b_a"].numpy().astype(float)
        for share in (0.6, 1.0):
            uv_a, uv_b = (np.argwhere(np.isclose(x, share))[:, ::-1] for x in (a, b))
            if len(uv_a) and len(uv_b):
                both += 1
                assert np.abs(transfer(H, uv_a) - uv_b).max() < 3  # rounded to pixels of a, seen larger in b
    assert both > 20


def test_photographs_without_points_name_the_command(photo_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no points; make them with"):
        PointPairs(photo_folder, tmp_path, 1, 0, PairOptions(SIZE, 1))


def test_points_without_their_size_are_named(photo_folder: Path, tmp_path: Path) -> None:
    for photo in list_images(photo_folder):
        place = (tmp_path / photo.relative_to(photo_folder)).with_suffix(".npz")
        place.parent.mkdir(parents=True, exist_ok=True)
        np.savez(place, pts=np.zeros((0, 3), np.float32))
    pairs = PointPairs(photo_folder, tmp_path, 1, 0, PairOptions(SIZE, 1))
    with pytest.raises(DataError, match="not points of this"):
        pairs[0]
    for file in tmp_path.rglob("*.npz"):
        file.write_bytes(file.read_bytes()[:100])  # cut off
    with pytest.raises(DataError, match="not points of this"):
        pairs[0]


def test_an_item_is_always_the_same_and_looks_differ(photo_folder: Path) -> None:
    def item(seed: int, looks: photometric.Looks) -> dict[str, torch.Tensor]:
        return HomographyPairs(photo_folder, 5, seed, PairOptions(SIZE, 3, KP2D, looks))[3]

    first, again = item(0, photometric.KP2D), item(0, photometric.KP2D)
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not torch.equal(first["image_a"], item(1, photometric.KP2D)["image_a"])
    assert not torch.equal(first["image_a"], item(0, photometric.Looks())["image_a"])


@pytest.mark.parametrize("name", ["KP2D", "KP2DTINY", "SUPERPOINT", "MAGICPOINT", "JITTER"])
def test_looks_change_and_stay_images(name: str) -> None:
    image, looks = picture(3, SIZE), getattr(photometric, name)
    changed = [photometric.change(image, looks, np.random.default_rng(i)) for i in range(4)]
    assert all(x.shape == image.shape and x.dtype == np.float32 and 0 <= x.min() and x.max() <= 255 for x in changed)
    assert len({float(x.mean()) for x in changed}) == 4
    assert np.array_equal(photometric.change(image, photometric.Looks(), np.random.default_rng(0)), image)


def test_repeated_corners_lie_where_the_homography_takes_them() -> None:
    gray = cv2.cvtColor(picture(1, SIZE), cv2.COLOR_RGB2GRAY).astype(np.float32)
    H = random_homography(np.random.default_rng(2), SIZE, KP2D)
    a, b = repeated_corners(gray, H, 4, np.random.default_rng(3))
    assert a.shape == b.shape == (3, 30, 40)
    in_b, there = transfer(H, a[1:, a[0] > 0.3].T), b[1:, b[0] > 0.2].T
    inner = in_b[((in_b > 8) & (in_b < [151, 111])).all(axis=1)]
    nearest = np.linalg.norm(inner[:, None] - there[None], axis=2).min(axis=1)
    assert len(inner) > 10
    assert np.median(nearest) < 1.5
    assert 0 <= min(a[0].min(), b[0].min())
    assert max(a[0].max(), b[0].max()) <= 1


def test_a_corner_of_a_square_comes_back_in_most_views_and_the_middle_of_its_side_in_none() -> None:
    gray = np.zeros(SIZE, np.float32)
    gray[40:81, 60:101] = 200
    share = repeats(cv2.GaussianBlur(gray, (0, 0), 1), np.random.default_rng(0))
    corners, sides = [(40, 60), (40, 100), (80, 60), (80, 100)], [(40, 80), (80, 80), (60, 60), (60, 100)]
    assert min(share[y - 2 : y + 3, x - 2 : x + 3].max() for y, x in corners) > 0.5
    assert max(share[y - 2 : y + 3, x - 2 : x + 3].max() for y, x in sides) < 0.2


def test_a_folder_without_images_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no images; put"):
        list_images(tmp_path)
