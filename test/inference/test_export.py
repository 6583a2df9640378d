# SPDX-License-Identifier: Apache-2.0
import subprocess
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnxruntime
import openvino as ov
import pytest
import torch
from openvino import opset13 as ops
from torch import nn

from letvins_ros.config import TrackerConfig
from letvins_ros.errors import ConfigError, DataError
from letvins_ros.inference import BackendError, open_runtime
from letvins_ros.inference.export import export, export_int8, export_pair
from letvins_ros.inference.export_files import export_network, read_size
from letvins_ros.inference.measures import share_matched
from letvins_ros.inference.openvino_runtime import OpenVinoRuntime, convert, open_exported
from letvins_ros.inference.quantise import quantise
from letvins_ros.networks import build, load
from letvins_ros.networks.deploy import Deployed, deploy
from letvins_ros.networks.deploy_pairs import DeployedPair, deploy_pair
from letvins_ros.networks.lightglue import Keypoints
from letvins_ros.tracking.follower import make_follower
from letvins_ros.weights import WeightsError, default_weights

from ..command import no_file_above
from ..networks.layouts import saved
from ..some import some
from ..stand_in_runtime import StandInRuntime

NETWORKS: dict[str, dict[str, Any]] = {
    "letnet2": {"in_channels": 1},
    "kp2dtiny": {"version": "V3"},
    "superpoint": {"batch_norm": True},
}
SIZE = (64, 96)
DESCRIPTORS = ("descriptor", "descriptor_2", "descriptor_4")


def seeded(name: str, **options: Any) -> nn.Module:
    """A network whose batch norms have seen pictures, so that its maps are not flat."""
    torch.manual_seed(0)
    network = build(name, **{**NETWORKS[name], **options})
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None
    network.train()
    image = torch.nn.functional.interpolate(torch.rand(2, 3, 16, 24), size=SIZE)
    with torch.no_grad():
        network(image[:, : deploy(network).channels])
    return network.eval()


@pytest.fixture(scope="module")
def deployed() -> dict[str, Deployed]:
    return {name: deploy(seeded(name)) for name in NETWORKS}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    for i in range(14):
        picture = np.kron(rng.integers(0, 256, (12, 18)), np.ones((8, 8))).astype(np.uint8)
        cv2.imwrite(str(folder / f"{i:02}.png"), cv2.GaussianBlur(picture, (5, 5), 0))
    return folder


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("suffix", [".onnx", ".xml", ".param"])
def test_an_exported_network_says_what_torch_says(
    name: str, suffix: str, deployed: dict[str, Deployed], tmp_path: Path
) -> None:
    needed = {".onnx": ["onnxscript"], ".param": ["pnnx", "ncnn"], ".xml": []}[suffix]
    missing = [package for package in needed if find_spec(package) is None]
    if missing:
        pytest.skip(f"{missing[0]} is not installed")
    assert export(deployed[name], tmp_path / f"{name}{suffix}", SIZE) < 1e-4
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize(("name", "suffix"), [("letnet2", ".onnx"), ("letnet2", ".xml"), ("kp2dtiny", ".xml")])
def test_a_dynamic_one_takes_other_sizes(name: str, suffix: str, deployed: dict[str, Deployed], tmp_path: Path) -> None:
    if suffix == ".onnx" and find_spec("onnxscript") is None:
        pytest.skip("onnxscript is not installed")
    assert export(deployed[name], tmp_path / f"n{suffix}", (96, 160), dynamic=True) < 1e-4


@pytest.mark.parametrize("suffix", [".onnx", ".xml"])
def test_a_dynamic_one_that_sees_smaller_images_takes_what_images_are_padded_to(suffix: str, tmp_path: Path) -> None:
    """Multiples of 16, a quarter of which is none of 8."""
    if suffix == ".onnx" and find_spec("onnxscript") is None:
        pytest.skip("onnxscript is not installed")
    network = deploy(seeded("kp2dtiny", version="V2", scales=3))
    assert network.outputs == ("score", "coord", *DESCRIPTORS)
    assert export(network, tmp_path / f"n{suffix}", (112, 176), dynamic=True) < 1e-4
    (maps,) = open_exported(tmp_path / f"n{suffix}")([np.zeros((80, 144), np.uint8)])
    assert [maps[name].shape for name in DESCRIPTORS] == [(32, 40, 72), (32, 20, 36), (32, 10, 18)]


