# SPDX-License-Identifier: Apache-2.0
import cv2
import numpy as np
import pytest
import torch

from training.data.shapes import PRIMITIVES, SyntheticShapes, draw, point_map

SIZE = (240, 320)


@pytest.mark.parametrize("name", PRIMITIVES)
def test_corners_are_where_the_picture_has_them(name: str) -> None:
    """A corner detector that knows nothing of the drawing finds much more response at the corners than elsewhere."""
    ratios, counts = [], []
    for seed in range(8):
        picture, corners = draw(name, np.random.default_rng(seed), SIZE)
        counts.append(len(corners))
        response = cv2.dilate(cv2.cornerMinEigenVal(picture, 5), np.ones((7, 7)))
        inner = corners[((corners > 8) & (corners < np.array(SIZE[::-1]) - 9)).all(axis=1)]
        if len(inner):
            x, y = np.rint(inner).astype(int).T
            ratios.append(np.median(response[y, x]) / (response.mean() + 1e-9))
        assert picture.shape == SIZE
        assert picture.dtype == np.uint8
    if name in ("ellipses", "noise"):
        assert counts == [0] * 8
    else:
        assert np.mean(counts) > 2
        assert np.median(ratios) > 3


def test_an_item_is_always_the_same_and_labels_lie_in_the_picture() -> None:
    first, again = (SyntheticShapes(9, 4)[5] for _ in range(2))
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert first["image"].shape == (1, 120, 160)
    assert first["points"].shape == (120, 160)
    assert 0 <= first["image"].min() < first["image"].max() <= 1
    assert sum(SyntheticShapes(30, 0)[i]["points"].sum() > 0 for i in range(30)) > 12


def test_point_map_marks_the_nearest_pixels() -> None:
    found = point_map(np.array([[2.4, 1.6], [0.0, 0.0]]), (4, 5))
    assert np.argwhere(found).tolist() == [[0, 0], [2, 2]]
    assert point_map(np.zeros((0, 2)), (4, 5)).sum() == 0
