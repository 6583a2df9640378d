# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import torch

from letvins_ros.networks import build, from_state
from letvins_ros.weights import WeightsError

from .layouts import Layout, landed


def published(channels: int) -> dict[str, np.ndarray]:
    layout, widths = Layout(), (8, 16, 32, 64)
    for name, into, out in (("block1", channels, 8), ("block2", 8, 16), ("block3", 16, 32), ("block4", 32, 64)):
        layout.block(name, into, out, "conv1", "bn1")
        layout.block(name, out, out, "conv2", "bn2")
        if name != "block1":
            layout.conv(f"{name}.downsample", out, into, 1)
    for i, width in enumerate(widths, 1):
        layout.conv(f"conv{i}", 16, width, 1, bias=False)
    layout.conv("conv_head", 4, 16, 1, bias=False)
    layout.conv("convhead2", 64, 64, 1, bias=False)
    return layout.state


def test_the_gray_network_with_its_helper_has_the_published_parameter_count() -> None:
    assert sum(p.numel() for p in build("letnet").parameters()) == 82_584


@pytest.mark.parametrize("channels", [1, 3])
def test_published_checkpoints_load_strictly(channels: int) -> None:
    state = published(channels)
    assert landed(from_state("letnet", state), state)
    del state["convhead2.weight"]
    with pytest.raises(WeightsError, match=r"first convhead2\.weight \(missing\)"):
        from_state("letnet", state)


def test_maps_have_the_images_size_even_where_32_does_not_divide_it() -> None:
    with torch.no_grad():
        out = build("letnet", in_channels=3).eval()(torch.rand(2, 3, 50, 70))
    assert out.feature.shape == (2, 3, 50, 70)
    assert out.score.shape == (2, 1, 50, 70)
    assert out.descriptor.shape == (2, 64, 50, 70)
    assert torch.allclose(out.descriptor.norm(dim=1), torch.ones(2, 50, 70), atol=1e-5)


def test_the_network_that_is_kept_says_the_same() -> None:
    network = from_state("letnet", published(1))
    image = torch.rand(1, 1, 64, 96)
    kept = network.shallow()  # type: ignore[operator]
    assert sum(p.numel() for p in kept.parameters()) == 872
    with torch.no_grad():
        whole, shallow = network(image), kept(image)
    assert torch.equal(whole.feature, shallow.feature)
    assert torch.equal(whole.score, shallow.score)
