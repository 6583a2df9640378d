# SPDX-License-Identifier: Apache-2.0
"""Static quantisation after training: an OpenVINO model whose convolutions compute in 8 bits."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import openvino as ov
from openvino import opset13 as ops

_CONVOLUTIONS = ("Convolution", "GroupConvolution", "ConvolutionBackpropData")
_MOVES = ("MaxPool", "Concat", "DepthToSpace", "Transpose", "Reshape")  # change no value, so they can follow rounding
_LEVELS = 256
_RARE = 0.01  # %, of values on either side that may be clipped
_SEEN = 20000  # values of a map that are looked at, in every image


def quantise(model: ov.Model, images: Iterable[np.ndarray]) -> ov.Model:
    """Copy a model with 8-bit weights, one scale per channel, and activations with the ranges seen on these images.

    images are inputs of the model, (1, C, H, W) float 0..1; some dozens of the kind that it will see.
    """
    model = model.clone()
    convolutions = [node for node in model.get_ordered_ops() if node.get_type_name() in _CONVOLUTIONS]
    sources: dict[tuple[str, int], Any] = {}
    for node in convolutions:
        for output in _origins(node.input_value(0)):
            sources[output.get_node().get_friendly_name(), output.get_index()] = output
    ranges = seen_ranges(model, list(sources.values()), images)
    for output, (low, high) in zip(sources.values(), ranges, strict=True):
        _round_activations(output, low, high)
    for node in convolutions:
        _round_weights(node)
    model.validate_nodes_and_infer_types()
    return model


def _origins(output: Any) -> list[Any]:
    """Where the values of an output are computed, behind what only moves them."""
    node = output.get_node()
    if node.get_type_name() not in _MOVES:
        return [output]
    count = node.get_input_size() if node.get_type_name() == "Concat" else 1
    return [origin for i in range(count) for origin in _origins(node.input_value(i))]


def seen_ranges(model: ov.Model, outputs: list[Any], images: Iterable[np.ndarray]) -> list[tuple[float, float]]:
    """Least and greatest common value of each output."""
    probe = ov.Model(outputs, model.get_parameters(), "probe")
    compiled = ov.Core().compile_model(probe, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    request = compiled.create_infer_request()
    seen: list[list[np.ndarray]] = [[] for _ in outputs]
    for image in images:
        request.infer([image])
        for values, port in zip(seen, compiled.outputs, strict=True):
            flat = request.get_tensor(port).data.ravel()
            values.append(np.percentile(flat[:: max(len(flat) // _SEEN, 1)], [_RARE, 100 - _RARE]))
    extremes = [np.array(values) for values in seen]
    return [(float(e[:, 0].min()), float(e[:, 1].max())) for e in extremes]


def _round_activations(output: Any, low: float, high: float) -> None:
    """Let everybody that reads the output read it in 256 levels."""
    readers = list(output.get_target_inputs())
    step, zero = levels(low, high)
    ends = np.float32(-zero * step), np.float32((_LEVELS - 1 - zero) * step)
    rounded = ops.fake_quantize(output, *ends, *ends, _LEVELS)
    for reader in readers:
        reader.replace_source_output(rounded.output(0))


def levels(low: float, high: float) -> tuple[float, int]:
    """Distance of 256 levels that cover a range, and which of them is zero, as the padding must be exactly."""
    low, high = min(low, 0.0), max(high, low + 1e-6, 1e-6)
    zero = round(-low / (high - low) * (_LEVELS - 1))
    step = max(high / (_LEVELS - 1 - zero) if zero < _LEVELS - 1 else 0.0, -low / zero if zero else 0.0)
    return step, zero


def _round_weights(node: Any) -> None:
    """Replace the weights by int8 ones with a scale for each channel that they compute."""
    constant = node.input_value(1).get_node()
    if constant.get_type_name() != "Constant":
        return  # computed while it runs
    weight = constant.get_data().astype(np.float32)
    axis = 1 if node.get_type_name() == "ConvolutionBackpropData" else 0
    others = tuple(i for i in range(weight.ndim) if i != axis and not (_is_grouped(node) and i == 1))
    peak = np.maximum(np.abs(weight).max(axis=others, keepdims=True), 1e-9)
    rounded = ops.fake_quantize(constant.output(0), -peak, peak, -peak, peak, _LEVELS - 1)
    node.input(1).replace_source_output(rounded.output(0))


def _is_grouped(node: Any) -> bool:
    return str(node.get_type_name()) == "GroupConvolution"
