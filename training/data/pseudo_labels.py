# SPDX-License-Identifier: Apache-2.0
"""`python -m training.data.pseudo_labels PHOTOS OUT MODEL --kind depth|segmentation`: labels by a model that you name.

MODEL is a file that OpenVINO reads (.onnx, .xml, .tflite) with one image input. Depth becomes 16-bit PNGs, 0 to 65000
from the image's least to its largest value (relative inverse depth of MiDaS and the like, which prepare_scene scales);
segmentation 8-bit PNGs of the likeliest class. KP2Dtiny learns from both with labels=folder: PHOTOS are then
DATA/images, OUT is DATA/depth or DATA/labels, each with train and val in it.
"""

import sys
from enum import Enum
from pathlib import Path
from typing import Annotated

import cv2
import numpy as np
import typer
from rich.progress import track

import letvins_ros.inference  # noqa: F401  (before OpenVINO, which would else report its use)
from letvins_ros.errors import ConfigError, LetvinsError
from letvins_ros.writing import write_atomic
from training.data.images import list_images, read_rgb, resize
from training.data.label_sets import HIGHEST

MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, as most such models want


class Kind(Enum):
    """What the model says of a pixel."""

    DEPTH = "depth"
    SEGMENTATION = "segmentation"


class Model:
    """A network (1, 3, H, W) RGB float32 -> one map, or one per class."""

    def __init__(self, path: Path, size: tuple[int, int], imagenet: bool) -> None:
        import openvino

        try:
            read = openvino.Core().read_model(path)
            read.reshape([1, 3, *size])
            self._compiled = openvino.Core().compile_model(read, "CPU")
        except RuntimeError as error:
            raise ConfigError(
                f"{path}: OpenVINO cannot run it at {size[0]}x{size[1]} ({str(error).splitlines()[0]})"
            ) from error
        self._size, self._imagenet = size, imagenet

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Last output (C, h, w) of an RGB image; (h, w) maps get one channel."""
        x = resize(image, self._size).astype(np.float32) / 255
        if self._imagenet:
            x = (x - np.array(MEAN, np.float32)) / np.array(DEVIATION, np.float32)
        found = np.asarray(self._compiled([x.transpose(2, 0, 1)[None]])[0])
        return found.reshape(-1, *found.shape[-2:])


def to_label(found: np.ndarray, kind: Kind, size: tuple[int, int]) -> np.ndarray:
    """PNG content (height, width) of a model's output (C, h, w); ConfigError where it does not fit the kind."""
    if kind is Kind.SEGMENTATION:
        if not 2 <= len(found) <= 255:
            raise ConfigError(f"segmentation needs 2 to 255 classes, the model has {len(found)} channels")
        return resize(found.argmax(axis=0).astype(np.uint8), size, nearest=True)
    if len(found) != 1:
        raise ConfigError(f"depth needs one channel, the model has {len(found)}")
    low, high = float(found.min()), float(found.max())
    scaled = (found[0] - low) / max(high - low, 1e-9) * HIGHEST
    return cv2.resize(scaled.astype(np.uint16), size[::-1], interpolation=cv2.INTER_LINEAR)


def main(  # noqa: PLR0913  each is an option
    photos: Annotated[Path, typer.Argument(help="any tree of images")],
    out: Annotated[Path, typer.Argument(help="folder for the PNGs, as the photographs lie in theirs")],
    model: Annotated[Path, typer.Argument(help=".onnx, .xml or .tflite")],
    kind: Annotated[Kind, typer.Option()],
    height: Annotated[int, typer.Option(help="px that the model sees")] = 384,
    width: Annotated[int, typer.Option()] = 384,
    imagenet: Annotated[bool, typer.Option(help="subtract ImageNet's mean, divide by its deviation")] = True,
) -> None:
    """Write one PNG per photograph; those that are there are left alone."""
    run = Model(model, (height, width), imagenet)
    for path in track(list_images(photos), description=kind.value, transient=True):
        place = out / path.relative_to(photos).with_suffix(".png")
        if place.is_file():
            continue
        image = read_rgb(path)
        label = to_label(run(image), kind, (image.shape[0], image.shape[1]))
        write_atomic(place, cv2.imencode(".png", label)[1].tobytes())


if __name__ == "__main__":
    try:
        typer.run(main)
    except LetvinsError as error:
        sys.exit(str(error))
