# SPDX-License-Identifier: Apache-2.0
"""Networks by OpenVINO on the CPU: those of torch, converted, and exported files, which need no torch."""

import hashlib
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import openvino as ov
from openvino import opset13 as ops
from openvino.preprocess import PrePostProcessor

from letvins_ros.inference.runtime import MAPS, SMALLER, Maps, as_map, give_back, threads, with_channels
from letvins_ros.weights import WeightsError

if TYPE_CHECKING:
    from letvins_ros.networks.deploy import Deployed, DeployedFor

Size = tuple[int, int]  # height, width
CHECKSUM = ["letvins", "weights_sha256"]  # in an exported .xml, of the .bin beside it
_DESCRIPTORS = ("descriptor", *SMALLER)
_LAST_CHANNELS = (*_DESCRIPTORS, "feature")  # maps that OpenVINO gives as (1, h, w, C), which spares a turn


class OpenVinoRuntime:
    """A model by OpenVINO on the CPU, compiled once for every size of image; a Runtime."""

    name = "openvino"

    def __init__(
        self, outputs: tuple[str, ...], channels: int, model_for: Callable[[Size], ov.Model], precision: str = "f32"
    ) -> None:
        """model_for: from (1, channels, H, W) in 0..1. precision: f32, or bf16 where the CPU has it."""
        self.outputs = outputs
        self._channels, self._model_for, self._precision = channels, model_for, precision
        self._requests: dict[tuple[int, ...], ov.InferRequest] = {}

    def __call__(self, images: Sequence[np.ndarray]) -> list[Maps]:
        """See Runtime."""
        return [self._map(with_channels(image, self._channels)) for image in images]

    def _map(self, image: np.ndarray) -> Maps:
        if image.shape not in self._requests:
            model = self._model_for((image.shape[0], image.shape[1]))
            self._requests[image.shape] = _compile(model, self._precision)
            give_back()
        request = self._requests[image.shape]
        request.infer([image[None]], share_inputs=True)
        maps = {_name(port): request.get_tensor(port).data.copy() for port in request.model_outputs}
        for name in set(_DESCRIPTORS) & set(maps):
            maps[name] = maps[name].transpose(0, 3, 1, 2)
        return {name: as_map(name, map_) for name, map_ in maps.items()}


def open_deployed(deployed_for: "DeployedFor") -> OpenVinoRuntime:
    """Convert a network of torch, once for every size of image."""
    deployed = deployed_for(1)
    precision = "bf16" if deployed.precision == "bf16" else "f32"
    return OpenVinoRuntime(deployed.outputs, deployed.channels, lambda size: convert(deployed, size), precision)


def open_exported(path: Path) -> OpenVinoRuntime:
    """Open an exported network (.xml, .onnx); WeightsError if it is none."""
    if not path.is_file():
        raise WeightsError(f"{path}: no such exported network")
    try:
        model = ov.Core().read_model(path)
    except RuntimeError as error:
        raise WeightsError(f"{path}: not a network that OpenVINO can read ({str(error).splitlines()[0]})") from error
    if model.has_rt_info(CHECKSUM) and model.get_rt_info(CHECKSUM).astype(str) != checksum(path.with_suffix(".bin")):
        raise WeightsError(f"{path}: {path.stem}.bin is of another export; export the network again")
    shapes = [port.get_partial_shape() for port in model.inputs]
    if len(shapes) != 1 or len(shapes[0]) != 4 or not all(port.get_names() for port in model.outputs):
        raise WeightsError(f"{path}: not a network that makes named maps of one image")
    outputs = tuple(_name(port) for port in model.outputs)
    channels, *sides = shapes[0][1:]

    def model_for(size: Size) -> ov.Model:
        if any(side.is_static and side.get_length() != wanted for side, wanted in zip(sides, size, strict=True)):
            height, width = sides
            raise WeightsError(f"{path}: exported for images of {width}x{height}, not {size[1]}x{size[0]}")
        fixed = model.clone()
        fixed.reshape([1, channels.get_length(), *size])
        return fixed

    return OpenVinoRuntime(outputs, channels.get_length(), model_for)


def checksum(path: Path) -> str:
    """SHA-256 of a file's content."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def convert(deployed: "Deployed", size: Size | None) -> ov.Model:
    """Make an OpenVINO model of (1, C, H, W) float 0..1, of this (height, width) or of any size; torch is needed."""
    import torch

    shape = [1, deployed.channels, *(size or (-1, -1))]
    example = torch.rand(1, deployed.channels, *(size or (64, 96)))
    with warnings.catch_warnings():  # OpenVINO traces, which torch calls old-fashioned
        warnings.simplefilter("ignore")
        model = ov.convert_model(deployed, example_input=example, input=[ov.PartialShape(shape)])
    model.inputs[0].get_tensor().set_names({"image"})
    for port, name in zip(model.outputs, deployed.outputs, strict=True):
        port.get_tensor().set_names({name})
    return model


def _compile(model: ov.Model, precision: str) -> ov.InferRequest:
    """Inference request that takes (1, H, W, C) uint8 and gives features as uint8."""
    steps = PrePostProcessor(model)
    steps.input().tensor().set_element_type(ov.Type.u8).set_layout(ov.Layout("NHWC"))
    steps.input().model().set_layout(ov.Layout("NCHW"))
    steps.input().preprocess().convert_element_type(ov.Type.f32).scale(255.0)
    for name in {_name(port) for port in model.outputs} & set(_LAST_CHANNELS):
        steps.output(name).model().set_layout(ov.Layout("NCHW"))
        if name == "feature":
            steps.output(name).postprocess().custom(_to_levels)
        steps.output(name).tensor().set_layout(ov.Layout("NHWC"))
    core = ov.Core()
    if precision == "bf16" and "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        precision = "f32"  # OpenVINO would emulate it, at a fifth of the speed
    config = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": threads(), "INFERENCE_PRECISION_HINT": precision}
    return core.compile_model(steps.build(), "CPU", config).create_infer_request()


def _name(port: Any) -> str:
    """The name of a map, which in ONNX may stand beside that of the operation that makes it."""
    names = sorted(port.get_names())
    return next((name for name in names if name in MAPS), names[0])


def _to_levels(output: Any) -> Any:
    """0..1 as 0..255 in uint8."""
    return ops.convert(ops.round(ops.multiply(output, np.float32(255))), np.uint8).output(0)
