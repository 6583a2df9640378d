# SPDX-License-Identifier: Apache-2.0
import math
from types import SimpleNamespace

import pytest
import torch

from training.losses import kp2d, letnet, lightglue, loftr, superpoint

SHIFT = torch.tensor([[[1.0, 0, 8], [0, 1, 0], [0, 0, 1]]])  # 8 px to the right


def cells(
    offset_x: float,
    score: torch.Tensor | None = None,
    descriptor: torch.Tensor | None = None,
    size: tuple[int, int] = (64, 80),
    cell: int = 4,
) -> kp2d.Points:
    """Keypoints in the middle of each cell, shifted."""
    h, w = size[0] // cell, size[1] // cell
    y, x = torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij")
    coord = torch.stack([x, y])[None].float() * cell + 1.5
    coord[:, 0] += offset_x
    torch.manual_seed(0)
    score = torch.full((1, 1, h, w), 0.5) if score is None else score
    descriptor = torch.randn(1, 16, size[0], size[1]) if descriptor is None else descriptor
    return kp2d.to_points(SimpleNamespace(score=score, coord=coord, descriptor=descriptor), size)


def test_location_loss_is_the_distance_of_points_that_should_be_one() -> None:
    weights = kp2d.Weights(inliers=0.0)
    same = kp2d.keypoint_losses(cells(0), cells(0), SHIFT, weights, torch.nn.Identity())
    off = kp2d.keypoint_losses(cells(0), cells(1.5), SHIFT, weights, torch.nn.Identity())
    assert same["location"] == pytest.approx(0, abs=1e-3)
    assert off["location"] == pytest.approx(1.5, abs=1e-3)


def test_sure_points_say_more_of_the_place_than_others() -> None:
    score = torch.full((1, 1, 16, 20), 0.2)
    score[:, :, :8] = 0.6
    a, b = cells(0), cells(0, score=score)
    uv = b.uv.clone()
    uv[:, 8 * 20 :, 1] += 1.5  # the unsure half is off
    alike, sure = (
        kp2d.keypoint_losses(a, b._replace(uv=uv), SHIFT, kp2d.Weights(inliers=0.0, sure=sure), torch.nn.Identity())[
            "location"
        ]
        for sure in (False, True)
    )
    assert alike == pytest.approx(1.5 / 2, abs=0.01)
    assert sure == pytest.approx(1.5 / 4, abs=0.01)


def test_descriptors_that_agree_cost_less_than_others_however_they_learn() -> None:
    dense = torch.randn(1, 16, 64, 80)
    moved = torch.roll(dense, -8, dims=3)
    for softness, anchors in ((0.0, 0), (0.1, 0), (0.1, 60)):
        weights = kp2d.Weights(softness=softness, inliers=0.0, anchors=anchors)
        good, bad = (
            kp2d.keypoint_losses(
                cells(0, descriptor=dense), cells(0, descriptor=d), SHIFT, weights, torch.nn.Identity()
            )
            for d in (moved, dense)
        )
        assert good["descriptor"] < 0.1 * bad["descriptor"]


def test_scores_are_pushed_up_where_points_come_back_and_down_where_not() -> None:
    score = torch.full((1, 1, 16, 20), 0.5, requires_grad=True)
    b = cells(0, score=score)
    uv = b.uv.clone()
    uv[:, ::2, 1] += 1.5  # every second one is off
    losses = kp2d.keypoint_losses(cells(0), b._replace(uv=uv), SHIFT, kp2d.Weights(inliers=0.0), torch.nn.Identity())
    gradient = torch.autograd.grad(losses["scores"], score)[0].flatten()
    inner = b.inner & (uv[0, :, 0] < 70)
    assert (gradient[::2][inner[::2]] > 0).all()
    assert (gradient[1::2][inner[1::2]] < 0).all()


def test_the_inlier_network_learns_from_plus_and_minus_one() -> None:
    asked = []

    class Judge(torch.nn.Module):
        def forward(self, matches: torch.Tensor) -> torch.Tensor:
            asked.append(matches.shape)
            return torch.ones_like(matches[:, :1])

    dense = torch.randn(1, 16, 64, 80)
    a, b = cells(0, descriptor=dense), cells(0, descriptor=torch.roll(dense, -8, dims=3))
    losses = kp2d.keypoint_losses(a, b, SHIFT, kp2d.Weights(inlier_points=200), Judge())
    assert asked == [(1, 5, 200, 1)]
    assert losses["inliers"] < 0.8  # most are right, and the judge says so
    wrong = kp2d.keypoint_losses(a, a, SHIFT, kp2d.Weights(inlier_points=200), Judge())
    assert wrong["inliers"] == 0  # too few are right to learn from


def test_corner_loss_falls_with_score_and_place() -> None:
    labels = torch.zeros(1, 3, 16, 20)
    labels[:, 0, 5, 5], labels[:, 1, 5, 5], labels[:, 2, 5, 5] = 1, 21.5, 21.5
    score = torch.full((1, 1, 16, 20), 0.01)
    low = kp2d.corner_loss(cells(0, score=score), labels)
    score = score.clone()
    score[..., 5, 5] = 0.99
    high = kp2d.corner_loss(cells(0, score=score), labels)
    assert high < low
    assert kp2d.corner_loss(cells(2.0, score=score), labels) == pytest.approx(high.item() + 1.0, abs=1e-3)


