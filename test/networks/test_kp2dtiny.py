# SPDX-License-Identifier: Apache-2.0
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from letvins_ros.errors import ConfigError
from letvins_ros.networks import build, from_state
from letvins_ros.networks.aggregators import GeM, NetVLAD
from letvins_ros.networks.kp2dtiny_configs import CONFIGS
from letvins_ros.weights import WeightsError

from .layouts import Layout, landed

COUNTS = {  # version, config: parameters without and with depth, size of the global descriptor
    ("V2", "S"): (928_079, 1_335_440, 4096),
    ("V2", "S_A"): (968_271, 1_415_824, 4096),
    ("V2", "N"): (528_959, 758_448, 1536),
    ("V2", "N_A"): (552_191, 804_912, 1536),
    ("V2", "F"): (3_592_751, 5_218_480, 8192),
    ("V3", "S"): (707_535, 735_535, 4096),
    ("V3", "S_A"): (747_727, 775_727, 4096),
    ("V3", "N"): (404_639, 420_455, 3072),
    ("V3", "N_A"): (427_871, 443_687, 3072),
    ("V3", "D"): (9_872_479, None, 2048),
    ("V3", "D_A"): (10_475_615, None, 2048),
    ("V3", "CONVAP_S_A"): (743_695, None, 1024),
}


