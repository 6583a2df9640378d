# SPDX-License-Identifier: Apache-2.0
"""`letvins export`: from a network's name and weights to a file, with figures on how well it does."""

import math
import re
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from letvins_ros.errors import ConfigError, DataError
from letvins_ros.image_files import read_image
from letvins_ros.inference.runtime import BackendError
from letvins_ros.weights import default_weights

if TYPE_CHECKING:
    from letvins_ros.networks.deploy import Deployed

_CALIBRATION = 24  # images
_CHECKED = 8  # others, on which the accuracy is told
_IMAGES = (".png", ".jpg", ".jpeg", ".bmp", ".pgm", ".ppm", ".tif", ".tiff")


def export_network(  # noqa: PLR0913
    network: str, out: Path, weights: Path | None, size: str, *, dynamic: bool, int8: Path | None, also: str = ""
) -> list[tuple[str, str]]:
    """Write the file and return lines of what was measured; raises a LetvinsError for what the user can fix."""
    shape = read_size(size)
    if find_spec("torch") is None:
        raise BackendError("exporting needs the Python package torch")
    from letvins_ros.inference.export import export, export_pair
    from letvins_ros.networks import load
    from letvins_ros.networks.deploy import deploy
    from letvins_ros.networks.deploy_pairs import deploy_pair

    further = [name.strip() for name in also.split(",") if name.strip()]
    loaded = load(network, weights or default_weights(network))
    if pair := deploy_pair(loaded, shape):
        if dynamic or further or int8:
            raise BackendError(f"{network} is exported for images of one size, in full precision, without further maps")
        return _told(export_pair(pair, out, shape))
    deployed = deploy(loaded, also=further)
    if int8 is None:
        return _told(export(deployed, out, shape, dynamic=dynamic))
    if out.suffix not in (".xml", ".onnx") or dynamic:
        raise BackendError(f"{out}: 8 bits are for .xml, .onnx and one size")
    return _export_int8(deployed, out, _read(int8, shape))


def _told(difference: float) -> list[tuple[str, str]]:
    said = "not checked" if math.isnan(difference) else f"{difference:.1e} of the largest value"
    return [("largest difference from torch", said)]


def _export_int8(deployed: "Deployed", out: Path, images: list[np.ndarray]) -> list[tuple[str, str]]:
    from letvins_ros.inference.export import export_int8
    from letvins_ros.inference.measures import share_matched
    from letvins_ros.inference.openvino_runtime import OpenVinoRuntime, convert, open_exported
    from letvins_ros.inference.runtime import with_channels

    checked, calibration = images[:_CHECKED], images[_CHECKED:]
    inputs = [
        with_channels(image, deployed.channels).transpose(2, 0, 1)[None].astype(np.float32) / 255
        for image in calibration
    ]
    lines = [("mean difference from torch", f"{export_int8(deployed, out, inputs):.3f} standard deviations")]
    if "descriptor" in deployed.outputs:
        exact = OpenVinoRuntime(deployed.outputs, deployed.channels, lambda size: convert(deployed, size))
        for name, runtime in (("before", exact), ("after", open_exported(out))):
            lines.append((f"keypoints matched right, {name}", f"{share_matched(runtime, checked):.3f}"))
    return lines


def _read(folder: Path, shape: tuple[int, int]) -> list[np.ndarray]:
    """Images spread over the folder, gray or RGB, of this (height, width)."""
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in _IMAGES)
    if len(paths) <= _CHECKED:
        raise DataError(f"{folder}: {len(paths)} images, more than {_CHECKED} needed")
    count = min(len(paths), _CALIBRATION + _CHECKED)
    chosen = [paths[i] for i in np.linspace(0, len(paths) - 1, count).astype(int)]
    order = np.random.default_rng(0).permutation(count)  # what is checked is spread too
    images = []
    for path in (chosen[i] for i in order):
        image = read_image(path, cv2.IMREAD_ANYCOLOR)
        if image is None:
            raise DataError(f"{path}: not an image")
        image = cv2.resize(image, shape[::-1], interpolation=cv2.INTER_AREA)
        images.append(image if image.ndim == 2 else image[..., ::-1])
    return images


def read_size(size: str) -> tuple[int, int]:
    """(height, width) of a text such as 752x480; ConfigError if it is none."""
    found = re.fullmatch(r"(\d+)x(\d+)", size)
    if not found or not all(32 <= int(side) <= 8192 for side in found.groups()):
        raise ConfigError(f"size must be WIDTHxHEIGHT, each from 32 to 8192, got {size}")
    return int(found[2]), int(found[1])
