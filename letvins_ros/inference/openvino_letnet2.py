# SPDX-License-Identifier: Apache-2.0
"""LET-NET2 on the CPU by OpenVINO, in 8 bits, built from numpy weights: neither torch nor an ONNX file is needed."""

from collections.abc import Callable, Sequence
from functools import cache

import numpy as np
import openvino as ov
from openvino import Node
from openvino import opset13 as ops

from letvins_ros.inference.pixel_packing import scale_activations, side_by_side, strided
from letvins_ros.inference.runtime import Maps, as_map, threads
from letvins_ros.networks.folding import Conv

Run = Callable[[Sequence[np.ndarray]], list[np.ndarray]]  # each (H, W, C) uint8 -> (H, W, F) uint8


class LetNet2Runtime:
    """LET-NET2 by OpenVINO: its feature maps; a Runtime."""

    name = "openvino"
    outputs: tuple[str, ...] = ("feature",)

    def __init__(self, fold: Callable[[int], list[Conv]]) -> None:
        """fold: the convolutions for images of so many channels."""
        self._fold = fold
        self._runs: dict[tuple[int, ...], Run] = {}

    def __call__(self, images: Sequence[np.ndarray]) -> list[Maps]:
        """See Runtime."""
        if len({image.shape for image in images}) > 1:
            return [self([image])[0] for image in images]
        if not images:
            return []
        run = self._run_for(images[0].shape)
        maps = run([image.reshape(*image.shape[:2], -1) for image in images])
        return [{"feature": as_map("feature", map_[None])} for map_ in maps]

    def _run_for(self, shape: tuple[int, ...]) -> Run:
        if shape not in self._runs:
            height, width, channels = (*shape, 1)[:3]
            self._runs[shape] = _compile(self._fold(channels), (height, width, channels))
        return self._runs[shape]


def _compile(layers: list[Conv], shape: tuple[int, int, int]) -> Run:
    """Compile for (H, W, C) images; one that comes alone is cut into two strips, so that it has both threads too."""
    height = shape[0]
    seen = sum(layer.padding for layer in layers)  # rows to either side that a pixel of the map depends on
    half = (height + 1) // 2
    strip = half + seen
    streams = cache(lambda rows: _streams(layers, (rows, *shape[1:])))

    def run(images: Sequence[np.ndarray]) -> list[np.ndarray]:
        if len(images) > 1 or strip >= height:
            return streams(height)(images)
        upper, lower = streams(strip)([images[0][:strip], images[0][-strip:]])
        return [np.concatenate([upper[:half], lower[half - height :]])]

    return run


def _streams(layers: list[Conv], shape: tuple[int, int, int]) -> Run:
    # a stream a thread, for two images or strips: threads within one would wait for each other
    config = {"NUM_STREAMS": threads(), "INFERENCE_NUM_THREADS": threads(), "INFERENCE_PRECISION_HINT": "f32"}
    compiled = ov.Core().compile_model(_model(layers, shape), "CPU", config)
    requests: list[ov.InferRequest] = []

    def run(images: Sequence[np.ndarray]) -> list[np.ndarray]:
        while len(requests) < len(images):
            requests.append(compiled.create_infer_request())
        for request, image in zip(requests, images, strict=False):
            request.start_async([image[None]], share_inputs=True)
        return [_result(request) for request in requests[: len(images)]]

    return run


def _result(request: ov.InferRequest) -> np.ndarray:
    request.wait()
    feature_map: np.ndarray = request.get_output_tensor().data[0]
    return feature_map.copy()  # the request writes to the same memory next time


def _model(layers: list[Conv], shape: tuple[int, int, int]) -> ov.Model:
    """Graph from (1, H, W, C) uint8 to (1, H, W, F) uint8; see `pixel_packing` for why several pixels at once."""
    height, width, _ = shape
    step, head_step = (2, 8) if width % 8 == 0 else (1, 1)
    first, second, third, last = scale_activations(layers)
    image = ops.parameter([1, *shape], np.uint8)
    x = _to_nchw(_eight_bit(ops.convert(image, np.float32), 255))
    x = _hidden(x, strided(first, step), step)
    x = _to_nchw(ops.reshape(_to_nhwc(x), [1, height, width, len(first.bias)], False))
    x = _hidden(x, strided(second, step), step)
    x = _hidden(x, side_by_side(third, step), 1)
    x = _to_nchw(ops.reshape(_to_nhwc(x), [1, height, width // head_step, head_step * len(third.bias)], False))
    x = ops.sigmoid(_to_nhwc(_convolve(x, side_by_side(last, head_step), 1)))
    x = ops.convert(ops.round(ops.multiply(x, np.float32(255))), np.uint8)
    return ov.Model([ops.reshape(x, [1, height, width, len(last.bias)], False)], [image])


def _hidden(x: Node, layer: Conv, stride: int) -> Node:
    return _eight_bit(ops.relu(_convolve(x, layer, stride)), 1)


def _convolve(x: Node, layer: Conv, stride: int) -> Node:
    """Convolve with int8 weights, a scale per output channel."""
    peak = np.abs(layer.weight).max(axis=(1, 2, 3), keepdims=True)
    scale = np.maximum(peak, 1e-12) / np.float32(127)
    weight = ops.multiply(ops.convert(np.rint(layer.weight / scale).astype(np.int8), np.float32), scale)
    pad = [layer.padding, layer.padding]
    return ops.add(ops.convolution(x, weight, [1, stride], pad, pad, [1, 1]), layer.bias.reshape(1, -1, 1, 1))


def _eight_bit(x: Node, peak: float) -> Node:
    """Declare 0..peak in 256 levels; OpenVINO then computes in 8 bits where the CPU can."""
    low, high = np.float32(0), np.float32(peak)
    return ops.fake_quantize(x, low, high, low, high, 256)


def _to_nchw(x: Node) -> Node:
    return ops.transpose(x, [0, 3, 1, 2])


def _to_nhwc(x: Node) -> Node:
    return ops.transpose(x, [0, 2, 3, 1])
