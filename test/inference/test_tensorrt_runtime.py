# SPDX-License-Identifier: Apache-2.0
"""What needs no GPU of TensorRT's runtime: a library of the same calls, which computes on the CPU, stands in for it."""

import ctypes
import sys
from collections.abc import Iterator, Sequence
from importlib import import_module
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import openvino as ov
import pytest
import torch
from torch.nn import functional

from letvins_ros.inference import BackendError, opening
from letvins_ros.inference.runtime import MAPS
from letvins_ros.inference.torch_runtime import open_on_cpu
from letvins_ros.networks import build as build_network
from letvins_ros.networks import fold_of
from letvins_ros.networks.deploy import Folded, deploy
from letvins_ros.weights import LETNET2_GRAY, WeightsError, load_weights

from ..some import some

SIZE = (32, 48)
INPUT, OUTPUT = "input", "output"


class Network:
    """Layers as they are added: each takes what the one before it made."""

    def __init__(self) -> None:
        self.steps, self.inputs, self.outputs, self.onnx = list[Any](), dict[str, Any](), dict[str, Any](), b""

    def add_input(self, name: str, kind: object, shape: Sequence[int]) -> SimpleNamespace:
        self.inputs[name] = tuple(shape)
        return SimpleNamespace(name=name, layers=[])

    def _layer(self, before: SimpleNamespace, **about: Any) -> SimpleNamespace:
        layer = SimpleNamespace(**about)
        layer.get_output = lambda _: SimpleNamespace(name="", layers=[*before.layers, layer])
        return layer

    def add_activation(self, before: SimpleNamespace, kind: str) -> SimpleNamespace:
        return self._layer(before, apply={"relu": torch.relu, "sigmoid": torch.sigmoid}[kind])

    def add_convolution_nd(
        self, before: SimpleNamespace, count: int, sides: Sequence[int], weight: Any, bias: Any
    ) -> SimpleNamespace:
        assert weight.shape[0] == count and weight.shape[2:] == tuple(sides)
        layer = self._layer(before)
        weight, bias = torch.from_numpy(weight), torch.from_numpy(bias)
        layer.apply = lambda x: functional.conv2d(x, weight, bias, padding=layer.padding_nd)
        return layer

    def mark_output(self, last: SimpleNamespace) -> None:
        self.outputs[last.name] = last.layers

    def run(self, image: np.ndarray) -> dict[str, np.ndarray]:
        """All outputs by name."""
        if self.onnx:
            exact = {"INFERENCE_PRECISION_HINT": "f32"}
            compiled = ov.Core().compile_model(ov.Core().read_model(self.onnx, b""), "CPU", exact)
            return {(port.get_names() & set(MAPS)).pop(): value for port, value in compiled([image]).items()}
        found = {}
        for name, layers in self.outputs.items():
            x = torch.from_numpy(image)
            for layer in layers:
                x = layer.apply(x)
            found[name] = x.numpy()
        return found


class Engine:
    def __init__(self, network: Any) -> None:
        self.network = network
        (self.image,) = network.inputs.items() or [("image", network.shape)]
        self.shapes = dict([self.image]) | {
            name: map_.shape for name, map_ in network.run(np.zeros(self.image[1], np.float32)).items()
        }
        self.num_io_tensors = len(self.shapes)

    def get_tensor_name(self, i: int) -> str:
        return list(self.shapes)[i]

    def get_tensor_mode(self, name: str) -> str:
        return INPUT if name == self.image[0] else OUTPUT

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return self.shapes[name]

    def create_execution_context(self) -> "Context":
        return Context(self)


