# SPDX-License-Identifier: Apache-2.0
import math

import numpy as np
import pytest
import torch

from letvins_ros.errors import ConfigError
from letvins_ros.networks import build, from_state
from letvins_ros.networks.loftr import Coarse, LoFTR, mutual_cells
from letvins_ros.networks.loftr_parts import linear_attention, positions, sinkhorn

from .layouts import Layout, landed


def published(sinkhorn_score: bool = False) -> dict[str, np.ndarray]:
    layout, into = Layout(), 128
    layout.conv("matcher.backbone.conv1", 128, 1, 7, bias=False)
    layout.norm("matcher.backbone.bn1", 128)
    for level, out in enumerate((128, 196, 256), 1):
        for i, source in enumerate((into, out)):
            name = f"matcher.backbone.layer{level}.{i}"
            layout.block(name, source, out, "conv1", "bn1")
            layout.block(name, out, out, "conv2", "bn2")
            if source != out:
                layout.conv(f"{name}.downsample.0", out, source, 1, bias=False)
                layout.norm(f"{name}.downsample.1", out)
        into = out
    for name, out, into in (("layer3_outconv", 256, 256), ("layer2_outconv", 256, 196), ("layer1_outconv", 196, 128)):
        layout.conv(f"matcher.backbone.{name}", out, into, 1, bias=False)
    for name, into, out in (("layer2_outconv2", 256, 196), ("layer1_outconv2", 196, 128)):
        layout.block(f"matcher.backbone.{name}", into, into)
        layout.conv(f"matcher.backbone.{name}.3", out, into, 3, bias=False)
    for part, size, layers in (("coarse", 256, 8), ("fine", 128, 2)):
        for i in range(layers):
            name = f"matcher.loftr_{part}.layers.{i}"
            for linear in ("q_proj", "k_proj", "v_proj", "merge"):
                layout.tensor(f"{name}.{linear}.weight", size, size)
            layout.tensor(f"{name}.mlp.0.weight", 2 * size, 2 * size)
            layout.tensor(f"{name}.mlp.2.weight", size, 2 * size)
            for norm in ("norm1.weight", "norm1.bias", "norm2.weight", "norm2.bias"):
                layout.tensor(f"{name}.{norm}", size)
    for name in ("down_proj", "merge_feat"):
        layout.tensor(f"matcher.fine_preprocess.{name}.weight", 128, 256)
        layout.tensor(f"matcher.fine_preprocess.{name}.bias", 128)
    if sinkhorn_score:
        layout.tensor("matcher.coarse_matching.bin_score")
    return layout.state


@pytest.fixture(scope="module")
def network() -> LoFTR:
    torch.manual_seed(0)
    return LoFTR().eval()


def test_parts_have_the_published_parameter_count(network: LoFTR) -> None:
    parts = [network.backbone, network.loftr_coarse, network.fine_preprocess, network.loftr_fine]
    counts = [sum(p.numel() for p in part.parameters()) for part in parts]
    assert counts == [5_915_888, 5_251_072, 65_792, 328_704]
    assert sum(p.numel() for p in network.parameters()) == 11_561_456


def test_published_checkpoints_load_strictly() -> None:
    state = published()
    assert len(state) == 211
    assert landed(from_state("loftr", state, legacy_positions=True), state)
    with_bin = published(sinkhorn_score=True)
    assert landed(from_state("loftr", with_bin), with_bin)


def test_maps_have_the_published_shapes(network: LoFTR) -> None:
    with torch.no_grad():
        coarse = network.coarse(torch.rand(2, 1, 64, 96), torch.rand(2, 1, 64, 80))
        fine = network.fine(coarse, torch.tensor([0, 1, 1]), torch.tensor([5, 0, 95]), torch.tensor([3, 79, 0]))
    assert coarse.confidence.shape == (2, 8 * 12, 8 * 10)
    assert coarse.feature_a.shape == (2, 96, 256)
    assert coarse.fine_b.shape == (2, 128, 32, 40)
    assert fine.offset.shape == (3, 2)
    assert fine.offset.abs().max() <= 1
    assert fine.spread.shape == (3,)


