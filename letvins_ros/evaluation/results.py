# SPDX-License-Identifier: Apache-2.0
"""The files of a run."""

import csv
import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from letvins_ros.errors import DataError
from letvins_ros.evaluation.record import STAGES, RunRecord
from letvins_ros.evaluation.run_metrics import compare, run_metrics
from letvins_ros.evaluation.trajectory import write_tum
from letvins_ros.types import Trajectory
from letvins_ros.writing import move_set, part_folder, to_json, unused, write_atomic

FILES = (
    *("trajectory.tum", "trajectory_map.tum", "timing.csv", "config.yaml", "metrics.json"),
    *("trajectory.png", "error.png", "timing.png", "map.png", "report.html"),
)
_LAST = "metrics.json"  # where it is, the others are


def write_results(out: Path, record: RunRecord, truth: Trajectory | None, config_text: str) -> dict[str, Any]:
    """Write every file of a run into a folder, together, and return the metrics.

    Those of another run are replaced once all are written. Raises DataError where a file cannot be written; the others
    are kept, where `out` holds those of another run in a folder beside it.
    """
    try:
        with part_folder(out / "results") as part:
            with _kept_after_an_error(part, out):
                metrics = _write(part, record, truth, config_text)
            move_set(part, out, _LAST, FILES)
    except OSError as error:
        raise DataError(f"cannot write {out}: {error.strerror or error}") from error
    return metrics


@contextmanager
def _kept_after_an_error(part: Path, out: Path) -> Iterator[None]:
    try:
        yield
    except (DataError, KeyboardInterrupt) as error:
        kept = unused(out) if any((out / name).exists() for name in FILES) else out
        kept.mkdir(exist_ok=True)
        move_set(part, kept, _LAST)
        if isinstance(error, KeyboardInterrupt):
            raise
        raise DataError(str(error).replace(str(part), str(kept))) from error


def _write(out: Path, record: RunRecord, truth: Trajectory | None, config_text: str) -> dict[str, Any]:
    write_tum(out / "trajectory.tum", record.trajectory())
    write_tum(out / "trajectory_map.tum", record.map_trajectory())
    write_atomic(out / "timing.csv", _timing_csv(record))
    write_atomic(out / "config.yaml", config_text)
    comparison = compare(record, truth)
    metrics = run_metrics(record, truth, comparison)
    write_atomic(out / "metrics.json", to_json(metrics))
    # matplotlib is imported only once the numbers are on disk
    from letvins_ros.evaluation.report import write_report
    from letvins_ros.evaluation.run_page import run_page

    write_report(out, run_page(record, metrics, comparison, config_text))
    return metrics


def _timing_csv(record: RunRecord) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["stamp_ns", *STAGES, "features", "status", "resets", "reason"])
    for frame in record.frames:
        costs = [f"{getattr(frame, stage):.3f}" for stage in STAGES]
        resets, reason = (frame.state.resets, frame.state.reason) if frame.state else (0, "")
        writer.writerow([frame.stamp_ns, *costs, frame.features, frame.status.value, resets, reason])
    return text.getvalue()
