# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import numpy as np
import pytest
import torch

from letvins_ros.errors import ConfigError
from letvins_ros.networks import build, from_state
from letvins_ros.networks.folding import fold_letnet2
from letvins_ros.networks.letnet2 import LetNet2, image_to_tensor
from letvins_ros.weights import WeightsError, load_weights

PUBLISHED = Path(__file__).parents[2] / "../shared/weights/letnet2.pth"


@pytest.fixture(scope="module")
def published() -> dict[str, np.ndarray]:
    if not PUBLISHED.exists():
        pytest.skip("the published LET-NET2 weights are not beside the repository")
    return load_weights(PUBLISHED)


def test_rgb_network_has_the_published_parameter_count() -> None:
    assert sum(p.numel() for p in build("letnet2").parameters()) == 1016


@pytest.mark.parametrize(("channels", "heads", "count"), [(1, 4, 872), (1, 3, 856), (1, 2, 840), (3, 3, 1000)])
def test_variants_differ_only_in_first_and_last_layer(channels: int, heads: int, count: int) -> None:
    network = LetNet2(channels, heads).eval()
    assert sum(p.numel() for p in network.parameters()) == count
    out = network(torch.rand(2, channels, 20, 24))
    assert out.feature.shape == (2, 1 if heads == 2 else 3, 20, 24)
    assert out.score.shape == (2, 1, 20, 24)


def test_odd_channel_counts_are_refused() -> None:
    with pytest.raises(ValueError, match="got 2, 4"):
        LetNet2(2, 4)


def test_unknown_network_names_the_known() -> None:
    with pytest.raises(ConfigError, match="unknown network letnet3; known: inlier_net, keypointformer, "):
        build("letnet3")


def test_published_weights_give_the_check_values(published: dict[str, np.ndarray]) -> None:
    network = from_state("letnet2", published)
    with torch.no_grad():
        out = network(torch.full((1, 3, 11, 11), 0.5))
        noise = network(torch.rand(1, 3, 48, 64))
    centre = [*out.feature[0, :, 5, 5].tolist(), out.score[0, 0, 5, 5].item()]
    assert centre == pytest.approx([0.1055, 0.1314, 0.3325, 0.1739], abs=1e-4)
    means = [*noise.feature.mean((0, 2, 3)).tolist(), noise.score.mean().item()]
    assert means == pytest.approx([0.272, 0.166, 0.045, 0.068], abs=0.01)


def test_weights_with_a_missing_key_are_refused(published: dict[str, np.ndarray]) -> None:
    torn = {key: value for key, value in published.items() if key != "conv1.weight"}
    with pytest.raises(WeightsError, match=r"conv1\.weight"):
        from_state("letnet2", torn)
    with pytest.raises(WeightsError, match=r"1 keys missing or unknown, first conv1\.weight"):
        fold_letnet2(torn, 1)


def trained_like(channels: int) -> LetNet2:
    """A network whose batch norm has moved away from the identity."""
    torch.manual_seed(channels)
    network = LetNet2(channels).train()
    for _ in range(3):
        network(torch.rand(2, channels, 32, 32))
    return network.eval()


@pytest.mark.parametrize("network_channels", [1, 3])
@pytest.mark.parametrize("image_shape", [(13, 17), (13, 17, 3)])
def test_folded_layers_equal_the_network(
    network_channels: int, image_shape: tuple[int, int] | tuple[int, int, int]
) -> None:
    network = trained_like(network_channels)
    image = np.random.default_rng(0).integers(0, 256, image_shape, dtype=np.uint8)
    with torch.no_grad():
        expected = network(image_to_tensor(image, network_channels)).feature
        x = torch.from_numpy(image.reshape(13, 17, -1)).permute(2, 0, 1)[None].float()
        layers = fold_letnet2({key: value.numpy() for key, value in network.state_dict().items()}, x.shape[1])
        for layer in layers:
            x = torch.relu(x) if layer is not layers[0] else x
            x = torch.conv2d(x, torch.from_numpy(layer.weight), torch.from_numpy(layer.bias), padding=layer.padding)
    assert torch.allclose(torch.sigmoid(x), expected, atol=1e-6)