class Standardise(torch.nn.Module):
    """In place of the transformer, whose random weights say nothing: features relative to their mean, at one length."""

    def forward(self, *features: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(16 * torch.nn.functional.normalize(x - x.mean(1, keepdim=True), dim=2) for x in features)


def test_a_moved_image_matches_where_it_went(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("letvins_ros.networks.loftr.positions", lambda *shape: torch.zeros(shape[:3]))
    torch.manual_seed(0)
    network = build("loftr").eval()
    network.loftr_coarse = Standardise()
    image = torch.rand(1, 1, 96, 128)
    with torch.no_grad():
        matches = network(image, image.roll((8, 16), dims=(2, 3)), least=0.0)
    assert len(matches.batch) > 40
    moved = matches.uv_b - matches.uv_a - torch.tensor([16.0, 8.0])
    inside = matches.uv_a[:, 0] < 96  # what leaves on the right comes back on the left
    assert (moved[inside].abs().amax(1) <= 4).float().mean() > 0.95  # the fine step moves at most half a window
    assert matches.uv_a.min() >= 16  # two cells off the edges
    assert (matches.uv_a % 8 == 0).all()


def test_nothing_is_matched_where_nothing_is_sure(network: LoFTR) -> None:
    with torch.no_grad():
        matches = network(torch.rand(1, 1, 48, 48), torch.rand(1, 1, 48, 48), least=0.99)
    assert [tuple(part.shape) for part in matches] == [(0,), (0, 2), (0, 2), (0,)]


def test_fine_windows_are_those_of_unfolding(network: LoFTR) -> None:
    fine, coarse = torch.rand(1, 128, 16, 24), torch.rand(1, 24, 256)
    prepare = network.fine_preprocess
    windows = torch.nn.functional.unfold(fine, 5, padding=2, stride=4).reshape(128, 25, 24).permute(2, 1, 0)
    known = prepare.down_proj(coarse[0])[:, None].expand(24, 25, 128)
    expected = prepare.merge_feat(torch.cat([windows, known], dim=2))
    found = prepare(fine, coarse, torch.zeros(24, dtype=torch.int64), torch.arange(24))
    assert torch.allclose(found, expected, atol=1e-5)


def test_only_mutually_best_sure_and_inner_cells_match() -> None:
    confidence = torch.zeros(1, 25, 25)
    confidence[0, 12, 6] = 0.9  # the middle cell, with an inner one
    confidence[0, 7, 6] = 0.5  # the same cell, less sure
    confidence[0, 8, 12] = 0.1  # not sure
    confidence[0, 0, 18] = 0.9  # at the edge
    empty = torch.zeros(0)
    batch, i, j = mutual_cells(Coarse(confidence, empty, empty, empty, empty, (5, 5)), 0.2, 1)
    assert (batch.tolist(), i.tolist(), j.tolist()) == ([0], [12], [6])


def test_linear_attention_equals_the_sum_over_all_pairs() -> None:
    q, k, v = (torch.randn(2, n, 3, 4, dtype=torch.double) for n in (5, 7, 7))
    weight = torch.einsum("blhd,bshd->blsh", torch.nn.functional.elu(q) + 1, torch.nn.functional.elu(k) + 1)
    expected = torch.einsum("blsh,bshd->blhd", weight / weight.sum(2, keepdim=True), v)
    assert torch.allclose(linear_attention(q, k, v), expected, atol=1e-5)


def test_transport_gives_every_point_its_mass() -> None:
    similarity = torch.randn(2, 4, 6)
    plan = sinkhorn(similarity, torch.tensor(1.0), 100).exp()
    assert torch.allclose(plan[:, :-1].sum(2), torch.ones(2, 4), atol=1e-4)
    assert torch.allclose(plan[:, :, :-1].sum(1), torch.ones(2, 6), atol=1e-4)
    assert torch.allclose(plan[:, -1].sum(1), torch.full((2,), 6.0), atol=1e-3)


def test_positions_have_long_waves_and_legacy_ones_do_not() -> None:
    right, legacy = positions(256, 40, 50, legacy=False), positions(256, 40, 50, legacy=True)
    assert right.shape == (256, 40, 50)
    rate = 10000 ** (-2 * 9 / 128)  # the tenth of 64 wavelengths
    assert right[36, 4, 7] == pytest.approx(math.sin(8 * rate), abs=1e-5)
    assert right[39, 4, 7] == pytest.approx(math.cos(5 * rate), abs=1e-5)
    assert torch.allclose(right[:4], legacy[:4], atol=1e-5)
    assert legacy[36, 4, 7] == pytest.approx(math.sin(8 * math.exp(-18)), abs=1e-6)


def test_wrong_options_and_images_are_refused(network: LoFTR) -> None:
    with pytest.raises(ConfigError, match="unknown matching magic of loftr; known: dual_softmax, sinkhorn"):
        build("loftr", matching="magic")
    with pytest.raises(ConfigError, match="multiples of 8"):
        network(torch.zeros(1, 1, 40, 44), torch.zeros(1, 1, 40, 48))
