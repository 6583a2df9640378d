# SPDX-License-Identifier: Apache-2.0
"""Networks written for other runtimes, each file then run and compared with torch."""

import importlib
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
import torch

from letvins_ros.errors import DataError
from letvins_ros.inference.onnx_model import write_onnx, write_pair_onnx
from letvins_ros.inference.openvino_runtime import CHECKSUM, checksum, convert
from letvins_ros.inference.quantise import quantise
from letvins_ros.inference.runtime import BackendError
from letvins_ros.networks.deploy import Deployed
from letvins_ros.networks.deploy_pairs import DeployedPair
from letvins_ros.writing import move_set, part_folder

Size = tuple[int, int]  # height, width
SUFFIXES = (".onnx", ".xml", ".param", ".engine")


def export(deployed: Deployed, out: Path, size: Size, *, dynamic: bool = False) -> float:
    """Write a network by the suffix of the file: ONNX, OpenVINO, ncnn or a TensorRT engine.

    Returns the largest difference from torch of any map, relative to the map's largest value, or NaN for an engine.
    With dynamic, ONNX and OpenVINO take any size whose sides are multiples of 32. Raises BackendError.
    """
    writers = {".onnx": _to_onnx, ".xml": _to_openvino, ".param": _to_ncnn, ".engine": _to_tensorrt}
    if out.suffix not in writers:
        raise BackendError(f"{out}: exported files end in {', '.join(SUFFIXES)}")
    if dynamic and out.suffix not in (".onnx", ".xml"):
        raise BackendError(f"{out}: only .onnx and .xml can be of any size")
    with _exported(out) as part:
        return writers[out.suffix](deployed, part, None if dynamic else size, size)


