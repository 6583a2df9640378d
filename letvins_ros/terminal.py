# SPDX-License-Identifier: Apache-2.0
"""Progress and tables on the command line."""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

Progress = Callable[[int, int], None]  # done, total


@contextmanager
def progress_bar(label: str) -> Iterator[Progress]:
    """Show progress on stderr: a bar on a terminal, elsewhere a line per tenth."""
    if not sys.stderr.isatty():
        yield _tenths(label)
        return
    from rich import progress
    from rich.console import Console

    columns = (progress.BarColumn(), progress.MofNCompleteColumn(), progress.TimeRemainingColumn())
    text = progress.TextColumn("{task.description}")
    with progress.Progress(text, *columns, console=Console(stderr=True), refresh_per_second=4, transient=True) as bar:
        task = bar.add_task(label, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def aligned(rows: Sequence[tuple[str, str]]) -> str:
    """Labels and values in two columns, a line per row."""
    width = max((len(label) for label, _ in rows), default=0)
    return "\n".join(f"{label:<{width}}  {value}" for label, value in rows)


def columns(tables: Mapping[str, Sequence[tuple[str, str]]]) -> str:
    """Tables of the same labels side by side, each under its name."""
    labels = [label for label, _ in next(iter(tables.values()))]
    rows = [["", *labels]] + [[name, *(value for _, value in table)] for name, table in tables.items()]
    widths = [max(map(len, column)) for column in rows]
    lines = zip(
        *([cell.ljust(width) for cell in column] for column, width in zip(rows, widths, strict=True)), strict=True
    )
    return "\n".join("  ".join(line).rstrip() for line in lines)


def _tenths(label: str) -> Progress:
    shown = 0

    def show(done: int, total: int) -> None:
        nonlocal shown
        tenth = 10 * done // max(total, 1)
        if tenth > shown:
            shown = tenth
            sys.stderr.write(f"{label}: {done} of {total}\n")

    return show
