# SPDX-License-Identifier: Apache-2.0
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from letvins_ros.errors import ConfigError
from letvins_ros.networks import build, from_state
from letvins_ros.networks.lightglue import Keypoints, LightGlue, normalise
from letvins_ros.networks.lightglue_layers import double_softmax, rotate
from letvins_ros.weights import WeightsError, save_weights

from .layouts import Layout, landed

pytest.importorskip("lightning_fabric")
from training.weights import load_into


def published(size: int, layers: int, heads: int = 4, input_size: int | None = None) -> dict[str, np.ndarray]:
    """The released files name self_attn.0...; glue-factory's checkpoints matcher.transformers.0.self_attn..."""
    layout = Layout()

    def linear(name: str, out: int, into: int) -> None:
        layout.tensor(f"{name}.weight", out, into)
        layout.tensor(f"{name}.bias", out)

    def feed(name: str) -> None:
        linear(f"{name}.ffn.0", 2 * size, 2 * size)
        for part in ("weight", "bias"):
            layout.tensor(f"{name}.ffn.1.{part}", 2 * size)
        linear(f"{name}.ffn.3", size, 2 * size)

    layout.tensor("posenc.Wr.weight", size // heads // 2, 2)
    if input_size:
        linear("input_proj", size, input_size)
    for i in range(layers):
        linear(f"self_attn.{i}.Wqkv", 3 * size, size)
        linear(f"self_attn.{i}.out_proj", size, size)
        feed(f"self_attn.{i}")
        for part in ("to_qk", "to_v", "to_out"):
            linear(f"cross_attn.{i}.{part}", size, size)
        feed(f"cross_attn.{i}")
        linear(f"log_assignment.{i}.matchability", 1, size)
        linear(f"log_assignment.{i}.final_proj", size, size)
        if i < layers - 1:
            linear(f"token_confidence.{i}.token.0", 1, size)
    return layout.state


def keypoints(count: int, channels: int = 32, seed: int = 0) -> Keypoints:
    generator = torch.Generator().manual_seed(seed)
    uv = torch.rand(1, count, 2, generator=generator) * torch.tensor([319.0, 239.0])
    return Keypoints(uv, torch.randn(1, count, channels, generator=generator), (320, 240))


@pytest.fixture
def tiny() -> LightGlue:
    torch.manual_seed(0)
    return LightGlue(size=32, layers=4).eval()


@pytest.mark.parametrize(("options", "count"), [({}, 11_851_601), ({"size": 32}, 84_975), ({"size": 64}, 333_783)])
def test_sizes_have_the_published_parameter_count(options: dict[str, int], count: int) -> None:
    network = build("lightglue", **options, layers=4) if options else build("lightglue")
    assert sum(p.numel() for p in network.parameters()) == count


@pytest.mark.parametrize(("size", "layers", "input_size"), [(256, 9, None), (32, 4, None), (64, 2, 128)])
def test_published_checkpoints_tell_their_size_and_load_strictly(
    size: int, layers: int, input_size: int | None
) -> None:
    state = published(size, layers, input_size=input_size)
    assert landed(from_state("lightglue", state), state)


def test_checkpoints_of_glue_factory_load_too() -> None:
    state = {}
    for key, array in published(32, 2).items():
        part, _, rest = key.partition(".")
        moved = part in ("self_attn", "cross_attn")
        state["matcher." + (f"transformers.{rest[0]}.{part}{rest[1:]}" if moved else key)] = array
    assert landed(from_state("lightglue", state), state)


def test_every_layer_answers_with_the_right_shapes(tiny: LightGlue) -> None:
    a, b = keypoints(20), keypoints(30, seed=1)
    out = tiny(a, b)
    assert [x.shape for x in out.log_assignment] == [(1, 21, 31)] * 4
    assert [(x.shape, y.shape) for x, y in out.confidence] == [((1, 20), (1, 30))] * 3
    inner = out.log_assignment[-1][0, :-1, :-1].exp()
    assert (inner.sum(0) <= 1 + 1e-5).all()
    assert (inner.sum(1) <= 1 + 1e-5).all()


def test_exchanged_images_exchange_the_answer(tiny: LightGlue) -> None:
    a, b = keypoints(12), keypoints(9, seed=1)
    there, back = tiny(a, b).log_assignment[-1], tiny(b, a).log_assignment[-1]
    assert torch.allclose(there, back.transpose(1, 2), atol=1e-4)


def test_the_order_of_points_does_not_matter(tiny: LightGlue) -> None:
    a, b = keypoints(12), keypoints(9, seed=1)
    order = torch.randperm(12)
    shuffled = a._replace(uv=a.uv[:, order], descriptors=a.descriptors[:, order])
    rows = torch.cat([order, torch.tensor([12])])
    assert torch.allclose(tiny(a, b).log_assignment[-1][:, rows], tiny(shuffled, b).log_assignment[-1], atol=1e-4)


def test_a_match_is_mutually_best_in_the_last_layer(tiny: LightGlue) -> None:
    a, b = keypoints(25), keypoints(25, seed=1)
    matches = tiny.match(a, b, least=0.0, depth=-1, width=-1)
    probability = tiny(a, b).log_assignment[-1][0, :-1, :-1].detach().exp()
    assert matches.layers == 4
    for i, j in enumerate(matches.indices.tolist()):
        mutual = probability[:, probability[i].argmax()].argmax() == i
        assert j == (int(probability[i].argmax()) if mutual else -1)
        assert matches.scores[i] == pytest.approx(float(probability[i].max()) if mutual else 0.0, abs=1e-5)
    assert (matches.indices >= 0).sum() > 3
    assert (tiny.match(a, b, least=1.0, depth=-1, width=-1).indices == -1).all()


def test_sure_points_end_it_early_and_hopeless_ones_are_left_out(tiny: LightGlue) -> None:
    a, b = keypoints(25), keypoints(20, seed=1)
    parts: Any = tiny  # those of a ModuleList have no type of their own
    with torch.no_grad():
        parts.confidences[1].linear.bias.fill_(100.0)
    assert tiny.match(a, b, width=-1).layers == 2
    assert tiny.match(a, b, depth=-1, width=-1).layers == 4
    with torch.no_grad():
        parts.assignments[1].matchability.bias.fill_(-100.0)
    pruned = tiny.match(a, b, least=0.0, depth=-1)
    assert pruned.layers == 2
    assert (pruned.indices == -1).all()


def test_pruning_keeps_the_numbers_of_the_points_that_stay(tiny: LightGlue) -> None:
    a, b = keypoints(25), keypoints(20, seed=1)
    parts: Any = tiny
    with torch.no_grad():  # after the first layer, those with a negative last feature go
        parts.confidences[0].linear.weight.zero_()
        parts.confidences[0].linear.bias.fill_(100.0)
        parts.assignments[0].matchability.weight.zero_()
        parts.assignments[0].matchability.weight[0, -1] = 1000.0
    first = [
        layer_x[0, :, -1] > 0 for layer_x in tiny.layers[0]([a.descriptors, b.descriptors], _positions(tiny, a, b))
    ]
    assert 3 < first[0].sum() < 22
    matches = tiny.match(a, b, least=0.0, depth=-1)
    assert (matches.indices[~first[0]] == -1).all()
    hit = matches.indices[matches.indices >= 0]
    assert len(hit) > 1
    assert first[1][hit].all()


def _positions(network: LightGlue, a: Keypoints, b: Keypoints) -> list[torch.Tensor]:
    return [network.posenc(normalise(k.uv, k.size)) for k in (a, b)]


def test_no_points_give_no_matches(tiny: LightGlue) -> None:
    nothing = Keypoints(torch.zeros(1, 0, 2), torch.zeros(1, 0, 32), (320, 240))
    assert tiny.match(nothing, keypoints(5)).indices.shape == (0,)
    assert tiny.match(keypoints(5), nothing).indices.tolist() == [-1] * 5


def test_the_double_softmax_is_its_definition() -> None:
    similarity, z0, z1 = torch.randn(1, 3, 4), torch.randn(1, 3, 1), torch.randn(1, 4, 1)
    p = double_softmax(similarity, z0, z1).exp()[0]
    sigma0, sigma1 = torch.sigmoid(z0[0]), torch.sigmoid(z1[0]).T
    assert torch.allclose(p[:-1, :-1], similarity[0].softmax(0) * similarity[0].softmax(1) * sigma0 * sigma1)
    assert torch.allclose(p[:-1, -1:], 1 - sigma0)
    assert torch.allclose(p[-1:, :-1], 1 - sigma1)


def test_rotated_products_depend_on_the_offset_alone(tiny: LightGlue) -> None:
    q, k = torch.randn(1, 4, 1, 8), torch.randn(1, 4, 1, 8)
    at, other, moved = torch.rand(1, 1, 2), torch.rand(1, 1, 2), torch.tensor([0.3, -0.2])

    def product(u: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        return (rotate(q, tiny.posenc(u)) * rotate(k, tiny.posenc(v))).sum(-1)

    assert torch.allclose(product(at, other), product(at + moved, other + moved), atol=1e-5)
    assert not torch.allclose(product(at, other), product(at + moved, other), atol=1e-3)


def test_positions_are_normalised_along_the_longer_side() -> None:
    uv = torch.tensor([[[0.0, 0.0], [160.0, 120.0], [320.0, 240.0]]])
    assert normalise(uv, (320, 240))[0].tolist() == [[-1, -0.75], [0, 0], [1, 0.75]]


def test_wrong_sizes_are_refused(tiny: LightGlue) -> None:
    with pytest.raises(ConfigError, match="descriptors must have 32 channels, got 64"):
        tiny(keypoints(5, 64), keypoints(5, 64))
    with pytest.raises(ConfigError, match="multiple of 8, got 36"):
        build("lightglue", size=36)


def test_files_of_other_detectors_load(tmp_path: Path) -> None:
    """Some have the thresholds, which follow from the number of layers; DISK's has an unused number per layer."""
    state = published(256, 9, input_size=128)
    thresholds = {"confidence_thresholds": torch.ones(9).numpy()}
    unused = {f"log_assignment.{i}.r": torch.ones(1).numpy() for i in range(9)}
    for given in (state, state | thresholds, state | unused):
        network: Any = from_state("lightglue", given)
        assert network.input_size == 128
        assert network.confidence_thresholds[0] == pytest.approx(0.9)
    save_weights(tmp_path / "w.safetensors", state | unused)
    load_into(build("lightglue", input_size=128), tmp_path / "w.safetensors")


def test_matchers_of_scale_and_direction_are_refused_with_the_reason() -> None:
    state = {**published(256, 9, input_size=128), "posenc.Wr.weight": torch.ones(32, 4).numpy()}
    with pytest.raises(WeightsError, match="it needs scale and direction of keypoints"):
        from_state("lightglue", state)