class Context:
    works = True

    def __init__(self, engine: Any) -> None:
        self.engine, self.addresses = engine, dict[str, Any]()

    def set_tensor_address(self, name: str, address: int) -> None:
        self.addresses[name] = address

    def _at(self, name: str) -> np.ndarray:
        """The memory that was given for a tensor."""
        shape = self.engine.shapes[name]
        memory = (ctypes.c_float * int(np.prod(shape))).from_address(self.addresses[name])
        return np.ctypeslib.as_array(memory).reshape(shape)

    def execute_async_v3(self, stream: int) -> bool:
        for name, map_ in self.engine.network.run(self._at(self.engine.image[0]).copy()).items():
            self._at(name)[:] = map_
        return self.works


def stand_in() -> Any:
    """A module with the calls of TensorRT that are used."""
    trt: Any = ModuleType("tensorrt")
    built: list[Any] = []

    class Builder:
        def __init__(self, logger: object) -> None:
            pass

        def create_network(self, flags: int) -> Network:
            return Network()

        def create_builder_config(self) -> SimpleNamespace:
            return SimpleNamespace(set_flag=trt.flags.add)

        def build_serialized_network(self, network: Any, config: object) -> bytes | None:
            built.append(network)
            return None if trt.refuses else str(len(built) - 1).encode()

    class OnnxParser:
        def __init__(self, network: Any, logger: object) -> None:
            self.network = network

        def parse(self, onnx: bytes) -> bool:
            self.network.onnx = onnx
            self.network.shape = tuple(ov.Core().read_model(onnx, b"").inputs[0].shape)
            return not trt.refuses

        def get_error(self, i: int) -> str:
            return "no such layer"

    def deserialise(serialised: bytes) -> Any:
        return Engine(built[int(serialised)]) if serialised.isdigit() else None

    trt.Logger = type("Logger", (), {"ERROR": 0, "__init__": lambda self, level: None})
    trt.Runtime = lambda logger: SimpleNamespace(deserialize_cuda_engine=deserialise)
    trt.Builder, trt.OnnxParser, trt.Weights, trt.float32 = Builder, OnnxParser, lambda array: array, "float32"
    trt.NetworkDefinitionCreationFlag = SimpleNamespace(EXPLICIT_BATCH=0)
    trt.BuilderFlag, trt.TensorIOMode = SimpleNamespace(FP16="fp16"), SimpleNamespace(INPUT=INPUT)
    trt.ActivationType = SimpleNamespace(RELU="relu", SIGMOID="sigmoid")
    trt.__spec__ = ModuleSpec("tensorrt", None)  # torch asks for it
    trt.__version__, trt.refuses, trt.flags = "0", False, set()
    return trt


@pytest.fixture
def trt(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    module, name = stand_in(), "letvins_ros.inference.tensorrt_runtime"
    monkeypatch.setitem(sys.modules, "tensorrt", module)
    monkeypatch.delitem(sys.modules, name, raising=False)
    module.runtime = import_module(name)
    monkeypatch.setattr(module.runtime.Engine, "device", torch.device("cpu"))
    monkeypatch.setattr(module.runtime.Engine, "_stream", lambda self: 0)
    yield module
    del sys.modules[name]


def images(*shapes: tuple[int, ...]) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, shape, dtype=np.uint8) for shape in shapes]


def test_letnet2_is_built_layer_by_layer_and_gives_what_torch_gives(trt: Any) -> None:
    fold, state = some(fold_of("letnet2")), load_weights(LETNET2_GRAY)
    for_channels = lambda channels: Folded(fold(state, channels))  # noqa: E731
    runtime, asked = trt.runtime.open_on_gpu(for_channels), images(SIZE, (*SIZE, 3), (24, 32), SIZE)
    assert (runtime.name, runtime.outputs) == ("tensorrt", ("feature",))
    for got, expected in zip(runtime(asked), open_on_cpu(for_channels)(asked), strict=True):
        assert got["feature"].std() > 1
        np.testing.assert_array_equal(got["feature"], expected["feature"])
    assert trt.flags == {"fp16"}


