# SPDX-License-Identifier: Apache-2.0
"""LET-NET2 on an NVIDIA GPU by TensorRT, built from numpy weights when it is opened; torch holds the GPU memory."""

import numpy as np
import tensorrt as trt
import torch

from letvins_ros.inference.backend import BackendError, Run
from letvins_ros.networks.folding import Conv

_LOGGER = trt.Logger(trt.Logger.ERROR)


def compile_for(layers: list[Conv], shape: tuple[int, int, int]) -> Run:
    """Build an FP16 engine for (H, W, C) images; takes some seconds."""
    height, width, channels = shape
    engine = trt.Runtime(_LOGGER).deserialize_cuda_engine(_build(layers, shape))
    context = engine.create_execution_context()
    source = torch.empty((1, channels, height, width), dtype=torch.float32, device="cuda")
    target = torch.empty((1, len(layers[-1].bias), height, width), dtype=torch.float32, device="cuda")
    context.set_tensor_address("image", source.data_ptr())
    context.set_tensor_address("feature", target.data_ptr())

    def run_one(image: np.ndarray) -> np.ndarray:
        source.copy_(torch.from_numpy(np.ascontiguousarray(image)).cuda().permute(2, 0, 1)[None])
        context.execute_async_v3(torch.cuda.current_stream().cuda_stream)
        feature_map: np.ndarray = (
            target[0].mul(255).round_().to(torch.uint8).permute(1, 2, 0).contiguous().cpu().numpy()
        )
        return feature_map

    return lambda images: [run_one(image) for image in images]


def _build(layers: list[Conv], shape: tuple[int, int, int]) -> bytes:
    """Serialised engine from (1, C, H, W) float 0..255 to (1, F, H, W) float 0..1."""
    height, width, channels = shape
    builder = trt.Builder(_LOGGER)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.EXPLICIT_BATCH))
    x = network.add_input("image", trt.float32, (1, channels, height, width))
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
    config = builder.create_builder_config()
    config.set_flag(trt.BuilderFlag.FP16)
    engine = builder.build_serialized_network(network, config)
    if engine is None:
        raise BackendError(f"TensorRT {trt.__version__} could not build the network for {width}x{height} images")
    return bytes(engine)