def test_superpoints_detector_learns_the_pixel_in_the_cell_or_none() -> None:
    points, everywhere = torch.zeros(1, 16, 16), torch.ones(1, 16, 16)
    points[0, 3, 10], points[0, 15, 15] = 1, 1
    logits = torch.zeros(1, 65, 2, 2)
    for (row, column), right in zip([(0, 0), (0, 1), (1, 0), (1, 1)], [64, 3 * 8 + 2, 64, 63], strict=True):
        logits[0, right, row, column] = 20
    assert superpoint.detector(logits, points, everywhere) == pytest.approx(0, abs=1e-5)


def test_superpoints_detector_learns_how_sure_points_are() -> None:
    """The least loss is at the shares: 0.3 of one point; 0.8 and 0.6 of two share their cell."""
    points, everywhere = torch.zeros(1, 8, 16), torch.ones(1, 8, 16)
    points[0, 3, 2], points[0, 0, 9], points[0, 7, 15] = 0.3, 0.8, 0.6
    logits = torch.zeros(1, 65, 1, 2, requires_grad=True)
    optimizer = torch.optim.Adam([logits], lr=0.3)
    for _ in range(300):
        optimizer.zero_grad()
        superpoint.detector(logits, points, everywhere).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    told = logits.softmax(dim=1)[0, :, 0]
    assert told[3 * 8 + 2, 0].item() == pytest.approx(0.3, abs=0.01)
    assert told[64, 0].item() == pytest.approx(0.7, abs=0.01)
    assert told[[1, 63], 1].tolist() == pytest.approx([0.8 / 1.4, 0.6 / 1.4], abs=0.01)


def test_superpoints_detector_counts_only_valid_cells() -> None:
    points, valid = torch.zeros(1, 16, 16), torch.ones(1, 16, 16)
    logits = torch.zeros(1, 65, 2, 2)
    logits[:, 64] = 20
    assert superpoint.detector(logits, points, valid) == pytest.approx(0, abs=1e-5)
    points[0, 3, 10] = 1
    assert superpoint.detector(logits, points, valid) == pytest.approx(5, abs=1e-3)
    valid[0, 0, 15] = 0
    assert superpoint.detector(logits, points, valid) == pytest.approx(0, abs=1e-5)


def test_superpoints_location_is_learnt_from_cells_with_a_point_alone() -> None:
    points, logits = torch.zeros(1, 8, 24), torch.zeros(1, 65, 1, 3)
    points[0, 3, 2], points[0, 0, 9], points[0, 7, 15] = 0.9, 0.3, 0.1
    blind = math.log(64)
    assert superpoint.location(logits, points) == pytest.approx(blind, abs=1e-5)
    logits[0, 64] = 20  # that there is no point says nothing of the place
    logits[0, 17, 0, 2] = 20  # nor does a cell without any
    assert superpoint.location(logits, points) == pytest.approx(blind, abs=1e-5)
    logits[0, 3 * 8 + 2, 0, 0] = 20  # and the surest of a cell counts
    logits[0, 1, 0, 1] = 20
    assert superpoint.location(logits, points) == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("kind", ["sparse", "dense"])
def test_superpoints_descriptors_that_agree_cost_less(kind: str) -> None:
    torch.manual_seed(0)
    a = torch.nn.functional.normalize(torch.randn(1, 64, 8, 10), dim=1)
    options = superpoint.DescriptorOptions(near_px=4.0)

    def loss(b: torch.Tensor) -> torch.Tensor:
        torch.manual_seed(1)
        if kind == "sparse":
            return superpoint.sparse_descriptor(a, b, SHIFT, options)
        return superpoint.dense_descriptor(a, b, SHIFT, torch.ones(1, 64, 80), options)

    assert loss(torch.roll(a, 1, dims=3)) < 0.35 * loss(a)


def test_superpoints_softmax_tells_the_right_cell_from_all_others() -> None:
    torch.manual_seed(0)
    a = torch.nn.functional.normalize(torch.randn(1, 64, 8, 10), dim=1)
    points = (torch.arange(8 * 64) % 5 == 0).float().view(8, 64)  # about as many as pixels there are
    points = torch.nn.functional.pixel_shuffle(points.T.reshape(1, 64, 8, 1).expand(-1, -1, -1, 10), 8)[0]
    batch = {"points_a": points, "points_b": torch.roll(points, 8, dims=2), "H_b_a": SHIFT}

    def loss(b: torch.Tensor) -> torch.Tensor:
        return superpoint.softmax_descriptor(a, b, batch, superpoint.DescriptorOptions())

    assert loss(torch.roll(a, 1, dims=3)) < 0.35 * loss(a)


