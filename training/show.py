# SPDX-License-Identifier: Apache-2.0
"""`python -m training.show IMAGE [IMAGE_B] -m MODEL -o DIR`: what a model finds, as pictures.

Detections, those round the strongest enlarged, and with a second image matches, of every model; scores, segmentation
and depth of networks that have them.
`--results RUN --results RUN` plots the figures of runs of `training.train` and `training.evaluate` side by side.
"""

import sys
from pathlib import Path
from typing import Annotated, Any

import cv2
import numpy as np
import torch
import typer
from torch import Tensor

from letvins_ros import networks
from letvins_ros.errors import ConfigError, LetvinsError
from letvins_ros.networks.superpoint import SuperPointOutput, heat_map
from letvins_ros.writing import write_atomic
from training.data.images import read_rgb, resize, to_tensor
from training.data.pair import Pair
from training.drawing import classes, detail, detections, heat, matches
from training.features import open_extractor
from training.plots import plots, write_figure
from training.tasks.matchers import open_pair_model
from training.tasks.pairs import Choice


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
    image: Annotated[Path | None, typer.Argument()] = None,
    image_b: Annotated[Path | None, typer.Argument(help="to be matched with")] = None,
    model: Annotated[str, typer.Option("-m", help="orb, sift, gftt-lk or NETWORK=WEIGHTS")] = "orb",
    out: Annotated[Path, typer.Option("-o", help="folder")] = Path("results/show"),
    height: Annotated[int, typer.Option(help="px that images are resized to, a multiple of 16")] = 240,
    width: Annotated[int, typer.Option()] = 320,
    top_k: Annotated[int, typer.Option(help="keypoints")] = 300,
    results: Annotated[list[Path] | None, typer.Option(help="run of training or evaluation, may be repeated")] = None,
) -> None:
    """Write detections.png, detail.png, matches.png, score.png, segmentation.png, depth.png and plots, if any."""
    if results:
        for kind, figure in plots(results).items():
            write_figure(out / f"{kind}.png", figure)
    if image is None:
        if not results:
            raise ConfigError("nothing to show; name an image, or --results FOLDER")
        return
    a = resize(read_rgb(image), (height, width))
    pictures: dict[str, np.ndarray] = {}
    if model != "gftt-lk":
        uv = open_extractor(model)(a).uv[:top_k]
        pictures.update(detections=detections(a, uv), detail=detail(a, uv))
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
