# SPDX-License-Identifier: Apache-2.0
from typing import Any

import numpy as np
import pytest
import torch

from letvins_ros.errors import ConfigError
from letvins_ros.networks import build, from_state
from letvins_ros.networks.efficient_attention import ChannelNorm, EfficientAttention
from letvins_ros.networks.keypointformer import CONFIGS

from ..some import some
from .layouts import Layout, landed


def published(config: str, classes: int = 28) -> dict[str, np.ndarray]:
    c, layout = CONFIGS[config], Layout()
    for i, (into, out) in enumerate(zip((3, *c.widths), c.widths, strict=False)):
        layout.conv(f"mit.stages.{i}.1", out, into * (49 if i == 0 else 9), 1)
        hidden = out * c.expansions[i]
        for j in range(2):
            name = f"mit.stages.{i}.2.{j}"
            for k in range(2):
                for letter in "gb":
                    layout.tensor(f"{name}.{k}.norm.{letter}", 1, out, 1, 1)
            layout.conv(f"{name}.0.fn.to_q", out, out, 1, bias=False)
            layout.conv(f"{name}.0.fn.to_kv", 2 * out, out, c.reductions[i], bias=False)
            layout.conv(f"{name}.0.fn.to_out", out, out, 1, bias=False)
            layout.conv(f"{name}.1.fn.net.0", hidden, out, 1)
            layout.conv(f"{name}.1.fn.net.1.net.0", hidden, 1, 3)
            layout.conv(f"{name}.1.fn.net.1.net.1", hidden, hidden, 1)
            layout.conv(f"{name}.1.fn.net.3", out, hidden, 1)
        layout.conv(f"to_fused.{i}.0", c.decoder, out, 1)
        layout.norm(f"to_fused.{i}.1", c.decoder)
    for name, size, out in (
        ("segmentation_head", 1, classes), ("score_head", 3, 1), ("loc_head", 3, 2), ("vlad_head", 1, c.features)
    ):  # fmt: skip
        layout.conv(f"{name}.0", c.decoder, 4 * c.decoder, size)
        layout.norm(f"{name}.1", c.decoder)
        layout.conv(f"{name}.3", out, c.decoder, 1)
    for i, into, size in ((0, 4 * c.decoder, 1), (3, c.decoder, 3)):
        layout.conv(f"feat_head.{i}", c.decoder, into, size)
        layout.norm(f"feat_head.{i + 1}", c.decoder)
    layout.conv("feat_head.6", c.features, c.decoder, 1)
    layout.conv("netvlad.conv", 64, c.features, 1)
    layout.tensor("netvlad.centroids", 64, c.features)
    return layout.state


@pytest.mark.parametrize("config", CONFIGS)
def test_published_checkpoints_tell_their_size_and_load_strictly(config: str) -> None:
    state = published(config, classes=19)
    network: Any = from_state("keypointformer", state)
    assert landed(network, state)
    patches = state["mit.stages.1.1.weight"]
    into = patches.shape[1] // 9
    assert np.array_equal(network.stages[1].patches.weight.detach(), patches.reshape(-1, into, 3, 3))


def test_patches_as_a_convolution_equal_unfolding_and_a_linear_layer() -> None:
    state = published("tiny")
    network: Any = from_state("keypointformer", state)
    x = torch.rand(1, 3, 16, 24)
    unfolded = torch.nn.functional.unfold(x, 7, padding=3, stride=4).reshape(1, -1, 4, 6)
    weight, bias = (torch.from_numpy(state[f"mit.stages.0.1.{part}"]) for part in ("weight", "bias"))
    assert torch.allclose(network.stages[0].patches(x), torch.conv2d(unfolded, weight, bias), atol=1e-4)


def test_outputs_are_those_of_the_family() -> None:
    with torch.no_grad():
        out = build("keypointformer", config="tiny").eval()(torch.rand(2, 3, 64, 96))
    assert out.score.shape == (2, 1, 8, 12)
    assert out.coord.shape == (2, 2, 8, 12)
    assert out.descriptor.shape == (2, 64, 16, 24)
    assert out.segmentation.shape == (2, 28, 16, 24)
    assert out.place.shape == (2, 64 * 64)


def test_attention_equals_its_definition() -> None:
    torch.manual_seed(0)
    attention, x = EfficientAttention(8, 2, 2), torch.rand(1, 8, 4, 6)
    q, kv = attention.to_q(x), attention.to_kv(x)
    k, v = kv.chunk(2, dim=1)
    heads = []
    for h in (slice(0, 4), slice(4, 8)):
        weight = (q[0, h].flatten(1).T @ k[0, h].flatten(1) / 2).softmax(dim=1)
        heads.append((weight @ v[0, h].flatten(1).T).T.reshape(1, 4, 4, 6))
    assert torch.allclose(attention(x), attention.to_out(torch.cat(heads, dim=1)), atol=1e-6)


def test_channel_norm_centres_each_pixel_and_has_a_gradient_at_flat_ones() -> None:
    x = torch.randn(2, 16, 3, 3)
    y = ChannelNorm(16)(x)
    assert torch.allclose(y.mean(dim=1), torch.zeros(2, 3, 3), atol=1e-5)
    assert torch.allclose(y.std(dim=1, unbiased=False), torch.ones(2, 3, 3), atol=1e-3)
    flat = torch.zeros(1, 4, 1, 1, requires_grad=True)
    ChannelNorm(4)(flat).sum().backward()
    assert torch.isfinite(some(flat.grad)).all()


def test_wrong_options_and_sizes_are_refused() -> None:
    with pytest.raises(ConfigError, match="unknown config huge of keypointformer; known: default, tiny"):
        build("keypointformer", config="huge")
    with pytest.raises(ConfigError, match="multiples of 32, got 120x160"):
        build("keypointformer", config="tiny")(torch.zeros(1, 3, 120, 160))
