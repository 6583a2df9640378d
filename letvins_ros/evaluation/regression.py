# SPDX-License-Identifier: Apache-2.0
"""Statistics of a benchmark's runs: medians, spread, and regressions against a baseline."""

import json
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.table import Table

from letvins_ros.errors import ConfigError, DataError
from letvins_ros.evaluation.suite import Suite, Tolerance
from letvins_ros.keys import brief, check_keys
from letvins_ros.reading import ending

Rows = list[dict[str, Any]]
Statistics = dict[str, dict[str, float]]
HIGHER_IS_BETTER = {"coverage", "realtime_factor"}
COLUMNS = {
    "ATE m": ("ate_rmse_m", "{:.4f}"),
    "RPE m": ("rpe_trans_rmse_m", "{:.4f}"),
    "RPE °": ("rpe_rot_rmse_deg", "{:.3f}"),
    "coverage": ("coverage", "{:.3f}"),
    "NEES": ("nees_position_mean", "{:.1f}"),
    "ms/frame": ("total_ms.median", "{:.1f}"),
    "p95": ("total_ms.p95", "{:.1f}"),
    "real time": ("realtime_factor", "{:.1f}x"),
    "MB": ("peak_rss_mb", "{:.0f}"),
}
_ROW = {  # what a row of benchmark.json holds
    "source": str,
    "configuration": str,
    "runs": int,
    "failed": int,
    "new": bool,
    "worse": list,
    "statistics": dict,
}
_LOSS = {"metric": str, "now": object, "before": float}  # now: none where a figure is no longer available


def summarise(suite: Suite, runs: Rows, baseline: Rows | None) -> Rows:
    """One row for each source and configuration: statistics of its runs, failures and regressions.

    runs: each has source, configuration, and metrics or error.
    """
    before = {(row["source"], row["configuration"]): row["statistics"] for row in baseline or []}
    rows = []
    for source in suite.sources:
        for configuration in suite.configurations:
            key = {"source": source.name, "configuration": configuration.name}
            own = [run for run in runs if key.items() <= run.items()]
            now = _statistics([run["metrics"] for run in own if "metrics" in run])
            old = before.get((source.name, configuration.name))
            counts = {"runs": len(own), "failed": sum("error" in run for run in own)}
            losses = _losses(now, old or {}, suite)
            rows.append({**key, **counts, "new": old is None, "worse": losses, "statistics": now})
    return rows


def worse(metric: str, now: float | None, before: float | None, tolerance: Tolerance) -> bool:
    """Whether a median is worse than the baseline's by more than the relative and the absolute tolerance."""
    if before is None or now is None:
        return before is not None  # a figure that is no longer available
    loss = before - now if metric in HIGHER_IS_BETTER else now - before
    return loss > max(tolerance.absolute, tolerance.relative * abs(before), 1e-9)  # 1e-9: rounding


def read_rows(path: Path) -> Rows:
    """The rows of a benchmark.json. Raises DataError where it is none."""
    try:
        rows = json.loads(ending(path).read_text(encoding="utf-8"))["rows"]
        for i, row in enumerate(rows):
            _check_row(row, f"rows[{i}].")
        return list(rows)
    except ConfigError as error:
        raise DataError(f"{path} is not a benchmark.json: {error}") from error
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise DataError(f"{path} is not a benchmark.json: {error!r}") from error


def _check_row(row: object, where: str) -> None:
    """Raise ConfigError where it is not as `summarise` makes it."""
    given = check_keys(row, where, _ROW)
    for key in _ROW.keys() - given.keys():
        raise ConfigError(f"{where}{key} is missing")
    numbers = dict.fromkeys(("median", "mean", "min", "max"), float)
    for name, stats in given["statistics"].items():
        at = f"{where}statistics.{name}."
        for key, value in check_keys(stats, at, numbers, numbers).items():
            if not abs(value) < 1e300:
                raise ConfigError(f"{at}{key} must be a finite number, got {brief(value)}")
    for loss in given["worse"]:
        for key, value in check_keys(loss, f"{where}worse.", _LOSS, ["metric", "before"]).items():
            if key != "metric" and value is not None and not (isinstance(value, int | float) and abs(value) < 1e300):
                raise ConfigError(f"{where}worse.{key} must be a finite number, got {brief(value)}")


def benchmark_table(out: Path) -> Table:
    """The table of the benchmark in a folder: median and, where runs differ, minimum and maximum."""
    table = Table(title="median (min, max)")
    for heading in ("source", "configuration", "runs", *COLUMNS, "verdict"):
        table.add_column(heading, justify="left" if heading in {"source", "configuration", "verdict"} else "right")
    for row in read_rows(out / "benchmark.json"):
        cells = [_cell(row["statistics"].get(key), form) for key, form in COLUMNS.values()]
        table.add_row(
            row["source"], row["configuration"], f"{row['runs'] - row['failed']}/{row['runs']}", *cells, _verdict(row)
        )
    return table


def _losses(now: Statistics, before: Statistics, suite: Suite) -> Rows:
    changes = []
    for metric, tolerance in suite.tolerance.items():
        new, old = (stats[metric]["median"] if metric in stats else None for stats in (now, before))
        if worse(metric, new, old, tolerance):
            changes.append({"metric": metric, "now": new, "before": old})
    return changes


def _statistics(metrics: list[dict[str, Any]]) -> Statistics:
    """Median, mean, min and max of every number, by dotted name, over the runs that have it."""
    values: dict[str, list[float]] = {}
    for name, value in (item for run in metrics for item in _numbers(run)):
        values.setdefault(name, []).append(value)
    return {
        name: {"median": statistics.median(v), "mean": statistics.fmean(v), "min": min(v), "max": max(v)}
        for name, v in values.items()
    }


def _numbers(metrics: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    for key, value in metrics.items():
        if isinstance(value, dict):
            yield from _numbers(value, f"{prefix}{key}.")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield f"{prefix}{key}", value


def _cell(stats: dict[str, float] | None, form: str) -> str:
    if stats is None:
        return "–"
    median, low, high = (form.format(stats[name]) for name in ("median", "min", "max"))
    return median if low == high else f"{median} ({low}, {high})"


def _verdict(row: dict[str, Any]) -> str:
    problems = [f"{row['failed']} of {row['runs']} runs failed"] if row["failed"] else []
    for change in row["worse"]:
        now = "none" if change.get("now") is None else f"{change['now']:.4g}"
        problems.append(f"{change['metric']} {change['before']:.4g} -> {now}")
    if problems:
        return "[red]worse: " + "; ".join(problems)
    return "no baseline" if row["new"] else "[green]as good"
