# SPDX-License-Identifier: Apache-2.0
"""Where it is decided what runs a network."""

from functools import partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from letvins_ros.errors import ConfigError
from letvins_ros.inference.runtime import BackendError, Runtime
from letvins_ros.networks import fold_of, load
from letvins_ros.weights import WeightsError, default_weights, load_weights

if TYPE_CHECKING:
    from letvins_ros.networks.deploy import DeployedFor
    from letvins_ros.networks.folding import Fold

_NAMES = {  # what `backend` may be -> what is tried, best first
    "auto": ("tensorrt", "torch-cuda", "openvino", "torch"),
    "tensorrt": ("tensorrt",),
    "openvino": ("openvino",),
    "torch": ("torch-cuda", "torch"),
}
_OPENERS = {  # module of this folder and its function
    "tensorrt": ("tensorrt_runtime", "open_on_gpu"),
    "torch-cuda": ("torch_runtime", "open_on_gpu"),
    "openvino": ("openvino_runtime", "open_deployed"),
    "torch": ("torch_runtime", "open_on_cpu"),
}
_EXPORTED = {".xml": "openvino", ".onnx": "openvino", ".engine": "tensorrt"}  # what runs a file of `letvins export`


def open_runtime(network: str, weights: Path | str = "", backend: str = "auto", *, with_place: bool = False) -> Runtime:
    """Open a network with weights (none means ours), or an exported .xml, .onnx or .engine file.

    backend: auto, tensorrt, torch (on the GPU if it finds one) or openvino; auto takes TensorRT, torch on a GPU,
    OpenVINO or torch on the CPU, the first that can run it on this machine. with_place: also the map `place`.
    Raises BackendError, WeightsError, or ConfigError for a network that is unknown or does not map one image.
    """
    path = Path(weights) if weights else default_weights(network)
    if backend not in _NAMES:
        raise BackendError(f"unknown backend {backend}; known: {', '.join(_NAMES)}")
    if path.suffix in _EXPORTED:
        return _open_exported(path, backend, with_place)
    name = _first_usable(network, path, backend)
    if fold := fold_of(network):
        if with_place:
            raise ConfigError(f"{network} has no descriptor of places")
        return _open_folded(name, fold, path)
    from letvins_ros.networks.deploy import deploy

    deployed = deploy(load(network, path), with_place=with_place)
    return _open(name, lambda _: deployed)


def check_runs(network: str) -> None:
    """Raise WeightsError or BackendError unless a network runs here with its own weights; opens nothing."""
    _first_usable(network, default_weights(network), "auto")


def _open_folded(name: str, fold: "Fold", path: Path) -> Runtime:
    """Open a network whose weights become plain convolutions, in numpy."""
    state = load_weights(path)
    try:
        fold(state, 1)
    except WeightsError as error:
        raise WeightsError(f"{path}: {error}") from error
    if name == "openvino":  # which then needs no torch
        from letvins_ros.inference.openvino_letnet2 import LetNet2Runtime

        return LetNet2Runtime(partial(fold, state))
    from letvins_ros.networks.deploy import Folded

    return _open(name, lambda channels: Folded(fold(state, channels)))


def _open(name: str, deployed_for: "DeployedFor") -> Runtime:
    module, function = _OPENERS[name]
    runtime: Runtime = getattr(import_module(f"letvins_ros.inference.{module}"), function)(deployed_for)
    return runtime


def _open_exported(path: Path, backend: str, with_place: bool) -> Runtime:
    name = _EXPORTED[path.suffix]
    if name not in _NAMES[backend]:
        raise BackendError(f"{path}: an exported {path.suffix} file runs with {name}, not with {backend}")
    missing = _missing(name, ["openvino"] if name == "openvino" else ["tensorrt", "torch"])
    if missing:
        raise BackendError(f"{path}: running it needs {missing}")
    module = import_module(f"letvins_ros.inference.{_OPENERS[name][0]}")
    runtime: Runtime = module.open_exported(path)
    if with_place and "place" not in runtime.outputs:
        raise BackendError(f"{path}: an exported file has no descriptor of places; name the weights it was made of")
    return runtime


def _first_usable(network: str, path: Path, backend: str) -> str:
    """The first backend that can run the network's weights here."""
    missing = {name: _missing(name, _packages(name, network)) for name in _NAMES[backend]}
    usable = [name for name, what in missing.items() if not what]
    if usable:
        return usable[0]
    if not fold_of(network) and find_spec("torch") is None:
        instead = f", or a file of `letvins export {network} FILE.xml`" if find_spec("openvino") else ""
        raise BackendError(f"{path}: running {network} needs torch{instead}")
    raise BackendError("; ".join(f"backend {name} needs {what}" for name, what in missing.items()))


def _packages(name: str, network: str) -> list[str]:
    """Python packages with which a backend runs a network's weights."""
    if name == "openvino":
        return ["openvino"] if fold_of(network) else ["openvino", "torch"]
    if name == "tensorrt":  # torch holds the GPU's memory
        return ["tensorrt", "torch"] if fold_of(network) else ["tensorrt", "torch", "onnxscript"]
    return ["torch"]


def _missing(name: str, packages: list[str]) -> str:
    """Name what this machine lacks for the backend; empty when nothing."""
    absent = [package for package in packages if find_spec(package) is None]
    if absent:
        return f"the Python package {absent[0]}"
    return "an NVIDIA GPU that torch can use" if name in ("tensorrt", "torch-cuda") and not _has_gpu() else ""


def _has_gpu() -> bool:
    if not any(Path(device).exists() for device in ("/dev/nvidiactl", "/dev/nvhost-gpu")):
        return False  # known without importing torch, which costs seconds and 200 MB
    import torch

    return torch.cuda.is_available()