def test_an_exported_file_runs_in_the_follower_and_refuses_other_sizes(
    deployed: dict[str, Deployed], tmp_path: Path
) -> None:
    export(deployed["kp2dtiny"], tmp_path / "n.xml", SIZE)
    image = np.random.default_rng(0).integers(0, 256, SIZE, dtype=np.uint8)
    maps = open_runtime("kp2dtiny", tmp_path / "n.xml")([image])[0]
    with torch.no_grad():
        x = torch.from_numpy(image).float().expand(1, 3, *SIZE) / 255
        expected = deployed["kp2dtiny"](x)
    for name, map_ in zip(("score", "coord", "descriptor"), expected, strict=True):
        wanted = map_[0, 0] if name == "score" else map_[0]
        assert np.abs(maps[name] - wanted.numpy()).max() < 1e-4
    with pytest.raises(WeightsError, match="exported for images of 96x64, not 128x64"):
        open_exported(tmp_path / "n.xml")([np.zeros((64, 128), np.uint8)])


def test_the_descriptor_of_a_place_comes_along_where_it_is_wanted() -> None:
    image = np.random.default_rng(0).integers(0, 256, SIZE, dtype=np.uint8)
    with torch.no_grad():
        expected = load("kp2dtiny", default_weights("kp2dtiny"))(torch.from_numpy(image).expand(1, 3, *SIZE) / 255)
    for backend, off in (("torch", 1e-5), ("openvino", 0.02)):  # which rounds to bfloat16
        maps = open_runtime("kp2dtiny", backend=backend, with_place=True)([image])[0]
        np.testing.assert_allclose(maps["place"], expected.place[0], atol=off)
        assert maps["descriptor"].shape[1:] == expected.descriptor.shape[2:]
        assert sum(len(maps[name]) for name in DESCRIPTORS) == expected.descriptor.shape[1]


@pytest.mark.parametrize("suffix", [".onnx", ".xml"])
def test_classes_depth_and_place_are_exported_where_they_are_wanted(suffix: str, tmp_path: Path) -> None:
    if suffix == ".onnx" and find_spec("onnxscript") is None:
        pytest.skip("onnxscript is not installed")
    torch.manual_seed(0)
    network = build("kp2dtiny", version="V3", depth=True).eval()
    assert export(deploy(network, also=("segmentation", "depth", "place")), tmp_path / f"n{suffix}", SIZE) < 1e-4


@pytest.mark.parametrize("version", ["V2", "V3"])
def test_further_maps_are_those_of_the_network(version: str) -> None:
    torch.manual_seed(0)
    network = build("kp2dtiny", version=version, depth=True).eval()
    also = deploy(network, also=("segmentation", "depth", "place"))
    assert also.outputs == ("score", "coord", "descriptor", "segmentation", "depth", "place")
    image = torch.rand(1, 3, *SIZE)
    with torch.no_grad():
        for name, map_ in zip(also.outputs, also(image), strict=True):
            assert torch.equal(map_, getattr(network(image), name)), name


def test_maps_that_a_network_lacks_are_named(deployed: dict[str, Deployed], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="KP2DTiny has no depth; further maps: place, segmentation"):
        export_network("kp2dtiny", tmp_path / "n.xml", None, "96x64", dynamic=False, int8=None, also="place, depth")
    with pytest.raises(ConfigError, match="LetNet2 has no place; further maps: none"):
        deploy(build("letnet2"), also=("place",))


