# SPDX-License-Identifier: Apache-2.0
"""`python -m training.evaluate --task TASK SOURCE [-m MODEL ...]`: figures of networks beside their classical peers.

Two loops: predictions go to disk, figures come from there, so that figures can be had again without the network.
"""

import sys
from pathlib import Path
from typing import Annotated

import cv2
import numpy as np
import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table

from letvins_ros.errors import LetvinsError
from letvins_ros.writing import to_json, write_atomic
from training.tasks.registry import Options, TaskName, open_task


def main(  # noqa: PLR0913  each is an option
    source: Annotated[Path, typer.Argument(help="data of the task: see training/README.md")],
    task: Annotated[TaskName, typer.Option(help="what is measured")],
    model: Annotated[list[str] | None, typer.Option("-m", help="NAME or NETWORK=WEIGHTS, may be repeated")] = None,
    peers: Annotated[bool, typer.Option(help="the task's classical peers too")] = True,
    out: Annotated[Path | None, typer.Option("-o", help="folder; results/evaluate-TASK if not given")] = None,
    again: Annotated[bool, typer.Option(help="predict anew where predictions are there already")] = True,
    count: Annotated[int, typer.Option(help="pairs, images or clips at most, 0: the task's own choice")] = 0,
    duration: Annotated[float, typer.Option(help="seconds of a recording")] = 15.0,
    split: Annotated[str, typer.Option(help="of a data set: val, test, pitts30k_test, tokyo247 ...")] = "val",
    kind: Annotated[str, typer.Option(help="of labels: coco, cityscapes, nyu, scene_parse, folder")] = "coco",
    classes: Annotated[int, typer.Option(help="of the labels: coco 27, 28, 171, 183; nyu 13, 40")] = 28,
    backend: Annotated[str, typer.Option(help="flow: what runs the network")] = "auto",
    device: Annotated[str, typer.Option(help="of torch, such as cuda; flow has --backend")] = "cpu",
    pictures: Annotated[bool, typer.Option(help="draw what every model finds into the folder's pictures")] = False,
    apart: Annotated[float, typer.Option(help="hpatches, homography: px that keypoints are thinned out to")] = 0.0,
    gravity: Annotated[
        bool, typer.Option(help="hpatches: second images stand as the first, to a quarter turn")
    ] = False,
    distinct: Annotated[bool, typer.Option(help="networks' keypoints that no other looks like come first")] = False,
    enlarge: Annotated[
        float, typer.Option(min=0.5, max=4, help="networks with keypoints see images so many times as large; not LoFTR")
    ] = 1.0,
) -> None:
    """Print a table, and write figures.json."""
    options = Options(count, duration, split, kind, backend, apart, device, classes, gravity, distinct, enlarge)
    measured = open_task(task, source, options)
    folder = out or Path("results") / f"evaluate-{task.value}"
    table: dict[str, dict[str, dict[str, float]]] = {}
    for name in dict.fromkeys([*(measured.peers if peers else ()), *(model or ())]):
        place = folder / name.replace("/", "_")
        if again or not place.is_dir():
            for _ in track(measured.predict(name, place), description=name, transient=True):
                pass
        table[name] = measured.figures(place)
        for picture, pixels in measured.pictures(place) if pictures else ():
            path = folder / "pictures" / place.name / f"{picture}.png"
            write_atomic(path, cv2.imencode(".png", pixels[..., ::-1])[1].tobytes())
    Console().print(*(_table(part, table) for part in next(iter(table.values()), {})))
    write_atomic(folder / "figures.json", to_json(table))


def _table(part: str, figures: dict[str, dict[str, dict[str, float]]]) -> Table:
    """A column for each model, which may break its name: fits 80 characters with six of them."""
    table = Table("", title=part)
    for name in figures:
        table.add_column(Path(name).name, overflow="fold", justify="right")
    for figure in next(iter(figures.values()))[part]:
        table.add_row(figure, *(_number(parts[part][figure]) for parts in figures.values()))
    return table


def _number(value: float) -> str:
    if not np.isfinite(value):
        return "-"
    return f"{value:.3f}" if abs(value) < 100 else f"{value:.0f}"


if __name__ == "__main__":
    try:
        typer.run(main)
    except LetvinsError as error:
        sys.exit(str(error))