class TinyLayout(Layout):
    """The authors' names; published(...) makes the whole state."""

    def named(self, name: str, into: int, out: int) -> None:
        self.block(name, into, out, "conv", "bn")

    def attention(self, name: str, c: int) -> None:
        for part in ("att", "mff"):
            for letter in "gb":
                self.tensor(f"{name}.{part}.norm.{letter}", 1, c, 1, 1)
        self.conv(f"{name}.att.fn.to_q", c, c, 1, bias=False)
        self.conv(f"{name}.att.fn.to_kv", 2 * c, c, 2, bias=False)
        self.conv(f"{name}.att.fn.to_out", c, c, 1, bias=False)
        self.conv(f"{name}.mff.fn.net.0", 2 * c, c, 1)
        self.conv(f"{name}.mff.fn.net.1.net.0", 2 * c, 1, 3)
        self.conv(f"{name}.mff.fn.net.1.net.1", 2 * c, 2 * c, 1)
        self.conv(f"{name}.mff.fn.net.3", c, 2 * c, 1)

    def up(self, name: str, channels: int) -> None:
        self.tensor(f"{name}.transposed_conv.weight", channels, channels // 4, 3, 3)
        self.norm(f"{name}.bn", channels // 4)

    def task(self, name: str, channels: int, out: int) -> None:
        self.named(f"{name}.convDa", channels, channels)
        self.conv(f"{name}.convDb", out, channels, 3)

    def decoder(
        self, name: str, widths: tuple[int, ...], hidden: int, last: tuple[int, int], attention: bool, mcu: bool
    ) -> None:
        _, _, c3, c4, c5, d1 = widths
        self.named(f"{name}.convs.0", c4, c5)
        coarse = 2 if attention else 3
        for i in range(1, 1 + coarse):
            if attention:
                self.attention(f"{name}.convs.{i}", c5)
            else:
                self.named(f"{name}.convs.{i}", c5, c5)
        for i, (into, out) in enumerate([(c5, d1), (c5 + d1 // 4, c5), (c5, d1), (c4 + c3, hidden)], 1 + coarse):
            self.named(f"{name}.convs.{i}", into, out)
        self.conv(f"{name}.convs.{5 + coarse}", *last, 3)
        if mcu:
            self.up(f"{name}.upsample", d1)
            self.up(f"{name}.upsample2", d1)


def published(
    version: str, config: str, depth: bool = False, mcu: bool = False, classes: int = 28
) -> dict[str, np.ndarray]:
    c, layout = CONFIGS[version][config], TinyLayout()
    c1, c2, c3, c4, c5, _ = c.widths
    channels = (3, c1, c2, c2, c3, c3, c4, c4, c4)
    for i, name in enumerate(f"conv{n}{letter}" for n in (1, 2, 3, 4) for letter in "ab"):
        layout.named(f"backbone.{name}", channels[i], channels[i + 1])
    for i in (1, 2, 3):
        layout.named(f"vlad_head.convlad{i}", c4 if i == 1 else c.place_width, c.place_width)
    if c.aggregator == "netvlad":
        layout.conv("vlad_head.netvlad.conv", c.clusters, c.place_width, 1, bias=False)
        layout.tensor("vlad_head.netvlad.centroids", c.clusters, c.place_width)
    elif c.aggregator == "gem":
        layout.tensor("vlad_head.netvlad.p", 1)
    else:
        layout.conv("vlad_head.netvlad.channel_pool", c.place_width, c.place_width, 1)
    if version == "V3":
        layout.task("score_loc_head", c4, 3)
        hidden = c5 + c5 // 2 * depth
        layout.decoder("seg_head", c.widths, hidden, (classes, c5 // 2), c.attention, mcu)
        layout.conv("seg_head.featB", c.features, c5 // 2, 3)
        if depth:
            layout.conv("seg_head.featD", 1, c5 // 2, 3, bias=False)
        return layout.state
    layout.task("score_head", c4, 1)
    layout.task("loc_head", c4, 2)
    layout.named("desc_head.convA", c4, c4)
    layout.conv("desc_head.convB", 4 * c3, c4, 3)
    layout.named("desc_head.confAa", c3 + c4, c4)
    layout.conv("desc_head.confBb", c.features, c4, 3)
    if mcu:
        layout.up("desc_head.upsample", 4 * c3)
    layout.decoder("seg_head", c.widths, c5, (classes, c5), c.attention, mcu)
    if depth:
        layout.decoder("depth_head", c.widths, c5, (1, c5), c.attention, mcu)
    return layout.state


def count(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


@pytest.mark.parametrize(("version", "config"), COUNTS)
def test_variants_have_the_published_parameter_count(version: str, config: str) -> None:
    plain, deep, size = COUNTS[version, config]
    network: Any = build("kp2dtiny", config=config, version=version)
    assert count(network) == plain
    assert network.place.aggregator.size == size
    if deep:
        assert count(build("kp2dtiny", config=config, version=version, depth=True)) == deep


def test_parts_have_the_published_parameter_count() -> None:
    network: Any = build("kp2dtiny", config="S")
    parts = [network.backbone, network.score_head, network.location_head, network.descriptor_head, network.place]
    assert [count(part) for part in parts] == [125_520, 37_569, 38_146, 184_736, 119_168]
    assert count(network.decoder) + count(network.classes) == 422_940
    assert count(build("kp2dtiny", config="D")) == pytest.approx(13.90e6, rel=1e-3)


@pytest.mark.parametrize(
    ("version", "config", "options"),
    [
        ("V2", "N", {}),
        ("V2", "S_A", {"depth": True}),
        ("V2", "S", {"mcu": True, "depth": True}),
        ("V2", "GEM_N", {"classes": 19}),
        ("V2", "F", {}),
        ("V3", "N_A", {}),
        ("V3", "N", {"depth": True, "mcu": True}),
        ("V3", "CONVAP_S_A", {"depth": True}),
    ],
)
def test_published_checkpoints_tell_their_variant_and_load_strictly(
    version: str, config: str, options: dict[str, Any]
) -> None:
    state = published(version, config, **options)
    network: Any = from_state("kp2dtiny", state)
    assert (network.version, network.config) == (version, config)
    assert landed(network, state)
    again = from_state("kp2dtiny", {key: tensor.numpy() for key, tensor in network.state_dict().items()})
    assert again.state_dict().keys() == network.state_dict().keys()


def test_published_tensors_land_at_their_layer() -> None:
    state = published("V2", "N_A")
    network: Any = from_state("kp2dtiny", state)
    for ours, theirs in (
        (network.backbone.blocks[5][0].weight, "backbone.conv3b.conv.weight"),
        (network.backbone.blocks[5][1].running_mean, "backbone.conv3b.bn.running_mean"),
        (network.location_head[2].bias, "loc_head.convDb.bias"),
        (network.descriptor_head.merge[0].weight, "desc_head.confAa.conv.weight"),
        (network.decoder.blocks[1].feed[2].weight, "seg_head.convs.1.mff.fn.net.1.net.1.weight"),
        (network.classes.weight, "seg_head.convs.7.weight"),
        (network.place.aggregator.assign.weight, "vlad_head.netvlad.conv.weight"),
    ):
        assert (ours.detach().numpy() == state[theirs]).all(), theirs


@pytest.mark.parametrize(
    ("version", "config", "size", "features"),
    [("V2", "N", (120, 160), 32), ("V3", "S_A", (64, 80), 32), ("V2", "F", (64, 96), 64)],
)
def test_outputs_have_the_published_shapes(version: str, config: str, size: tuple[int, int], features: int) -> None:
    network: Any = build("kp2dtiny", config=config, version=version, depth=True).eval()
    cells = tuple(side // network.cell for side in size)
    fine = tuple(2 * side for side in cells)
    with torch.no_grad():
        out = network(torch.rand(2, 3, *size))
    assert out.score.shape == (2, 1, *cells)
    assert out.coord.shape == (2, 2, *cells)
    assert out.descriptor.shape == (2, features, *fine)
    assert out.segmentation.shape == (2, 28, *fine)
    assert out.depth.shape == (2, 1, *fine)
    assert 0 < out.depth.min() <= out.depth.max() < 1
    assert torch.allclose(out.place.norm(dim=1), torch.ones(2), atol=1e-5)


@pytest.mark.parametrize("version", ["V2", "V3"])
def test_parts_computed_alone_equal_those_of_the_whole(version: str) -> None:
    network = build("kp2dtiny", version=version).eval()
    image = torch.rand(1, 3, 48, 64)
    with torch.no_grad():
        out, points, place = network(image), network.keypoints(image), network.describe_place(image)  # type: ignore[operator]
    assert all(torch.equal(a, b) for a, b in zip(out, points, strict=False))
    assert torch.equal(out.place, place)


def test_descriptors_of_more_scales_are_those_of_smaller_images() -> None:
    network: Any = build("kp2dtiny", scales=3).eval()
    weights = torch.tensor([1.0, 2.0, 0.5])
    network.scale_weights.data = weights
    state = {key: tensor.numpy() for key, tensor in network.state_dict().items()}
    assert count(from_state("kp2dtiny", state)) == count(network)
    plain: Any = from_state("kp2dtiny", {key: value for key, value in state.items() if key != "scale_weights"})
    image = torch.rand(1, 3, 96, 160)
    with torch.no_grad():
        seen, alone = network(image), plain(image)
        half, quarter = (plain(torch.nn.functional.avg_pool2d(image, side)).descriptor for side in (2, 4))
        blocks = image[..., :22, :38].repeat_interleave(4, dim=2).repeat_interleave(4, dim=3)
        padded = network(torch.nn.functional.pad(blocks, (0, 8, 0, 8), mode="replicate")).descriptor
        narrow = network(blocks).descriptor
    assert torch.equal(seen.score, alone.score)
    assert torch.equal(seen.coord, alone.coord)
    parts = seen.descriptor.split(32, dim=1)
    assert torch.allclose(parts[0], torch.nn.functional.normalize(alone.descriptor, dim=1))
    for i, small in ((1, half), (2, quarter)):
        unit = torch.nn.functional.normalize(small, dim=1) * weights[i]
        size = parts[i].shape[-2:]
        large = torch.nn.functional.interpolate(unit, size, mode="bilinear", align_corners=False)
        assert torch.allclose(parts[i], large, atol=1e-6)
    assert narrow.shape == (1, 96, 44, 76)  # a quarter of it is no multiple of 4
    assert torch.allclose(narrow[:, 64:], padded[:, 64:, :44, :76], atol=1e-6)


def test_the_mcu_form_has_no_leaky_relu_and_no_pixel_shuffle() -> None:
    network = build("kp2dtiny", mcu=True)
    kinds = {type(module).__name__ for module in network.modules()}
    assert not kinds & {"LeakyReLU", "PixelShuffle"}
    assert network.eval()(torch.rand(1, 3, 32, 48)).segmentation.shape == (1, 28, 16, 24)


def test_residuals_in_the_attention_change_what_it_says() -> None:
    state = published("V3", "N_A")
    image = torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        kept, dropped = (from_state("kp2dtiny", state, residual=r)(image).segmentation for r in (True, False))
    assert not torch.allclose(kept, dropped)


def test_netvlad_equals_its_definition() -> None:
    torch.manual_seed(0)
    netvlad, x = NetVLAD(6, 4).double(), torch.rand(2, 6, 3, 5, dtype=torch.double)
    features = torch.nn.functional.normalize(x, dim=1).flatten(2)
    weight = torch.einsum("kc,bcn->bkn", netvlad.assign.weight[:, :, 0, 0], features).softmax(dim=1)
    residual = torch.stack(
        [(weight[:, k, None] * (features - netvlad.centroids[k][:, None])).sum(2) for k in range(4)], dim=1
    )
    expected = torch.nn.functional.normalize(residual, dim=2).flatten(1) / 2  # four unit vectors
    assert torch.allclose(netvlad(x), expected)


def test_netvlad_started_from_clusters_assigns_features_to_their_own() -> None:
    centroids = torch.eye(4, 8)
    netvlad = NetVLAD(8, 4)
    features = torch.nn.functional.normalize(centroids.repeat(50, 1) + 0.05 * torch.rand(200, 8), dim=1)
    netvlad.start_from(centroids, features)
    with torch.no_grad():
        weight = netvlad.assign(features.T[None, :, :, None]).softmax(dim=1)[0, :, :, 0]
    assert torch.equal(weight.argmax(0), torch.arange(200) % 4)
    ratio = weight.topk(2, dim=0).values
    assert (ratio[0] / ratio[1]).log().mean().exp() == pytest.approx(100, rel=0.01)


def test_gem_lies_between_mean_and_maximum() -> None:
    gem, x = GeM(2), torch.rand(1, 2, 8, 8)
    cells = torch.nn.functional.pixel_unshuffle(x, 4)
    pooled = gem(x)
    assert pooled.shape == (1, 32)
    assert (pooled >= cells.mean((2, 3)) - 1e-6).all()
    assert (pooled <= cells.amax((2, 3)) + 1e-6).all()
    with torch.no_grad():
        gem.p.fill_(1.0)
    assert torch.allclose(gem(x), cells.mean((2, 3)), atol=1e-5)


def test_wrong_options_and_sizes_are_refused() -> None:
    with pytest.raises(ConfigError, match="unknown config F of kp2dtiny V3; known: S, S_A, N"):
        build("kp2dtiny", config="F", version="V3")
    with pytest.raises(ConfigError, match="unknown version V4 of kp2dtiny; known: V2, V3"):
        build("kp2dtiny", version="V4")
    for scales in (0, 4):
        with pytest.raises(ConfigError, match=f"kp2dtiny's descriptors have 1 to 3 scales, not {scales}"):
            build("kp2dtiny", scales=scales)
    with pytest.raises(ConfigError, match="kp2dtiny V3's descriptors have one scale; V2's can have more"):
        build("kp2dtiny", version="V3", scales=2)
    with pytest.raises(ConfigError, match="multiples of 16, got 120x160"):
        build("kp2dtiny", config="F")(torch.zeros(1, 3, 120, 160))


def test_weights_of_another_network_are_refused() -> None:
    with pytest.raises(WeightsError, match="not the weights of kp2dtiny"):
        from_state("kp2dtiny", {"conv1a.weight": torch.zeros(64, 1, 3, 3).numpy()})
