# SPDX-License-Identifier: Apache-2.0
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from letvins_ros.errors import ConfigError
from letvins_ros.networks import build, from_state, load
from letvins_ros.networks.cells import describe, to_pixels, without_border
from letvins_ros.weights import WeightsError

from .layouts import Layout, landed


def keypoint_net() -> dict[str, np.ndarray]:
    layout = Layout()
    widths = {"1a": (3, 32), "1b": (32, 32), "2a": (32, 64), "2b": (64, 64), "3a": (64, 128), "3b": (128, 128)}
    widths |= {"4a": (128, 256), "4b": (256, 256), "Da": (256, 256), "Pa": (256, 256), "Fa": (256, 256)}
    for name, (into, out) in (widths | {"Fb": (256, 512), "Faa": (256, 256)}).items():
        layout.block(f"conv{name}", into, out)
    for name, out in (("convDb", 1), ("convPb", 2), ("convFbb", 256)):
        layout.conv(name, out, 256, 3)
    return layout.state


def keypoint_resnet() -> dict[str, np.ndarray]:
    layout, into = Layout(), 64
    layout.conv("encoderK.rn.conv1", 64, 3, 7, bias=False)
    layout.norm("encoderK.rn.bn1", 64)
    for level, out in enumerate((64, 128, 256, 512), 1):
        for i, source in enumerate((into, out)):
            name = f"encoderK.rn.layer{level}.{i}"
            layout.block(name, source, out, "conv1", "bn1")
            layout.block(name, out, out, "conv2", "bn2")
            if source != out:
                layout.conv(f"{name}.downsample.0", out, source, 1, bias=False)
                layout.norm(f"{name}.downsample.1", out)
        into = out
    for level, source, out, skip in ((4, 512, 256, 256), (3, 256, 256, 128), (2, 256, 128, 64), (1, 128, 64, 64)):
        layout.block(f"decoderK.upconv{level}_0.conv", source, out)
        layout.block(f"decoderK.upconv{level}_1.conv", out + skip, out)
    for name, into, out in (("scoreconv", 256, 1), ("locconv", 256, 2), ("featconv", 64, 64)):
        layout.block(f"decoderK.{name}", into, into)
        layout.conv(f"decoderK.{name}.4", out, into, 3)
    return layout.state


def inlier_net() -> dict[str, np.ndarray]:
    layout = Layout()
    layout.conv("p_in.0", 128, 5, 1, bias=False)
    layout.norm("p_in.1", 128)
    for i in range(4):
        for s in (0, 2):
            layout.conv(f"{i}s{s}", 128, 128, 1)
            layout.norm(f"{i}s{s + 1}", 128)
    layout.conv("p_out", 1, 128, 1)
    return layout.state


@pytest.mark.parametrize(
    ("name", "count"), [("kp2d", 5_312_227), ("inlier_net", 135_169), ("kp2d_resnet", 11_176_512 + 5_761_731)]
)
def test_networks_have_the_published_parameter_count(name: str, count: int) -> None:
    assert sum(p.numel() for p in build(name).parameters()) == count  # of the encoder: torchvision's ResNet-18


@pytest.mark.parametrize(
    ("name", "published"), [("kp2d", keypoint_net), ("kp2d_resnet", keypoint_resnet), ("inlier_net", inlier_net)]
)
def test_published_checkpoints_load_strictly(name: str, published: Callable[[], dict[str, np.ndarray]]) -> None:
    state = published()
    network = from_state(name, state)
    assert landed(network, state)
    assert not network.training


@pytest.mark.parametrize(("version", "dense"), [("V0", (30, 40)), ("V1", (30, 40)), ("V2", (60, 80)), ("V4", (60, 80))])
def test_outputs_have_the_published_shapes(version: str, dense: tuple[int, int]) -> None:
    network = build("kp2d", version=version).eval()
    with torch.no_grad():
        points = network(torch.rand(1, 3, 240, 320))
    assert points.score.shape == (1, 1, 30, 40)
    assert points.coord.shape == (1, 2, 30, 40)
    assert points.descriptor.shape == (1, 256, *dense)
    assert describe(points.descriptor, points.coord, (240, 320)).shape == (1, 256, 30, 40)


def test_resnet_variant_reads_points_at_an_eighth_and_descriptors_at_a_half() -> None:
    with torch.no_grad():
        points = build("kp2d_resnet").eval()(torch.rand(1, 3, 64, 96))
    assert [tuple(map_.shape) for map_ in points] == [(1, 1, 8, 12), (1, 2, 8, 12), (1, 64, 32, 48)]


