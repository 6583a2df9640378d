# SPDX-License-Identifier: Apache-2.0
"""`python -m training.evaluate --task flow SOURCE`: figures of trained networks beside their classical peers."""

import json
import sys
from dataclasses import asdict
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from letvins_ros.datasets import open_dataset
from letvins_ros.errors import LetvinsError
from letvins_ros.inference import open_backend
from letvins_ros.tracking.flow import EqualisedMaps, PlainMaps
from letvins_ros.weights import LETNET2_GRAY
from training.tasks.flow import LIGHTS, MapMaker, Shares, cut_clips, survival


class Task(Enum):
    """What is measured."""

    FLOW = "flow"


def main(  # noqa: PLR0913  each is an option
    source: Annotated[Path, typer.Argument(help="a recording, in any format that `letvins run` reads")],
    task: Annotated[Task, typer.Option(help="flow: how long corners are followed when the light changes")] = Task.FLOW,
    weights: Annotated[list[Path] | None, typer.Option(help="LET-NET2 weights to measure, may be repeated")] = None,
    backend: Annotated[str, typer.Option(help="what runs the network")] = "auto",
    clips: Annotated[int, typer.Option(help="clips, spread over the recording's beginning")] = 12,
    duration: Annotated[float, typer.Option(help="seconds of the recording")] = 15.0,
    out: Annotated[Path | None, typer.Option("-o", help="json file for the figures")] = None,
) -> None:
    """Print a table, and write it."""
    maps: dict[str, MapMaker] = {"LK on gray": PlainMaps(), "LK on CLAHE": EqualisedMaps()}
    for path in weights or [LETNET2_GRAY]:
        maps[f"LK on {path.name}"] = open_backend(backend, path)
    shares = survival(cut_clips(open_dataset(source), clips, duration), maps)
    Console().print(_table(f"{source.name}, {clips} clips", shares))
    if out is not None:
        out.write_text(json.dumps({n: {k: asdict(s) for k, s in row.items()} for n, row in shares.items()}, indent=1))


def _table(title: str, shares: dict[str, dict[str, Shares]]) -> Table:
    table = Table("map", *LIGHTS, title=f"{title}: share alive and like the gray track / truly right")
    for name, row in shares.items():
        table.add_row(name, *(f"{s.tracked:.2f} / {s.true:.2f}" for s in row.values()))
    return table


if __name__ == "__main__":
    try:
        typer.run(main)
    except LetvinsError as error:
        sys.exit(str(error))
