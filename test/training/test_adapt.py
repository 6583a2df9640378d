# SPDX-License-Identifier: Apache-2.0
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from training.adapt import adapted_heat, find_points, random_views, resample

SIZE = (64, 96)


class Bright(torch.nn.Module):
    """A detector that answers to brightness."""

    def forward(self, image):
        cells = torch.nn.functional.pixel_unshuffle(image, 8) * 10
        return SimpleNamespace(logits=torch.cat([cells, torch.full_like(cells[:, :1], 7.0)], dim=1))


def square(u=50, v=30):
    gray = torch.zeros(1, *SIZE)
    gray[..., v : v + 3, u : u + 3] = 1
    return gray


def test_what_all_views_see_comes_out_where_it_is():
    views = random_views(np.random.default_rng(0), SIZE, 20)
    points = find_points(adapted_heat(Bright(), square(), views), 0.01, 10)
    assert points[0, :2] == pytest.approx([51, 31], abs=0.5)


def test_the_mean_is_of_all_views_however_many_are_seen_at_once():
    views = random_views(np.random.default_rng(0), SIZE, 13)
    one_by_one = [adapted_heat(Bright(), square(), view[None]) for view in views]
    shown = [resample(torch.ones(1, 1, *SIZE), view[None])[0, 0] for view in views]
    mean = sum(h * s for h, s in zip(one_by_one, shown, strict=True)) / sum(shown)
    torch.testing.assert_close(adapted_heat(Bright(), square(), views), mean, rtol=1e-3, atol=1e-5)


def test_pixels_that_no_view_shows_have_no_heat():
    away = torch.tensor([[1.0, 0, 500], [0, 1, 0], [0, 0, 1]])
    assert adapted_heat(Bright(), square(), away[None]).max() == 0


def test_a_point_counts_alike_in_a_view_of_half_the_size():
    """A detector that finds one sure pixel, whatever it is shown."""

    class Pixel(torch.nn.Module):
        def forward(self, image):
            logits = torch.full((len(image), 65, 8, 12), -20.0)
            logits[:, -1] = 0
            logits[:, 20, 2, 3] = 20
            return SimpleNamespace(logits=logits)

    half = torch.diag(torch.tensor([0.5, 0.5, 1.0]))
    whole, small = (adapted_heat(Pixel(), square(), A[None]) for A in (torch.eye(3), half))
    assert float(whole.max()) == pytest.approx(1, abs=0.01)
    assert float(small.sum()) == pytest.approx(float(whole.sum()), rel=0.05)
