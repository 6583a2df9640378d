# SPDX-License-Identifier: Apache-2.0
"""Static quantisation after training: an ONNX file whose convolutions compute in 8 bits."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import onnx
import openvino as ov
from onnx import NodeProto, numpy_helper

from letvins_ros.inference.quantise import levels, seen_ranges

_OUTPUT_AXIS = {"Conv": 0, "ConvTranspose": 1}  # of the weights, without groups
_ROUNDED = (*_OUTPUT_AXIS, "LeakyRelu")  # else ONNX Runtime computes convolutions before one in 32 bits
_PEAK = 127
_SUFFIX = "_8bit"


def quantise_onnx(path: Path, images: Iterable[np.ndarray]) -> None:
    """Give convolutions in an ONNX file 8-bit weights, one scale per channel, and activations as seen on these images.

    images are inputs of the model, (1, C, H, W) float 0..1. Each rounding is a QuantizeLinear and a DequantizeLinear,
    which ONNX Runtime and OpenVINO join with the layers between them.
    """
    model = onnx.load(path)
    graph = model.graph
    readers = [node for node in graph.node if node.op_type in _ROUNDED]
    seen = _ranges(path, list(dict.fromkeys(node.input[0] for node in readers)), images)
    rounding = {name: _round_activations(graph, name, *levels(*ends)) for name, ends in seen.items()}  # what reads them
    nodes = [step for given in graph.input for step in rounding.get(given.name, [])]
    weights = {tensor.name: tensor for tensor in graph.initializer}
    for node in readers:
        node.input[0] += _SUFFIX
        if node.op_type in _OUTPUT_AXIS and node.input[1] in weights:
            nodes.append(_round_weights(graph, weights[node.input[1]], _OUTPUT_AXIS[node.op_type]))
            node.input[1] += _SUFFIX
    for node in graph.node:
        nodes += [node, *(step for name in node.output for step in rounding.get(name, []))]
    del graph.node[:]
    graph.node.extend(nodes)
    onnx.checker.check_model(model)
    onnx.save(model, path)


def _ranges(path: Path, names: list[str], images: Iterable[np.ndarray]) -> dict[str, tuple[float, float]]:
    """Least and greatest common value of tensors."""
    model = ov.Core().read_model(path)
    ports = {name: port for node in model.get_ordered_ops() for port in node.outputs() for name in port.get_names()}
    return dict(zip(names, seen_ranges(model, [ports[name] for name in names], images), strict=True))


def _round_activations(graph: onnx.GraphProto, name: str, step: float, zero: int) -> list[NodeProto]:
    scale = [_constant(graph, f"{name}_step", np.float32(step)), _constant(graph, f"{name}_zero", np.uint8(zero))]
    return [
        onnx.helper.make_node("QuantizeLinear", [name, *scale], [f"{name}_levels"]),
        onnx.helper.make_node("DequantizeLinear", [f"{name}_levels", *scale], [name + _SUFFIX]),
    ]


def _round_weights(graph: onnx.GraphProto, tensor: onnx.TensorProto, axis: int) -> NodeProto:
    name, weight = tensor.name, numpy_helper.to_array(tensor)
    others = tuple(i for i in range(weight.ndim) if i != axis)
    step = np.maximum(np.abs(weight).max(axis=others, keepdims=True), 1e-9) / _PEAK
    graph.initializer.remove(tensor)
    inputs = [
        _constant(graph, f"{name}_levels", np.rint(weight / step).astype(np.int8)),
        _constant(graph, f"{name}_step", step.ravel().astype(np.float32)),
        _constant(graph, f"{name}_zero", np.zeros(step.size, np.int8)),
    ]
    return onnx.helper.make_node("DequantizeLinear", inputs, [name + _SUFFIX], axis=axis)


def _constant(graph: onnx.GraphProto, name: str, value: np.ndarray | np.generic) -> str:
    graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))
    return name
