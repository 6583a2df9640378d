# SPDX-License-Identifier: Apache-2.0
"""Figures of several runs side by side: of training over its steps, of evaluation as bars."""

import csv
import io
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from letvins_ros.errors import DataError
from letvins_ros.writing import write_atomic

Table = Mapping[str, Mapping[str, Mapping[str, float]]]  # by model, part and name


def plots(runs: Sequence[Path]) -> dict[str, Figure]:
    """training, of runs with a log.csv, and a plot for each part of the data, of runs with a figures.json."""
    logs = {str(run): _log(run / "log.csv") for run in runs if (run / "log.csv").is_file()}
    tables = {str(run): _table(run / "figures.json") for run in runs if (run / "figures.json").is_file()}
    for run in runs:
        if str(run) not in logs | tables:
            raise DataError(f"{run}: neither log.csv of training.train nor figures.json of training.evaluate")
    found = {"training": _curves(logs)} if logs else {}
    rows = {f"{run}: {Path(model).name}": parts for run, table in tables.items() for model, parts in table.items()}
    for part in dict.fromkeys(part for parts in rows.values() for part in parts):
        found[re.sub(r"\W+", "_", part)] = _bars(
            part, {name: parts[part] for name, parts in rows.items() if part in parts}
        )
    return found


def write_figure(path: Path, figure: Figure) -> None:
    """Write a .png."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=100)
    write_atomic(path, buffer.getvalue())


def _curves(logs: Mapping[str, Mapping[str, np.ndarray]]) -> Figure:
    """A panel for each figure, a line for each run."""
    names = list(dict.fromkeys(name for log in logs.values() for name in log if name != "step"))
    figure = Figure((8, 1 + 2 * len(names)), layout="constrained")
    for axes, name in zip(figure.subplots(len(names), 1, sharex=True, squeeze=False)[:, 0], names, strict=True):
        for run, log in logs.items():
            if name in log:
                axes.plot(log["step"], log[name], ".-", label=run)
        axes.set_ylabel(name)
    figure.axes[0].legend(fontsize="small")
    figure.axes[-1].set_xlabel("step")
    return figure


def _bars(part: str, rows: Mapping[str, Mapping[str, float]]) -> Figure:
    """A panel for each figure, a bar for each model."""
    names = list(dict.fromkeys(name for row in rows.values() for name in row))
    figure = Figure((8, 1 + (0.5 + 0.25 * len(rows)) * len(names)), layout="constrained")
    for axes, name in zip(figure.subplots(len(names), 1, squeeze=False)[:, 0], names, strict=True):
        axes.barh(list(rows), [row.get(name, np.nan) for row in rows.values()])
        axes.invert_yaxis()
        axes.set_title(name, fontsize="small", loc="left")
    figure.suptitle(part)
    return figure


def _log(path: Path) -> dict[str, np.ndarray]:
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    try:
        return {name: np.array([float(row[name]) for row in rows]) for name in (rows[0] if rows else ())}
    except (ValueError, TypeError) as error:
        raise DataError(f"{path}: not a log of training.train ({error})") from error


def _table(path: Path) -> Table:
    try:
        table = json.loads(path.read_text())
        return {
            model: {part: {k: np.nan if v is None else float(v) for k, v in row.items()} for part, row in parts.items()}
            for model, parts in table.items()
        }
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise DataError(f"{path}: not figures of training.evaluate ({error})") from error
