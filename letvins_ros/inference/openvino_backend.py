# SPDX-License-Identifier: Apache-2.0
"""LET-NET2 on the CPU by OpenVINO, built from numpy weights: neither torch nor an ONNX file is needed."""

import numpy as np
import openvino as ov
from openvino import opset13 as ops

from letvins_ros.inference.backend import Run
from letvins_ros.networks.folding import Conv

_CONFIG = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 2}


def compile_for(layers: list[Conv], shape: tuple[int, int, int]) -> Run:
    """Compile for (H, W, C) images."""
    request = ov.Core().compile_model(_model(layers, shape), "CPU", _CONFIG).create_infer_request()

    def run(image: np.ndarray) -> np.ndarray:
        request.infer([image[None]], share_inputs=True)
        feature_map: np.ndarray = request.get_output_tensor().data[0]
        return feature_map.copy()  # the request writes to the same memory next time

    return run


def _model(layers: list[Conv], shape: tuple[int, int, int]) -> ov.Model:
    """Graph from (1, H, W, C) uint8 to (1, H, W, 3) uint8."""
    image = ops.parameter([1, *shape], np.uint8)
    x = ops.transpose(ops.convert(image, np.float32), [0, 3, 1, 2])
    for layer in layers:
        pad = [layer.padding, layer.padding]
        x = ops.relu(x) if layer is not layers[0] else x
        x = ops.convolution(x, layer.weight, [1, 1], pad, pad, [1, 1])
        x = ops.add(x, layer.bias.reshape(1, -1, 1, 1))
    x = ops.round(ops.multiply(ops.sigmoid(x), np.float32(255)))
    return ov.Model([ops.transpose(ops.convert(x, np.uint8), [0, 2, 3, 1])], [image])