def export_pair(deployed: DeployedPair, out: Path, size: Size) -> float:
    """Write a network that matches images of this (height, width) as ONNX; BackendError.

    Returns the largest difference from torch of any output, relative to its largest value or 1: infinity where other
    matches are found, NaN where there are none.
    """
    if out.suffix != ".onnx":
        raise BackendError(f"{out}: a network that matches two images is exported to .onnx alone")
    _need("onnxscript", "writing ONNX")
    inputs = deployed.example(size)
    with torch.inference_mode():
        expected = [output.numpy() for output in deployed(**inputs)]
    with _exported(out) as part:
        write_pair_onnx(deployed, part, inputs)
        compiled = ov.Core().compile_model(part, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        found = list(compiled([value.numpy() for value in inputs.values()]).values())
    if any(f.shape != e.shape for f, e in zip(found, expected, strict=True)):
        return float("inf")
    if not all(e.size for e in expected):
        return float("nan")
    return max(float(np.abs(f - e).max() / np.abs(e).max(initial=1.0)) for f, e in zip(found, expected, strict=True))


def export_int8(deployed: Deployed, out: Path, images: Sequence[np.ndarray]) -> float:
    """Write an OpenVINO or ONNX model in 8 bits, calibrated on (1, C, H, W) float images 0..1 of one size.

    Returns the largest mean difference from torch of any map, relative to its standard deviation.
    """
    size = (images[0].shape[2], images[0].shape[3])
    with _exported(out) as part:
        if out.suffix == ".onnx":
            _need("onnxscript", "writing ONNX")
            from letvins_ros.inference.quantise_onnx import quantise_onnx

            write_onnx(deployed, part, size)
            quantise_onnx(part, images)
        else:
            _save(quantise(convert(deployed, size), images), part)
        found = _run_openvino(part, images[0])
    expected = _torch_maps(deployed, images[0])
    return max(float(np.abs(f - e).mean() / e.std()) for f, e in zip(found, expected, strict=True))


def _to_openvino(deployed: Deployed, out: Path, size: Size | None, check: Size) -> float:
    _save(convert(deployed, size), out)
    return _difference(deployed, check, lambda image: list(_run_openvino(out, image)))


def _to_onnx(deployed: Deployed, out: Path, size: Size | None, check: Size) -> float:
    _need("onnxscript", "writing ONNX")
    write_onnx(deployed, out, size)
    return _difference(deployed, check, lambda image: list(_run_openvino(out, image)))


def _to_ncnn(deployed: Deployed, out: Path, size: Size | None, check: Size) -> float:
    """Write NAME.param and NAME.bin; blobs in0, out0, out1 and so on."""
    _need("pnnx", "writing ncnn")
    pnnx = importlib.import_module("pnnx")
    with tempfile.TemporaryDirectory() as folder:
        traced = Path(folder) / "network.pt"
        pnnx.export(deployed, str(traced), torch.rand(1, deployed.channels, *check), fp16=False)
        for suffix in (".param", ".bin"):
            source = Path(folder) / f"network.ncnn{suffix}"
            if not source.is_file():
                raise BackendError(f"{out.name}: pnnx made no {source.name} of this network")
            shutil.copyfile(source, out.with_suffix(suffix))
    if find_spec("ncnn") is None:
        return float("nan")
    return _difference(deployed, check, lambda image: _run_ncnn(out, image, len(deployed.outputs)))


def _to_tensorrt(deployed: Deployed, out: Path, size: Size | None, check: Size) -> float:
    """Write an engine for this machine's GPU."""
    _need("tensorrt", "building an engine")
    _need("onnxscript", "building an engine")
    from letvins_ros.inference.tensorrt_runtime import build

    out.write_bytes(build(deployed, check))
    return float("nan")


def _run_openvino(path: Path, image: np.ndarray) -> list[np.ndarray]:
    compiled = ov.Core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return list(compiled([image]).values())


def _run_ncnn(path: Path, image: np.ndarray, count: int) -> list[np.ndarray]:
    ncnn = importlib.import_module("ncnn")
    net = ncnn.Net()
    net.opt.use_fp16_packed = net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = False
    net.load_param(str(path))
    net.load_model(str(path.with_suffix(".bin")))
    extractor = net.create_extractor()
    extractor.input("in0", ncnn.Mat(np.ascontiguousarray(image[0])).clone())  # a Mat of an array does not own it
    return [np.array(extractor.extract(f"out{i}")[1])[None] for i in range(count)]


def _difference(deployed: Deployed, size: Size, run: Any) -> float:
    image = np.random.default_rng(0).random((1, deployed.channels, *size), np.float32)
    pairs = zip(run(image), _torch_maps(deployed, image), strict=True)
    return max(float(np.abs(f.reshape(e.shape) - e).max() / np.abs(e).max()) for f, e in pairs)


@torch.inference_mode()
def _torch_maps(deployed: Deployed, image: np.ndarray) -> list[np.ndarray]:
    return [map_.numpy() for map_ in deployed(torch.from_numpy(image))]


def _save(model: ov.Model, out: Path) -> None:
    """Write .xml and .bin, the .xml with the checksum of the .bin. Raises BackendError where they cannot be written."""
    try:
        for _ in range(2):  # the content of the .bin is known once it is written
            ov.save_model(model, out, compress_to_fp16=False)
            model.set_rt_info(checksum(out.with_suffix(".bin")), CHECKSUM)
    except RuntimeError as error:
        raise BackendError(f"{out.name}: OpenVINO cannot write it; is the disk full? ({error})") from error


@contextmanager
def _exported(out: Path) -> Iterator[Path]:
    """A path to write to and to check; the files become those of `out` at the end, together.

    Without the file of that name, which is the one to open, there is no export. Raises DataError.
    """
    try:
        with part_folder(out) as part:
            yield part / out.name
            move_set(part, out.parent, out.name)
    except OSError as error:
        raise DataError(f"cannot write {out}: {error.strerror or error}") from error


def _need(package: str, what: str) -> None:
    if find_spec(package) is None:
        remedy = "see NVIDIA's installation guide" if package == "tensorrt" else "pip install 'letvins_ros[export]'"
        raise BackendError(f"{what} needs the Python package {package}: {remedy}")
