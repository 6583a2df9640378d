# SPDX-License-Identifier: Apache-2.0
"""Networks by TensorRT on an NVIDIA GPU; torch holds the GPU's memory."""

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorrt as trt
import torch

from letvins_ros.inference.onnx_model import write_onnx
from letvins_ros.inference.runtime import BackendError, Maps
from letvins_ros.inference.torch_runtime import finished, to_input
from letvins_ros.networks.deploy import Deployed, DeployedFor, Folded
from letvins_ros.networks.folding import Conv
from letvins_ros.weights import WeightsError

Size = tuple[int, int]  # height, width
_LOGGER = trt.Logger(trt.Logger.ERROR)


def open_on_gpu(deployed_for: DeployedFor) -> "TensorRtRuntime":
    """Run on the first GPU; an engine is built for every size of image, which takes seconds to minutes."""

    def engine_for(shape: tuple[int, ...]) -> Engine:
        deployed = deployed_for(shape[2] if len(shape) == 3 else 1)
        return Engine(build(deployed, (shape[0], shape[1])), deployed.white)

    return TensorRtRuntime(deployed_for(1).outputs, engine_for)


def open_exported(path: Path) -> "TensorRtRuntime":
    """Open an exported engine; WeightsError if it is none of this machine."""
    if not path.is_file():
        raise WeightsError(f"{path}: no such exported network")
    try:
        engine = Engine(path.read_bytes(), Deployed.white)
    except WeightsError as error:
        raise WeightsError(f"{path}: {error}") from error
    height, width = engine.size

    def engine_for(shape: tuple[int, ...]) -> Engine:
        if shape[:2] != engine.size:
            raise WeightsError(f"{path}: exported for images of {width}x{height}, not {shape[1]}x{shape[0]}")
        return engine

    return TensorRtRuntime(engine.outputs, engine_for)


class TensorRtRuntime:
    """A network by TensorRT; a Runtime."""

    name = "tensorrt"

    def __init__(self, outputs: tuple[str, ...], engine_for: Callable[[tuple[int, ...]], "Engine"]) -> None:
        """engine_for: by the shape of an image, (H, W) or (H, W, 3)."""
        self.outputs, self._engine_for = outputs, engine_for
        self._engines: dict[tuple[int, ...], Engine] = {}

    def __call__(self, images: Sequence[np.ndarray]) -> list[Maps]:
        """See Runtime."""
        return [self._map(image) for image in images]

    def _map(self, image: np.ndarray) -> Maps:
        if image.shape not in self._engines:
            self._engines[image.shape] = self._engine_for(image.shape)
        return self._engines[image.shape](image)


class Engine:
    """An engine with memory for one image."""

    device = torch.device("cuda")

    def __init__(self, serialised: bytes, white: float) -> None:
        """white: what 255 of an image becomes. Raises WeightsError for what is no engine of this machine."""
        self._engine = trt.Runtime(_LOGGER).deserialize_cuda_engine(serialised)
        if self._engine is None:
            raise WeightsError(f"not an engine that TensorRT {trt.__version__} can run on this GPU")
        self._context, self._white = self._engine.create_execution_context(), white
        names = [self._engine.get_tensor_name(i) for i in range(self._engine.num_io_tensors)]
        self._memory = {name: self._allocate(name) for name in names}
        (self._input,) = (name for name in names if self._engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT)
        self.outputs = tuple(name for name in names if name != self._input)
        _, self._channels, height, width = self._memory[self._input].shape
        self.size: Size = (height, width)

    def _allocate(self, name: str) -> torch.Tensor:
        memory = torch.empty(tuple(self._engine.get_tensor_shape(name)), dtype=torch.float32, device=self.device)
        self._context.set_tensor_address(name, memory.data_ptr())
        return memory

    @torch.inference_mode()
    def __call__(self, image: np.ndarray) -> Maps:
        """Maps of a uint8 image of the engine's size."""
        self._memory[self._input].copy_(to_input(image, self._channels, self._white, self.device))
        if not self._context.execute_async_v3(self._stream()):
            raise BackendError(f"TensorRT {trt.__version__} could not run the network")
        # the memory is written to again, and a copy to the CPU may be none
        return finished(self.outputs, [self._memory[name].clone() for name in self.outputs])

    def _stream(self) -> int:
        return torch.cuda.current_stream().cuda_stream


def build(deployed: Deployed, size: Size) -> bytes:
    """Serialised engine from (1, C, H, W) float to the network's maps, for this machine's GPU; BackendError.

    It computes in FP16 where the network bears it: pixels of a wide image would else be rounded to halves.
    """
    builder = trt.Builder(_LOGGER)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.EXPLICIT_BATCH))
    if isinstance(deployed, Folded):
        _add_convolutions(network, deployed.layers, (1, deployed.channels, *size))
    else:
        _add_by_onnx(network, deployed, size)
    config = builder.create_builder_config()
    if deployed.precision == "f16":
        config.set_flag(trt.BuilderFlag.FP16)
    engine = builder.build_serialized_network(network, config)
    if engine is None:
        raise BackendError(f"TensorRT {trt.__version__} could not build the network for {size[1]}x{size[0]} images")
    return bytes(engine)


def _add_by_onnx(network: Any, deployed: Deployed, size: Size) -> None:
    with tempfile.TemporaryDirectory() as folder:
        onnx = Path(folder) / "network.onnx"
        write_onnx(deployed, onnx, size)
        parser = trt.OnnxParser(network, _LOGGER)
        if not parser.parse(onnx.read_bytes()):
            raise BackendError(f"TensorRT {trt.__version__} cannot read the network: {parser.get_error(0)}")


def _add_convolutions(network: Any, layers: list[Conv], shape: tuple[int, int, int, int]) -> None:
    """From `image` to `feature`, without ONNX."""
    x = network.add_input("image", trt.float32, shape)
    for layer in layers:
        if layer is not layers[0]:
            x = network.add_activation(x, trt.ActivationType.RELU).get_output(0)
        weight = np.ascontiguousarray(layer.weight)
        step = network.add_convolution_nd(
            x, len(layer.bias), weight.shape[2:], trt.Weights(weight), trt.Weights(layer.bias)
        )
        step.padding_nd = (layer.padding, layer.padding)
        x = step.get_output(0)
    x = network.add_activation(x, trt.ActivationType.SIGMOID).get_output(0)
    x.name = "feature"
    network.mark_output(x)
