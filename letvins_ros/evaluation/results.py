# SPDX-License-Identifier: Apache-2.0
"""The files of a run."""

import csv
import io
from pathlib import Path
from typing import Any

from letvins_ros.evaluation.record import STAGES, RunRecord
from letvins_ros.evaluation.run_metrics import compare, run_metrics
from letvins_ros.evaluation.trajectory import write_tum
from letvins_ros.types import Trajectory
from letvins_ros.writing import to_json, write_atomic


def write_results(out: Path, record: RunRecord, truth: Trajectory | None, config_text: str) -> dict[str, Any]:
    """Write every file of a run into a folder and return the metrics. Raises DataError where it cannot be written."""
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
