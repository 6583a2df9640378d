# SPDX-License-Identifier: Apache-2.0
"""`python -m training.show IMAGE [IMAGE_B] -m MODEL -o DIR`: what a model finds, as pictures.

Detections, and with a second image matches, of every model; scores, segmentation and depth of networks that have them.
"""

import colorsys
import sys
from pathlib import Path
from typing import Annotated, Any

import cv2
import numpy as np
import torch
import typer
from torch import Tensor

from letvins_ros import networks
from letvins_ros.errors import LetvinsError
from letvins_ros.networks.superpoint import SuperPointOutput, heat_map
from letvins_ros.writing import write_atomic
from training.data.images import read_rgb, resize, to_tensor
from training.data.pair import Pair
from training.features import open_extractor
from training.tasks.matchers import open_pair_model
from training.tasks.pairs import Choice

_GREEN = (0, 255, 0)


def detections(image: np.ndarray, uv: np.ndarray) -> np.ndarray:
    """Circles at keypoints (N, 2)."""
    picture = image.copy()
    for x, y in np.rint(uv).astype(int):
        cv2.circle(picture, (int(x), int(y)), 3, _GREEN, 1, cv2.LINE_AA)
    return picture


def matches(image_a: np.ndarray, image_b: np.ndarray, found: np.ndarray) -> np.ndarray:
    """Both images of one height side by side, matches (N, 4) as lines of many colours."""
    picture = np.hstack([image_a, image_b])
    for i, (u_a, v_a, u_b, v_b) in enumerate(found):
        color = colorsys.hsv_to_rgb(i * 0.618 % 1, 1, 1)
        ends = (round(u_a), round(v_a)), (round(u_b) + image_a.shape[1], round(v_b))
        cv2.line(picture, *ends, [255 * c for c in color], 1, cv2.LINE_AA)
    return picture


def heat(values: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Values (h, w) from the least to the largest as colours."""
    low, high = float(values.min()), float(values.max())
    gray = (255 * (values - low) / max(high - low, 1e-9)).astype(np.uint8)
    return cv2.cvtColor(cv2.applyColorMap(resize(gray, size), cv2.COLORMAP_VIRIDIS), cv2.COLOR_BGR2RGB)


def classes(labels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A colour of its own for each class of (h, w)."""
    palette = [colorsys.hsv_to_rgb(i * 0.618 % 1, 0.5 + 0.5 * (i % 2), 1 - 0.3 * (i % 3) / 2) for i in range(256)]
    return (255 * np.array(palette)).astype(np.uint8)[resize(labels, size, nearest=True)]


def maps(network: Any, image: np.ndarray) -> dict[str, np.ndarray]:
    """Dense outputs of a network as pictures of the image's size."""
    size, channels = (image.shape[0], image.shape[1]), next(network.parameters()).shape[1]
    with torch.inference_mode():
        output = network(to_tensor(image, channels)[None])
    if isinstance(output, SuperPointOutput):
        return {"score": heat(heat_map(output.logits)[0].numpy(), size)}
    shown = {"score": heat(output.score[0, 0].numpy(), size)}
    segmentation: Tensor | None = getattr(output, "segmentation", None)
    if segmentation is not None:
        shown["segmentation"] = classes(segmentation[0].argmax(dim=0).numpy().astype(np.uint8), size)
    depth: Tensor | None = getattr(output, "depth", None)
    if depth is not None:
        shown["depth"] = heat(depth[0, 0].numpy(), size)
    return shown


def main(  # noqa: PLR0913  each is an option
    image: Annotated[Path, typer.Argument()],
    image_b: Annotated[Path | None, typer.Argument(help="to be matched with")] = None,
    model: Annotated[str, typer.Option("-m", help="orb, sift, gftt-lk or NETWORK=WEIGHTS")] = "orb",
    out: Annotated[Path, typer.Option("-o", help="folder")] = Path("results/show"),
    height: Annotated[int, typer.Option(help="px that images are resized to, a multiple of 16")] = 240,
    width: Annotated[int, typer.Option()] = 320,
    top_k: Annotated[int, typer.Option(help="keypoints")] = 300,
) -> None:
    """Write detections.png, matches.png, score.png, segmentation.png, depth.png: those that there are."""
    a = resize(read_rgb(image), (height, width))
    pictures: dict[str, np.ndarray] = {}
    if model != "gftt-lk":
        pictures["detections"] = detections(a, open_extractor(model)(a).uv[:top_k])
    if image_b is not None:
        b = resize(read_rgb(image_b), (height, width))
        pictures["matches"] = matches(a, b, open_pair_model(model)(Pair("", a, b), [Choice(top_k)])[0].matches)
    name, equals, weights = model.partition("=")
    if equals:
        pictures.update(maps(networks.load(name, Path(weights)), a))
    for kind, picture in pictures.items():
        write_atomic(out / f"{kind}.png", cv2.imencode(".png", picture[..., ::-1])[1].tobytes())


if __name__ == "__main__":
    try:
        typer.run(main)
    except LetvinsError as error:
        sys.exit(str(error))