def test_what_has_no_descriptor_of_places_says_so(deployed: dict[str, Deployed], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="SuperPoint has no descriptor of places"):
        deploy(build("superpoint"), with_place=True)
    export(deployed["kp2dtiny"], tmp_path / "n.xml", SIZE)
    with pytest.raises(BackendError, match="an exported file has no descriptor of places"):
        open_runtime("kp2dtiny", tmp_path / "n.xml", with_place=True)


def test_weights_of_another_export_are_refused(deployed: dict[str, Deployed], tmp_path: Path) -> None:
    """As after a `kill -9` between the two files, or where only one of them was copied."""
    torch.manual_seed(1)
    for name, network in (("a", deployed["letnet2"]), ("b", deploy(build("letnet2", **NETWORKS["letnet2"]).eval()))):
        export(network, tmp_path / f"{name}.xml", SIZE)
    (tmp_path / "a.bin").replace(tmp_path / "b.bin")
    with pytest.raises(WeightsError, match=r"b\.xml: b\.bin is of another export"):
        open_exported(tmp_path / "b.xml")


@pytest.mark.parametrize("limit", [1_000, 8_000])  # bytes that files may have, of the .bin and the .xml
def test_an_export_that_does_not_fit_leaves_the_last_one(
    limit: int, deployed: dict[str, Deployed], tmp_path: Path
) -> None:
    out = tmp_path / "n.xml"
    export(deployed["letnet2"], out, SIZE)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert len(before["n.bin"]) > 1_000 and len(before["n.xml"]) > 8_000
    told = r"n\.xml: OpenVINO cannot write it; is the disk full\?"
    with no_file_above(limit), pytest.raises(BackendError, match=told):
        export(deployed["letnet2"], out, SIZE)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_an_exported_file_needs_no_torch(deployed: dict[str, Deployed], tmp_path: Path) -> None:
    export(deployed["kp2dtiny"], tmp_path / "n.xml", SIZE)
    code = f"""
import sys
sys.modules["torch"] = None
import numpy as np
from letvins_ros.config import TrackerConfig
from letvins_ros.tracking.follower import make_follower
follower = make_follower(TrackerConfig(method="kp2dtiny", weights={str(tmp_path / "n.xml")!r}))
assert len(follower.prepare([np.zeros({SIZE}, np.uint8)])[0].keypoints.uv)
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_eight_bits_stay_close_and_differ(deployed: dict[str, Deployed]) -> None:
    rng = np.random.default_rng(0)
    images = [np.kron(rng.random((1, 3, 16, 24)), np.ones((4, 4))).astype(np.float32) for _ in range(6)]
    model = convert(deployed["kp2dtiny"], SIZE)
    rounded = quantise(model, images[1:])
    assert sum(node.get_type_name() == "FakeQuantize" for node in model.get_ops()) == 0
    convolutions = sum(node.get_type_name() == "Convolution" for node in rounded.get_ops())
    assert sum(node.get_type_name() == "FakeQuantize" for node in rounded.get_ops()) > 1.5 * convolutions
    core = ov.Core()
    said = [list(core.compile_model(m, "CPU")([images[0]]).values()) for m in (model, rounded)]
    for name, before, after in zip(("score", "coord", "descriptor"), *said, strict=True):
        error = np.abs(before - after).mean() / before.std()
        assert 0 < error < 0.1, name


@pytest.mark.parametrize("suffix", [".xml", ".onnx"])
def test_export_in_eight_bits_tells_the_accuracy_before_and_after(
    pictures: Path, tmp_path: Path, deployed: dict[str, Deployed], suffix: str
) -> None:
    if suffix == ".onnx" and find_spec("onnxscript") is None:
        pytest.skip("onnxscript is not installed")
    network: Any = deployed["kp2dtiny"].network
    out, weights = tmp_path / f"n{suffix}", saved(network, tmp_path / "w.safetensors")
    lines = dict(export_network("kp2dtiny", out, weights, "96x64", dynamic=False, int8=pictures))
    before, after = (float(lines[f"keypoints matched right, {when}"]) for when in ("before", "after"))
    assert 0 < before < 1
    assert after == pytest.approx(before, abs=0.1)


@pytest.mark.skipif(find_spec("onnxscript") is None, reason="onnxscript is not installed")
def test_every_convolution_in_onnx_has_eight_bits(tmp_path: Path, deployed: dict[str, Deployed]) -> None:
    import onnx

    rng = np.random.default_rng(0)
    images = [np.kron(rng.random((1, 3, 16, 24)), np.ones((4, 4))).astype(np.float32) for _ in range(6)]
    assert 0 < export_int8(deployed["kp2dtiny"], tmp_path / "n.onnx", images) < 0.1
    graph = onnx.load(tmp_path / "n.onnx").graph
    made_by = {name: node for node in graph.node for name in node.output}
    kinds = {tensor.name: tensor.data_type for tensor in graph.initializer}
    convolutions = [node for node in graph.node if node.op_type == "Conv"]
    assert len(convolutions) > 10
    for node in convolutions:
        image, weight = (made_by[name] for name in node.input[:2])
        assert (image.op_type, weight.op_type) == ("DequantizeLinear", "DequantizeLinear")
        assert made_by[image.input[0]].op_type == "QuantizeLinear"
        assert kinds[weight.input[0]] == onnx.TensorProto.INT8


@pytest.mark.parametrize(("confused", "share"), [(0, 1.0), (12, 13 / 25), (25, 0.0)])
def test_the_share_matched_counts_descriptors_found_where_the_image_turned(confused: int, share: float) -> None:
    height, width = 128, 160
    x, y = np.meshgrid(np.linspace(50, 110, 5), np.linspace(40, 80, 5))
    first = np.stack([x, y])  # (2, 5, 5)
    turn = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), 10.0, 0.9)
    second = np.tensordot(turn[:, :2], first, 1) + turn[:, 2, None, None]
    calls: list[np.ndarray] = []

    def runtime(images: Sequence[np.ndarray]) -> list[dict[str, np.ndarray]]:
        (image,) = images
        coord = second if calls else first
        channels = np.arange(25)
        if calls:
            channels[:confused] = np.roll(channels[:confused], 5)
        calls.append(image)
        descriptor = np.zeros((25, height, width), np.float32)
        for channel, (u, v) in zip(channels, np.rint(coord.reshape(2, -1).T).astype(int), strict=True):
            descriptor[channel, v - 2 : v + 3, u - 2 : u + 3] = 1
        return [{"score": np.full((5, 5), 0.5, np.float32), "coord": coord, "descriptor": descriptor}]

    assert share_matched(StandInRuntime(runtime), [np.zeros((height, width), np.uint8)]) == pytest.approx(share)


def test_what_cannot_be_exported_is_told(deployed: dict[str, Deployed], tmp_path: Path, pictures: Path) -> None:
    for out, dynamic, message in (
        ("n.pb", False, r"exported files end in \.onnx, \.xml, \.param, \.engine"),
        ("n.param", True, r"only \.onnx and \.xml can be of any size"),
    ):
        with pytest.raises(BackendError, match=message):
            export(deployed["letnet2"], tmp_path / out, SIZE, dynamic=dynamic)
    if find_spec("tensorrt") is None:
        with pytest.raises(BackendError, match="building an engine needs the Python package tensorrt"):
            export(deployed["letnet2"], tmp_path / "n.engine", SIZE)
    with pytest.raises(ConfigError, match="LoFTR does not map one image to what can be followed"):
        deploy(build("loftr"))
    with pytest.raises(ConfigError, match="size must be WIDTHxHEIGHT"):
        read_size("752")
    with pytest.raises(DataError, match="0 images, more than 8 needed"):
        export_network("letnet2", tmp_path / "n.xml", None, "96x64", dynamic=False, int8=tmp_path)
    with pytest.raises(BackendError, match=r"8 bits are for \.xml, \.onnx and one size"):
        export_network("letnet2", tmp_path / "n.param", None, "96x64", dynamic=False, int8=pictures)
    assert not list(tmp_path.iterdir())


def test_an_exported_letnet2_gives_the_feature_map_that_is_tracked(
    deployed: dict[str, Deployed], tmp_path: Path
) -> None:
    export(deployed["letnet2"], tmp_path / "letnet2.xml", SIZE)
    image = np.random.default_rng(0).integers(0, 256, SIZE, dtype=np.uint8)
    runtime = open_runtime("letnet2", tmp_path / "letnet2.xml")
    (maps,) = runtime([image])
    with torch.no_grad():
        expected = deployed["letnet2"](torch.from_numpy(image)[None, None] / 255)[0][0].permute(1, 2, 0).numpy() * 255
    assert (runtime.name, runtime.outputs) == ("openvino", ("feature", "score"))
    assert (maps["feature"].shape, maps["feature"].dtype) == ((*SIZE, 3), np.uint8)  # type: ignore[comparison-overlap]
    assert maps["feature"].flags.c_contiguous
    assert np.abs(maps["feature"] - expected).max() < 0.51
    assert expected.std() > 0.5
    follower = make_follower(TrackerConfig(method="letnet2", weights=str(tmp_path / "letnet2.xml"), equalise="none"))
    assert np.array_equal(follower.prepare([image])[0].compared, maps["feature"])


@pytest.mark.skipif(find_spec("onnxscript") is None, reason="onnxscript is not installed")
def test_onnx_gives_its_maps_by_their_own_names(deployed: dict[str, Deployed], tmp_path: Path) -> None:
    """Beside which OpenVINO finds those of the last operations."""
    export(deployed["superpoint"], tmp_path / "n.onnx", SIZE)
    runtime = open_runtime("superpoint", tmp_path / "n.onnx")
    image = np.random.default_rng(0).integers(0, 256, SIZE, dtype=np.uint8)
    assert runtime.outputs == deployed["superpoint"].outputs
    assert {name: map_.shape for name, map_ in runtime([image])[0].items()} == {
        "score": SIZE,
        "descriptor": (256, SIZE[0] // 8, SIZE[1] // 8),
    }


def says(path: Path, module: DeployedPair, inputs: dict[str, torch.Tensor]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Outputs of an exported pair network and of torch, by name; ONNX Runtime says what OpenVINO does."""
    compiled = ov.Core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    assert [name for port in compiled.inputs for name in port.get_names() if name in inputs] == list(inputs)
    with torch.inference_mode():
        expected = dict(zip(module.outputs, module(**inputs), strict=True))
    found = compiled([value.numpy() for value in inputs.values()])
    session = onnxruntime.InferenceSession(path)
    given = {name: value.numpy() for name, value in inputs.items()}
    for name, value in zip(module.outputs, session.run(module.outputs, given), strict=True):
        np.testing.assert_allclose(value, found[name], rtol=1e-3, atol=1e-5, err_msg=name)
    return {name: (found[name], value.numpy()) for name, value in expected.items()}


