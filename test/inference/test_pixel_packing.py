# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import torch

from letvins_ros.inference.pixel_packing import scale_activations, side_by_side, strided
from letvins_ros.networks.folding import Conv


def conv(out: int, into: int, size: int) -> Conv:
    rng = np.random.default_rng(out)
    return Conv(rng.normal(size=(out, into, size, size)).astype(np.float32), rng.normal(size=out).astype(np.float32))


def run(layer: Conv, x: torch.Tensor, stride: int = 1) -> torch.Tensor:
    weight, bias = torch.from_numpy(layer.weight), torch.from_numpy(layer.bias)
    return torch.conv2d(x, weight, bias, (1, stride), layer.padding)


def pixels(x: torch.Tensor, step: int) -> torch.Tensor:
    """(1, C, H, W) -> (1, step * C, H, W / step), the channels of neighbouring pixels behind each other."""
    _, channels, height, width = x.shape
    return x.permute(0, 2, 3, 1).reshape(1, height, width // step, step * channels).permute(0, 3, 1, 2)


@pytest.mark.parametrize("step", [1, 2, 4])
def test_strided_layer_computes_the_same_pixels(step: int) -> None:
    layer, x = conv(5, 3, 3), torch.rand(1, 3, 7, 12)
    assert torch.allclose(run(strided(layer, step), x, step), pixels(run(layer, x), step), atol=1e-5)


@pytest.mark.parametrize("step", [1, 2, 4])
def test_pixels_side_by_side_do_not_mix(step: int) -> None:
    layer, x = conv(5, 3, 1), torch.rand(1, 3, 7, 12)
    assert torch.allclose(run(side_by_side(layer, step), pixels(x, step)), pixels(run(layer, x), step), atol=1e-5)


def test_scaled_layers_compute_the_same_with_hidden_channels_near_one() -> None:
    layers = [conv(8, 1, 3), conv(8, 8, 3), conv(16, 8, 1), conv(3, 16, 1)]
    layers[0] = Conv(layers[0].weight / 255, layers[0].bias)
    x = y = torch.randint(0, 256, (1, 1, 40, 40)).float()
    for plain, scaled in zip(layers, scale_activations(layers), strict=True):
        x, y = (torch.relu(run(layer, z)) for layer, z in ((plain, x), (scaled, y)))
        if plain is not layers[-1]:
            assert 0.3 < y.max() < 3
    assert (x - y).abs().max() < 1e-4 * x.abs().max()
