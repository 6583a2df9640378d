# SPDX-License-Identifier: Apache-2.0
"""Keypoint networks by OpenVINO or torch: a uint8 image in, named maps out."""

import warnings
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from letvins_ros.inference.backend import BackendError
from letvins_ros.weights import WeightsError, default_weights

if TYPE_CHECKING:
    from letvins_ros.networks.deploy import Deployed

Maps = dict[str, np.ndarray]  # a score is (h, w), a place (G,), what else there is (C, h, w), all float32
EXPORTED = (".xml", ".onnx")  # files that OpenVINO runs without torch
_THREADS = 2


class Graph(Protocol):
    """A keypoint network; `name` says by which library it runs."""

    name: str

    def __call__(self, image: np.ndarray) -> Maps:
        """Map a (H, W) gray or (H, W, 3) RGB uint8 image."""
        ...


def open_graph(network: str, weights: Path | str = "", backend: str = "auto", with_place: bool = False) -> Graph:
    """Open a keypoint network with weights (none means ours), or an exported .xml or .onnx file.

    with_place: also the map `place`, the global descriptor; exported files have none.
    An exported file is run by OpenVINO, and only it can be run without torch. `auto` takes torch on a GPU, else
    OpenVINO. Raises BackendError or WeightsError.
    """
    path = Path(weights) if weights else default_weights(network)
    if backend == "tensorrt":
        raise BackendError("backend tensorrt runs only letnet2 here; `letvins export` makes engines of other networks")
    if path.suffix in EXPORTED:
        if backend == "torch":
            raise BackendError(f"{path}: an exported file runs with openvino, not with torch")
        if with_place:
            raise BackendError(f"{path}: an exported file has no descriptor of places; name the weights it was made of")
        return open_file(path)
    if find_spec("torch") is None:
        instead = "" if with_place else ", or a file of `letvins export --format openvino`"
        raise BackendError(f"{path}: running {network} needs torch{instead}")
    from letvins_ros.networks import load
    from letvins_ros.networks.deploy import deploy

    deployed = deploy(load(network, path), with_place)
    if backend == "openvino" or (backend == "auto" and not _has_gpu()):
        # three times as fast where the CPU has it, and keypoints move by hundredths of a pixel; a heat map's would tie
        precision = "bf16" if "coord" in deployed.outputs else "f32"
        return OpenVinoGraph(lambda shape: convert(deployed, shape), deployed.channels, precision)
    return TorchGraph(deployed)


class TorchGraph:
    """Runs a network by torch, on the GPU if there is one."""

    def __init__(self, deployed: "Deployed") -> None:
        import torch

        self._torch = torch
        self._device = torch.device("cuda" if _has_gpu() else "cpu")
        self.name = "torch-cuda" if _has_gpu() else "torch"
        self._network = deployed.to(self._device)

    def __call__(self, image: np.ndarray) -> Maps:
        """See Graph."""
        x = self._torch.from_numpy(with_channels(image, self._network.channels)[None]).to(self._device)
        with self._torch.inference_mode():
            maps = self._network(x.permute(0, 3, 1, 2).float() / 255)
        names = self._network.outputs
        return {name: squeeze(name, map_.cpu().numpy()) for name, map_ in zip(names, maps, strict=True)}


class OpenVinoGraph:
    """Runs a model by OpenVINO on the CPU; it is compiled once for every size of image."""

    name = "openvino"

    def __init__(self, make: Callable[[tuple[int, int]], Any], channels: int, precision: str = "f32") -> None:
        """precision: f32, or bf16 where the CPU has it."""
        self._make, self._channels, self._precision = make, channels, precision
        self._requests: dict[tuple[int, ...], Any] = {}

    def __call__(self, image: np.ndarray) -> Maps:
        """See Graph."""
        image = with_channels(image, self._channels)
        if image.shape not in self._requests:
            self._requests[image.shape] = _compile(self._make(image.shape[:2]), self._precision)
        request = self._requests[image.shape]
        request.infer([image[None]], share_inputs=True)
        maps = {port.any_name: request.get_tensor(port).data.copy() for port in request.model_outputs}
        maps["descriptor"] = maps["descriptor"].transpose(0, 3, 1, 2)
        return {name: squeeze(name, map_) for name, map_ in maps.items()}


def convert(deployed: "Deployed", size: tuple[int, int] | None) -> Any:
    """Make an OpenVINO model of (1, C, H, W) float 0..1, of this (height, width) or of any size; torch is needed."""
    import openvino as ov
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


def with_channels(image: np.ndarray, channels: int) -> np.ndarray:
    """(H, W, channels) uint8, contiguous, of a gray or RGB image: gray repeated, or RGB made gray."""
    from letvins_ros.networks.folding import LUMINANCE

    if image.ndim == 2:
        image = image[..., None]
    if image.shape[2] > channels:
        image = np.rint(image @ LUMINANCE).astype(np.uint8)[..., None]
    return np.array(np.broadcast_to(image, (*image.shape[:2], channels)))


def squeeze(name: str, map_: np.ndarray) -> np.ndarray:
    """(1, C, h, w) without the batch, and a score without its one channel."""
    return map_[0, 0] if name == "score" else map_[0]


def open_file(path: Path) -> Graph:
    """Open an exported keypoint network (.xml, .onnx) with OpenVINO; WeightsError if it is none."""
    import openvino as ov

    if not path.is_file():
        raise WeightsError(f"{path}: no such exported network")
    try:
        model = ov.Core().read_model(path)
    except RuntimeError as error:
        raise WeightsError(f"{path}: not a network that OpenVINO can read ({str(error).splitlines()[0]})") from error
    names = {port.any_name for port in model.outputs}
    if not {"score", "descriptor"} <= names:
        raise WeightsError(
            f"{path}: a keypoint network gives score and descriptor, this one {', '.join(sorted(names))}"
        )
    channels, *size = model.inputs[0].get_partial_shape()[1:]

    def sized(shape: tuple[int, int]) -> Any:
        if any(side.is_static and side.get_length() != wanted for side, wanted in zip(size, shape, strict=True)):
            height, width = size
            raise WeightsError(f"{path}: exported for images of {width}x{height}, not {shape[1]}x{shape[0]}")
        fixed = model.clone()
        fixed.reshape([1, channels.get_length(), *shape])
        return fixed

    return OpenVinoGraph(sized, channels.get_length())


def _compile(model: Any, precision: str) -> Any:
    """Inference request that takes (1, H, W, C) uint8 and gives descriptors as (1, h, w, D), which spares a turn."""
    import openvino as ov
    from openvino.preprocess import PrePostProcessor

    steps = PrePostProcessor(model)
    steps.input().tensor().set_element_type(ov.Type.u8).set_layout(ov.Layout("NHWC"))
    steps.input().model().set_layout(ov.Layout("NCHW"))
    steps.input().preprocess().convert_element_type(ov.Type.f32).scale(255.0)
    steps.output("descriptor").model().set_layout(ov.Layout("NCHW"))
    steps.output("descriptor").tensor().set_layout(ov.Layout("NHWC"))
    config = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": _THREADS, "INFERENCE_PRECISION_HINT": precision}
    return ov.Core().compile_model(steps.build(), "CPU", config).create_infer_request()


def _has_gpu() -> bool:
    if find_spec("torch") is None or not any(Path(d).exists() for d in ("/dev/nvidiactl", "/dev/nvhost-gpu")):
        return False
    import torch

    return torch.cuda.is_available()