@pytest.mark.skipif(find_spec("onnxscript") is None, reason="onnxscript is not installed")
def test_loftr_in_onnx_matches_what_torch_matches(tmp_path: Path) -> None:
    torch.manual_seed(0)
    out, weights = tmp_path / "n.onnx", saved(build("loftr"), tmp_path / "w.safetensors")
    (line,) = export_network("loftr", out, weights, "96x64", dynamic=False, int8=None)
    assert float(line[1].split()[0]) < 1e-4
    module = some(deploy_pair(load("loftr", weights), SIZE))
    random = {name: torch.rand(1, 1, *SIZE) for name in ("image_a", "image_b")}
    found = says(out, module, {**random, "least": torch.tensor([1e-6])})
    assert len(found["confidence"][0]) > 3
    for name, (said, expected) in found.items():
        np.testing.assert_allclose(said, expected, rtol=1e-3, atol=1e-5, err_msg=name)
    none = says(out, module, {**random, "least": torch.tensor([0.99])})
    assert [said.shape for said, _ in none.values()] == [(0, 2), (0, 2), (0,)]


@pytest.mark.skipif(find_spec("onnxscript") is None, reason="onnxscript is not installed")
def test_lightglue_in_onnx_takes_any_number_of_points(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = build("lightglue", size=32, layers=2, heads=2, input_size=16).eval()
    module = some(deploy_pair(network, SIZE))
    assert export_pair(module, tmp_path / "n.onnx", SIZE) < 1e-4
    for counts, least in (((40, 60), -1.0), ((7, 3), -1.0), ((40, 60), 0.99)):
        inputs = {}
        for name, count in zip("ab", counts, strict=True):
            inputs[f"uv_{name}"] = torch.rand(1, count, 2) * 64
            inputs[f"descriptor_{name}"] = torch.nn.functional.normalize(torch.randn(1, count, 16), dim=2)
        found = says(tmp_path / "n.onnx", module, {**inputs, "least": torch.tensor([least])})
        (said, expected), confidence = found["index"], found["confidence"]
        assert np.array_equal(said, expected)
        assert (said >= 0).any() == (least < 0)
        assert np.abs(confidence[0] - confidence[1]).max() < 1e-6
        match: Any = network.match
        assert np.array_equal(said, match(*keypoints(inputs), least, -1.0, -1.0).indices.numpy())


def keypoints(inputs: dict[str, torch.Tensor]) -> list[Keypoints]:
    return [Keypoints(inputs[f"uv_{name}"], inputs[f"descriptor_{name}"], SIZE[::-1]) for name in "ab"]


def test_matchers_are_exported_as_they_are(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = build("lightglue", size=32, layers=1, heads=2)
    given = ("lightglue", tmp_path / "n.onnx", saved(network, tmp_path / "w.safetensors"), "96x64")
    with pytest.raises(BackendError, match="lightglue is exported for images of one size, in full precision"):
        export_network(*given, dynamic=True, int8=None)
    with pytest.raises(BackendError, match=r"is exported to \.onnx alone"):
        export_pair(some(deploy_pair(network, SIZE)), tmp_path / "n.xml", SIZE)


def test_a_file_that_is_no_network_of_images_is_refused(tmp_path: Path) -> None:
    (tmp_path / "torn.onnx").write_bytes(b"torn")
    with pytest.raises(WeightsError, match=r"torn\.onnx: not a network that OpenVINO can read"):
        open_exported(tmp_path / "torn.onnx")
    numbers = ops.parameter([1, 8], np.float32)
    ov.save_model(ov.Model([ops.relu(numbers)], [numbers]), tmp_path / "numbers.xml")
    with pytest.raises(WeightsError, match=r"numbers\.xml: not a network that makes named maps of one image"):
        open_exported(tmp_path / "numbers.xml")


def test_a_network_that_gives_nothing_to_follow_is_refused(tmp_path: Path) -> None:
    image = ops.parameter([1, 1, *SIZE], np.float32)
    model = ov.Model([ops.relu(image)], [image])
    model.outputs[0].get_tensor().set_names({"depth"})
    ov.save_model(model, tmp_path / "depth.xml")
    with pytest.raises(ConfigError, match=r"gives feature, or score and descriptor; .*depth\.xml gives depth"):
        make_follower(TrackerConfig(method="kp2dtiny", weights=str(tmp_path / "depth.xml")))


def test_a_dynamic_conversion_serves_images_of_any_size(deployed: dict[str, Deployed]) -> None:
    model = convert(deployed["kp2dtiny"], None)

    def sized(shape: tuple[int, int]) -> ov.Model:
        fixed = model.clone()
        fixed.reshape([1, 3, *shape])
        return fixed

    runtime = OpenVinoRuntime(deployed["kp2dtiny"].outputs, 3, sized)
    for height, width in ((64, 96), (32, 64)):
        coord = runtime([np.zeros((height, width), np.uint8)])[0]["coord"]
        assert coord.shape == (2, height // 4, width // 4)
        assert coord[0].max() <= width - 1
        assert coord[1].max() <= height - 1
