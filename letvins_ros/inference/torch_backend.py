# SPDX-License-Identifier: Apache-2.0
"""LET-NET2 by torch, on the CPU or a CUDA GPU."""

import numpy as np
import torch
from torch.nn import functional

from letvins_ros.inference.backend import Run
from letvins_ros.networks.folding import Conv

_CPU_THREADS = 2  # more gain little on a network of this size, and leave nothing to the estimator


def compile_for(layers: list[Conv], shape: tuple[int, int, int]) -> Run:
    """Prepare the CPU, for images of any size."""
    torch.set_num_threads(_CPU_THREADS)
    return _on(torch.device("cpu"), layers)


def compile_for_cuda(layers: list[Conv], shape: tuple[int, int, int]) -> Run:
    """Prepare the first GPU, for images of any size."""
    return _on(torch.device("cuda"), layers)


def _on(device: torch.device, layers: list[Conv]) -> Run:
    def tensor(array: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(array).to(device)

    parameters = [
        (tensor(layer.weight).to(memory_format=torch.channels_last), tensor(layer.bias), layer.padding)
        for layer in layers
    ]

    @torch.inference_mode()
    def run_one(image: np.ndarray) -> np.ndarray:
        x = tensor(np.ascontiguousarray(image)).permute(2, 0, 1)[None].float()
        for i, (weight, bias, padding) in enumerate(parameters):
            x = functional.conv2d(torch.relu_(x) if i else x, weight, bias, padding=padding)
        mapped = torch.sigmoid_(x).mul_(255).round_().to(torch.uint8)
        return mapped[0].permute(1, 2, 0).contiguous().cpu().numpy()

    return lambda images: [run_one(image) for image in images]