def shifted(uv: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    there = uv + torch.tensor([8.0, 0.0])
    return there, there[..., 0] < 80


def shifted_back(uv: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    there = uv - torch.tensor([8.0, 0.0])
    return there, there[..., 0] >= 0


def test_loftrs_true_cells_are_mutual_and_within() -> None:
    truth = loftr.true_cells(1, (64, 80), 8, shifted, shifted_back)
    assert len(truth.i) == 8 * 9
    assert (truth.j - truth.i == 1).all()
    assert 0 in truth.i.tolist()  # the first cell counts as any other
    assert (truth.uv_b[:, 0] == (truth.j % 10) * 8.0).all()


@pytest.mark.parametrize("dense", [False, True])
def test_loftrs_coarse_loss_is_least_for_the_truth(dense: bool) -> None:
    truth = loftr.true_cells(1, (64, 80), 8, shifted, shifted_back)
    right = torch.full((1, 80, 80), 1e-4)
    right[truth.batch, truth.i, truth.j] = 0.999
    assert loftr.coarse_loss(right, truth, dense) < 1e-5
    assert loftr.coarse_loss(right.flip(2), truth, dense) > 0.1


def test_loftrs_fine_loss_trusts_the_sure_and_leaves_out_what_is_outside() -> None:
    target = torch.tensor([[0.0, 0.0], [0.5, 0.0], [3.0, 0.0]])
    offset = torch.tensor([[0.1, 0.0], [0.5, 0.2], [0.0, 0.0]])
    spread = torch.ones(3)
    assert loftr.fine_loss(offset, spread, target) == pytest.approx((0.01 + 0.04) / 2)
    unsure = torch.tensor([1.0, 9.0, 1.0])
    assert loftr.fine_loss(offset, unsure, target) < loftr.fine_loss(offset, spread, target)


def test_lightglues_partners_are_mutual_and_loners_are_told_from_the_unknown() -> None:
    uv_a = torch.tensor([[[10.0, 10.0], [30.0, 10.0], [78.0, 10.0]]])
    uv_b = torch.tensor([[[18.5, 10.0], [42.0, 10.0], [2.0, 60.0]]])
    of_a, of_b = lightglue.true_matches(uv_a, uv_b, shifted, shifted_back, (3.0, 5.0))
    assert of_a.tolist() == [[0, -2, -1]]  # a match; too far for one, too near for none; nobody there
    assert of_b.tolist() == [[0, -2, -1]]


def test_lightglues_loss_is_least_for_the_truth() -> None:
    of_a, of_b = torch.tensor([[1, -1]]), torch.tensor([[-1, 0]])
    right = torch.full((1, 3, 3), -9.0)
    right[0, 0, 1] = right[0, 1, 2] = right[0, 2, 0] = -0.01
    assert lightglue.assignment_loss(right, of_a, of_b) == pytest.approx(0.01)
    assert lightglue.assignment_loss(right.flip(1), of_a, of_b) > 5


def test_lightglues_confidence_is_whether_the_answer_stays() -> None:
    early, last = torch.zeros(1, 3, 3), torch.zeros(1, 3, 3)
    early[0, 0, 1] = last[0, 0, 1] = 5
    early[0, 1, 0], last[0, 1, 2] = 5, 5
    sure = (torch.tensor([[9.0, -9.0]]), torch.tensor([[-9.0, 9.0]]))
    output = SimpleNamespace(log_assignment=[early, last], confidence=[sure])
    assert lightglue.confidence_loss(output) < 0.01
    output.confidence = [tuple(-x for x in sure)]
    assert lightglue.confidence_loss(output) > 5


def test_letnets_peak_costs_less_than_its_edge() -> None:
    y, x = torch.meshgrid(torch.arange(40.0), torch.arange(40.0), indexing="ij")
    peak = torch.exp(-((x - 20) ** 2 + (y - 20) ** 2) / 2)
    edge = torch.exp(-((x - 20) ** 2) / 2) * (1 - 1e-3 * (y - 20) ** 2).clamp(min=0)

    def cost(score: torch.Tensor) -> torch.Tensor:
        one = letnet.look(score, torch.ones(4, 40, 40), torch.ones(3, 40, 40), letnet.Weights(top_k=1))
        return letnet.peaky(one, 0.1)

    assert cost(peak) < 0.5 * cost(edge)


def test_letnets_losses_fall_when_both_images_agree() -> None:
    torch.manual_seed(0)
    score, local = torch.rand(40, 48), torch.randn(3, 40, 48)
    deep = torch.nn.functional.avg_pool2d(torch.randn(1, 16, 40, 48), 5, 1, 2)[0]  # alike at neighbouring pixels
    deep = torch.nn.functional.normalize(deep, dim=0)
    weights = letnet.Weights(top_k=30)

    def still(uv: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return uv, torch.ones(len(uv), dtype=torch.bool)

    def losses(
        other_score: torch.Tensor, other_deep: torch.Tensor, other_local: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        torch.manual_seed(1)
        a, b = letnet.look(score, deep, local, weights), letnet.look(other_score, other_deep, other_local, weights)
        return letnet.letnet_losses(a, b, still, still, weights)

    same, other = losses(score, deep, local), losses(score.flip(0), deep.flip(1), local.flip(1))
    for name in ("reprojection", "reliability", "descriptor", "local"):
        assert same[name] < 0.8 * other[name], name
