# SPDX-License-Identifier: Apache-2.0
"""The one object that runs LET-NET2, whatever library does the arithmetic."""

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from letvins_ros.errors import LetvinsError
from letvins_ros.networks.folding import Conv, fold_letnet2
from letvins_ros.weights import LETNET2_GRAY, WeightsError, load_weights

Run = Callable[[Sequence[np.ndarray]], list[np.ndarray]]  # each (H, W, C) uint8 -> (H, W, F) uint8
Compile = Callable[[list[Conv], tuple[int, int, int]], Run]  # for images of one (H, W, C)

_FUNCTIONS = {  # best first
    "tensorrt": ("tensorrt_backend", "compile_for"),
    "torch-cuda": ("torch_backend", "compile_for_cuda"),
    "openvino": ("openvino_backend", "compile_for"),
    "torch": ("torch_backend", "compile_for"),
}


class BackendError(LetvinsError):
    """A backend that is unknown or cannot run on this machine."""


class Backend:
    """Turns images into LET-NET2 feature maps; `name` says by which library. The same image gives the same bytes."""

    def __init__(self, name: str, compile_for: Compile, weights: Mapping[str, np.ndarray]) -> None:
        self.name = name
        self._compile_for = compile_for
        self._weights = weights
        self._runs: dict[tuple[int, ...], Run] = {}

    def __call__(self, images: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Feature map of each (H, W) gray or (H, W, 3) RGB uint8 image: (H, W, 3) or (H, W) uint8, contiguous.

        The weights decide how many features there are. Images of one shape are fastest together.
        """
        if len({image.shape for image in images}) > 1:
            return [self([image])[0] for image in images]
        if not images:
            return []
        run = self._run_for(images[0].shape)
        maps = run([image.reshape(*image.shape[:2], -1) for image in images])
        return [feature_map[..., 0] if feature_map.shape[2] == 1 else feature_map for feature_map in maps]

    def _run_for(self, shape: tuple[int, ...]) -> Run:
        if shape not in self._runs:
            height, width, channels = (*shape, 1)[:3]
            self._runs[shape] = self._compile_for(fold_letnet2(self._weights, channels), (height, width, channels))
        return self._runs[shape]


def open_backend(kind: str, weights: Path | str = "") -> Backend:
    """Open LET-NET2 weights with a backend: auto, tensorrt, openvino or torch (on the GPU if it finds one).

    `auto` takes TensorRT, torch on a GPU, OpenVINO or torch on the CPU, the first that this machine can run.
    No weights means ours. Raises BackendError or WeightsError.
    """
    kinds = {
        "auto": list(_FUNCTIONS),
        "tensorrt": ["tensorrt"],
        "openvino": ["openvino"],
        "torch": ["torch-cuda", "torch"],
    }
    if kind not in kinds:
        raise BackendError(f"unknown backend {kind}; known: {', '.join(kinds)}")
    candidates = kinds[kind]
    missing = {name: _missing(name) for name in candidates}
    usable = [name for name in candidates if not missing[name]]
    if not usable:
        raise BackendError("; ".join(f"backend {name} needs {what}" for name, what in missing.items()))
    module, function = _FUNCTIONS[usable[0]]
    compile_for: Compile = getattr(import_module(f"letvins_ros.inference.{module}"), function)
    path = Path(weights or LETNET2_GRAY)
    state = load_weights(path)
    try:
        fold_letnet2(state, 1)
    except WeightsError as error:
        raise WeightsError(f"{path}: {error}") from error
    return Backend(usable[0], compile_for, state)


def _missing(name: str) -> str:
    """Name what this machine lacks for the backend; empty when nothing."""
    packages = {"torch-cuda": ["torch"], "tensorrt": ["tensorrt", "torch"]}.get(name, [name])  # torch holds GPU memory
    absent = [package for package in packages if find_spec(package) is None]
    if absent:
        return f"the Python package {absent[0]}"
    return "an NVIDIA GPU that torch can use" if name in ("tensorrt", "torch-cuda") and not _has_gpu() else ""


def _has_gpu() -> bool:
    if not any(Path(device).exists() for device in ("/dev/nvidiactl", "/dev/nvhost-gpu")):
        return False  # known without importing torch, which costs seconds and 200 MB
    import torch

    return torch.cuda.is_available()