def test_only_crossing_versions_leave_their_cell() -> None:
    offset = torch.ones(1, 2, 3, 4)
    assert to_pixels(offset, 8, 1.0)[0, :, 1, 1].tolist() == [15.0, 15.0]  # the last pixel of cell 1
    assert to_pixels(offset, 8, 2.0)[0, :, 1, 1].tolist() == [18.5, 18.5]
    assert to_pixels(0 * offset, 8, 2.0)[0, :, 2, 1].tolist() == [11.5, 19.5]
    assert to_pixels(-offset, 8, 2.0).min() == 0  # within the image
    assert to_pixels(offset, 8, 2.0)[0, 0].max() == 31


def test_the_outermost_scores_are_zero() -> None:
    score = without_border(torch.ones(1, 1, 4, 5))
    assert score.sum() == 2 * 3
    assert score[0, 0, 1:-1, 1:-1].all()


def test_descriptors_are_read_where_the_keypoints_are() -> None:
    ramp = torch.stack(torch.meshgrid(torch.arange(3.0), torch.arange(5.0), indexing="ij"))[None] + 1
    coord = torch.tensor([[4.0, 0.0], [1.0, 2.0]])[None, :, :, None]  # x 4 and 0, y 1 and 2, of a 3 x 5 image
    found = describe(ramp, coord, (3, 5))[0, :, :, 0]
    assert torch.allclose(found, torch.nn.functional.normalize(torch.tensor([[2.0, 3.0], [5.0, 1.0]]), dim=0))


def test_matches_know_of_each_other() -> None:
    network = build("inlier_net").eval()
    matches = torch.rand(1, 5, 20, 1)
    moved = matches.clone()
    moved[:, :, 5:] += 1
    with torch.no_grad():
        assert network(matches).shape == (1, 1, 20, 1)
        assert not torch.allclose(network(matches)[:, :, 0], network(moved)[:, :, 0])


def test_wrong_options_and_inputs_are_refused() -> None:
    with pytest.raises(ConfigError, match="unknown version V5 of kp2d; known: V0, V1, V2, V3, V4"):
        build("kp2d", version="V5")
    with pytest.raises(ConfigError, match="multiples of 8, got 20x16"):
        build("kp2d")(torch.zeros(1, 3, 20, 16))
    with pytest.raises(ConfigError, match=r"\(B, 5, N, 1\)"):
        build("inlier_net")(torch.zeros(1, 4, 9, 1))


@pytest.fixture
def v1_state() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return build("kp2d", version="V1").state_dict()


class CfgNode(dict[str, object]):
    """As yacs pickles the authors' configuration."""


CfgNode.__module__ = "yacs.config"


@pytest.mark.parametrize("kind", [dict, CfgNode])
@pytest.mark.parametrize(("told", "version"), [((False, False), "V0"), ((True, False), "V1"), ((True, True), "V4")])
def test_a_checkpoint_tells_its_version(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    v1_state: dict[str, torch.Tensor],
    kind: type[dict[str, object]],
    told: tuple[bool, bool],
    version: str,
) -> None:
    yacs: Any = ModuleType("yacs.config")
    yacs.CfgNode = CfgNode
    monkeypatch.setitem(sys.modules, "yacs", ModuleType("yacs"))
    monkeypatch.setitem(sys.modules, "yacs.config", yacs)
    params = kind(do_cross=told[0], do_upsample=told[1], use_color=True)
    torch.save({"state_dict": v1_state, "config": kind(model=kind(params=params))}, tmp_path / "model.ckpt")
    monkeypatch.delitem(sys.modules, "yacs.config")
    assert load("kp2d", tmp_path / "model.ckpt").version == version


@pytest.mark.parametrize("name", ["v1.ckpt", "kp2d_V1.pth", "my-v1-best.pth"])
def test_a_files_name_tells_its_version(tmp_path: Path, v1_state: dict[str, torch.Tensor], name: str) -> None:
    torch.save(v1_state, tmp_path / name)
    assert load("kp2d", tmp_path / name).version == "V1"


def test_a_version_that_nothing_tells_is_asked_for(tmp_path: Path, v1_state: dict[str, torch.Tensor]) -> None:
    torch.save(v1_state, tmp_path / "dev10.pth")
    with pytest.raises(WeightsError, match=r"dev10\.pth: the version is not told; name the file like"):
        load("kp2d", tmp_path / "dev10.pth")
    assert load("kp2d", tmp_path / "dev10.pth", version="V2").version == "V2"


def test_our_files_know_their_version(tmp_path: Path) -> None:
    pytest.importorskip("lightning_fabric")
    from training.weights import save_network

    save_network(tmp_path / "best.safetensors", build("kp2d", version="V0"))
    assert load("kp2d", tmp_path / "best.safetensors").version == "V0"
