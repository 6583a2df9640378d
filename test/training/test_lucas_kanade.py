# SPDX-License-Identifier: Apache-2.0
import cv2
import numpy as np
import pytest
import torch

from training.lucas_kanade import DAMPING, WINDOW, gradients, pyramid_down, sample, track


def texture(channels: int, height: int = 64, width: int = 80, flow: tuple[float, float] = (0, 0)) -> torch.Tensor:
    """Sum of waves 8 to 25 px long, in 0..1, moved by `flow`: exact at any fraction of a pixel."""
    rng = np.random.default_rng(channels)
    y, x = np.mgrid[:height, :width] - np.array(flow[::-1])[:, None, None]
    planes = np.zeros((channels, height, width))
    for i in range(channels):
        for angle, length, phase in zip(
            rng.uniform(0, 7, 12), rng.uniform(8, 25, 12), rng.uniform(0, 7, 12), strict=True
        ):
            planes[i] += np.sin((np.cos(angle) * x + np.sin(angle) * y) * 2 * np.pi / length + phase) / 24
    return torch.from_numpy(planes + 0.5)[None]


POINTS = torch.tensor([[[30.0, 30.0], [45.3, 28.7], [40.0, 35.5]]], dtype=torch.float64)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("flow", [(0.4, -0.3), (2.0, 1.0)])
def test_track_finds_a_translation_to_a_fiftieth_of_a_pixel(channels: int, flow: tuple[float, float]) -> None:
    a = texture(channels)
    found = track(a, texture(channels, flow=flow), POINTS, torch.zeros_like(POINTS), steps=30)
    assert (found - torch.tensor(flow)).norm(dim=-1).max() < 0.02


def test_points_and_images_of_a_batch_do_not_mix() -> None:
    a, b = texture(2), texture(3)[:, :2]
    pair_a, pair_b = torch.cat([a, b]), torch.cat([texture(2, flow=(1, 0)), texture(3, flow=(0, -1))[:, :2]])
    together = track(pair_a, pair_b, POINTS.repeat(2, 1, 1), torch.zeros(2, 3, 2).double(), steps=3)
    for i in range(2):
        for j in range(3):
            alone = track(pair_a[i : i + 1], pair_b[i : i + 1], POINTS[:, j : j + 1], torch.zeros(1, 1, 2).double(), 3)
            assert torch.allclose(together[i, j], alone[0, 0], atol=1e-12)


def test_one_step_is_the_damped_least_squares_solution() -> None:
    a = texture(3)
    b = texture(3, flow=(0.7, 0.2))
    axis = np.arange(WINDOW) - WINDOW // 2
    x, y = (np.ravel(v) for v in np.meshgrid(axis + 30, axis + 30))
    gx, gy = (g[0][:, y, x].numpy().ravel() for g in gradients(a))
    J = np.stack([gx, gy], axis=1)
    r = (b - a)[0][:, y, x].numpy().ravel()
    expected = -np.linalg.solve(J.T @ J + DAMPING * np.eye(2), J.T @ r)
    found = track(a, b, POINTS[:, :1], torch.zeros(1, 1, 2).double(), steps=1)[0, 0]
    assert found.numpy() == pytest.approx(expected, abs=1e-10)


def test_gradients_agree_with_finite_differences() -> None:
    a, b = texture(2, 24, 24), texture(3, 24, 24)[:, :2]
    a, b = (0.5 * x + 0.5 * texture(1, 24, 24) for x in (a, b))
    points = torch.tensor([[[11.3, 12.6]]], dtype=torch.float64)
    small_a, small_b = a[..., 10:15, 10:15].clone().requires_grad_(), b[..., 10:15, 10:15].clone().requires_grad_()

    def flow(part_a: torch.Tensor, part_b: torch.Tensor) -> torch.Tensor:
        whole_a, whole_b = a.clone(), b.clone()
        whole_a[..., 10:15, 10:15], whole_b[..., 10:15, 10:15] = part_a, part_b
        return track(whole_a, whole_b, points, torch.full_like(points, 0.13), steps=2)

    assert torch.autograd.gradcheck(flow, (small_a, small_b))


def test_flow_of_textureless_maps_stays_at_the_start() -> None:
    flat = torch.full((1, 3, 40, 40), 0.5)
    start = torch.full((1, 1, 2), 1.5)
    assert torch.equal(track(flat, flat, torch.full((1, 1, 2), 20.0), start, steps=5), start)


def test_sample_reads_pixel_centres_exactly_and_repeats_the_border() -> None:
    image = torch.arange(12.0).reshape(1, 1, 3, 4)
    points = torch.tensor([[[[0.0, 0.0], [3.0, 2.0], [1.5, 1.0], [-5.0, 1.0]]]])
    assert sample(image, points).flatten().tolist() == pytest.approx([0, 11, 5.5, 4])


def test_pyramid_is_that_of_opencv() -> None:
    a = texture(1)
    assert pyramid_down(a)[0, 0].numpy() == pytest.approx(cv2.pyrDown(a[0, 0].numpy()), abs=1e-12)