@pytest.mark.skipif(find_spec("onnxscript") is None, reason="onnxscript is not installed")
@pytest.mark.parametrize(("name", "with_place"), [("superpoint", False), ("kp2dtiny", True)])
def test_other_networks_go_by_onnx_and_in_full_precision(trt: Any, name: str, with_place: bool) -> None:
    torch.manual_seed(0)
    deployed = deploy(build_network(name).eval(), with_place=with_place)
    runtime, asked = trt.runtime.open_on_gpu(lambda _: deployed), images(SIZE, SIZE)
    kept = runtime(asked)
    for got, expected in zip(kept, open_on_cpu(lambda _: deployed)(asked), strict=True):
        assert list(got) == list(deployed.outputs)
        for map_name, map_ in expected.items():
            np.testing.assert_allclose(got[map_name], map_, atol=1e-4 * np.abs(map_).max())
    assert not np.array_equal(kept[0]["score"], kept[1]["score"])  # each has memory of its own
    assert not trt.flags


def test_an_exported_engine_is_of_one_size(trt: Any, tmp_path: Path) -> None:
    folded = Folded(some(fold_of("letnet2"))(load_weights(LETNET2_GRAY), 1))
    folded.white = 1.0  # what an exported network takes
    (tmp_path / "n.engine").write_bytes(trt.runtime.build(folded, SIZE))
    runtime = trt.runtime.open_exported(tmp_path / "n.engine")
    assert runtime(images(SIZE))[0]["feature"].shape == SIZE
    assert runtime(images((*SIZE, 3)))[0]["feature"].shape == SIZE
    with pytest.raises(WeightsError, match=r"n\.engine: exported for images of 48x32, not 32x24"):
        runtime(images((24, 32)))


def test_what_tensorrt_refuses_is_said(trt: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folded = Folded(some(fold_of("letnet2"))(load_weights(LETNET2_GRAY), 1))
    runtime = trt.runtime.open_on_gpu(lambda _: folded)
    runtime(images(SIZE))
    monkeypatch.setattr(Context, "works", False)
    with pytest.raises(BackendError, match="TensorRT 0 could not run the network"):
        runtime(images(SIZE))
    trt.refuses = True
    with pytest.raises(BackendError, match="could not build the network for 48x32 images"):
        trt.runtime.build(folded, SIZE)
    (tmp_path / "torn.engine").write_bytes(b"torn")
    with pytest.raises(WeightsError, match=r"torn\.engine: not an engine that TensorRT 0 can run on this GPU"):
        trt.runtime.open_exported(tmp_path / "torn.engine")
    with pytest.raises(WeightsError, match="no such exported network"):
        trt.runtime.open_exported(tmp_path / "none.engine")


@pytest.mark.parametrize(
    ("network", "installed", "gpu", "name"),
    [
        ("letnet2", {"tensorrt", "torch", "openvino"}, True, "tensorrt"),
        ("superpoint", {"tensorrt", "torch", "openvino"}, True, "torch-cuda"),  # there is no ONNX to build an engine of
        ("superpoint", {"tensorrt", "torch", "openvino", "onnxscript"}, True, "tensorrt"),
        ("superpoint", {"tensorrt", "torch", "openvino", "onnxscript"}, False, "openvino"),
        ("superpoint", {"torch"}, False, "torch"),
        ("letnet2", {"openvino"}, True, "openvino"),
    ],
)
def test_auto_takes_the_first_that_can_run_the_network(
    monkeypatch: pytest.MonkeyPatch, network: str, installed: set[str], gpu: bool, name: str
) -> None:
    monkeypatch.setattr(opening, "find_spec", lambda package: package in installed or None)
    monkeypatch.setattr(opening, "_has_gpu", lambda: gpu)
    taken = []
    monkeypatch.setattr(opening, "_open", lambda name, deployed_for: taken.append(name))
    runtime = opening.open_runtime(network)
    assert taken == ([] if runtime else [name])
    assert runtime is None or runtime.name == name
