# SPDX-License-Identifier: Apache-2.0
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from training.adapt import find_points
from training.adaptation import adapted_heat, area_ratio, random_views, resample

SIZE = (64, 96)


class Bright(torch.nn.Module):
    """A detector that answers to brightness."""

    def forward(self, image):
        cells = torch.nn.functional.pixel_unshuffle(image, 8) * 10
        return SimpleNamespace(logits=torch.cat([cells, torch.full_like(cells[:, :1], 7.0)], dim=1))


def square(u=50, v=30):
    gray = torch.zeros(1, 1, *SIZE)
    gray[..., v : v + 3, u : u + 3] = 1
    return gray


def test_what_all_views_see_comes_out_where_it_is():
    views = random_views(np.random.default_rng(0), SIZE, 20)[None]
    points = find_points(adapted_heat(Bright(), square(), views)[0], 0.01, 10)
    assert points[0, :2] == pytest.approx([51, 31], abs=0.5)


def test_every_image_has_its_own_views_however_many_are_seen_at_once():
    views = torch.stack([random_views(np.random.default_rng(i), SIZE, 13) for i in range(2)])
    both = adapted_heat(Bright(), torch.cat([square(), square(20, 12)]), views)
    for i, image in enumerate((square(), square(20, 12))):
        torch.testing.assert_close(both[i], adapted_heat(Bright(), image, views[i : i + 1])[0], rtol=1e-3, atol=1e-5)


def test_pixels_that_no_view_shows_have_no_heat():
    away = torch.tensor([[1.0, 0, 500], [0, 1, 0], [0, 0, 1]])
    assert adapted_heat(Bright(), square(), away[None, None]).max() == 0


@pytest.mark.parametrize("scale", [0.5, 1.0, 2.0])
def test_a_point_keeps_its_sum_of_heat_in_a_view_of_other_scale(scale):
    heat = torch.zeros(1, 1, *SIZE)
    heat[..., 20:26, 30:36] = 0.5
    H_heat_view = torch.tensor([[[scale, 0, 3.0], [0, scale, 1.0], [0, 0, 1]]])
    size = (150, 220)
    seen = resample(heat, H_heat_view, size)[:, 0] * area_ratio(H_heat_view, size)
    assert float(seen.sum()) == pytest.approx(float(heat.sum()), rel=0.02)


def test_area_of_a_slanted_view_is_that_of_its_pixels():
    H = torch.tensor([[1.1, 0.2, 3], [-0.1, 0.9, 2], [0.001, 0.002, 1]], dtype=torch.float64)
    places = torch.tensor([[9.5, 19.5, 1], [10.5, 19.5, 1], [10.5, 20.5, 1], [9.5, 20.5, 1]], dtype=torch.float64) @ H.T
    u, v = (places[:, :2] / places[:, 2:]).T
    shoelace = (u * v.roll(-1) - u.roll(-1) * v).sum() / 2
    assert area_ratio(H[None], SIZE)[0, 20, 10] == pytest.approx(float(shoelace), rel=1e-3)
