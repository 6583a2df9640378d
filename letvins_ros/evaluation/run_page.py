# SPDX-License-Identifier: Apache-2.0
"""The report of a run: plots and notes made from its record and its comparison with the truth."""

from collections.abc import Mapping
from itertools import groupby
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from letvins_ros.evaluation.metrics import MAX_TILT_RAD
from letvins_ros.evaluation.plots import ErrorSeries, Marks, error_figure, map_figure, timing_figure, trajectory_figure
from letvins_ros.evaluation.record import STAGES, RunRecord
from letvins_ros.evaluation.report import Page, Rows
from letvins_ros.evaluation.run_metrics import Comparison, summary
from letvins_ros.types import VioStatus


def run_page(
    record: RunRecord, metrics: Mapping[str, Any], comparison: Comparison | None, config_text: str = ""
) -> Page:
    """Figures, plots and notes of a run."""
    marks = _marks(record, metrics)
    figures = {
        "trajectory": _trajectory(record, metrics, comparison),
        "error": _error(record, comparison, marks),
        "timing": _timing(record, marks),
    }
    if len(record.loop_stamps_ns):
        figures["map"] = _map(record, comparison)
    details = {"Skipped or repaired while reading": _skipped(record), "Status": _status(metrics)}
    title = f"letvins run {record.source}".strip()
    return Page(title, _notices(record), summary(metrics), figures, details, config_text)


def _trajectory(record: RunRecord, metrics: Mapping[str, Any], comparison: Comparison | None) -> Figure:
    if comparison is None:
        return trajectory_figure(
            record.trajectory().positions, title="Causal trajectory in odom, no truth to compare with"
        )
    absolute = comparison.absolute
    title = f"Causal trajectory aligned to the truth, ATE {metrics['ate_rmse_m']:.4f} m"
    return trajectory_figure(absolute.aligned.positions, absolute.truth.positions, title)


def _map(record: RunRecord, comparison: Comparison | None) -> Figure:
    after = record.map_trajectory()
    if comparison is None:
        before, truth = record.trajectory().positions, None
    else:
        aligned = comparison.absolute_map.aligned
        before, after, truth = comparison.absolute.aligned.positions, aligned, comparison.absolute_map.truth.positions
    ends = np.searchsorted(after.stamps_ns, record.loop_stamps_ns).clip(max=len(after) - 1)
    return map_figure(before, after.positions, truth, after.positions[ends])


def _error(record: RunRecord, comparison: Comparison | None, marks: Marks) -> Figure:
    if comparison is None:
        posed = record.posed()
        bounds = _bounds(np.array([state.covariances for _, state in posed]).reshape(-1, 3, 3, 3))
        series = ErrorSeries(_seconds(record, [f.stamp_ns for f, _ in posed]), None, None, *bounds)
        return error_figure(series, marks, "Uncertainty; no truth to compare with")
    time_s, drift, absolute = _seconds(record, comparison.estimate.stamps_ns), comparison.drift, comparison.absolute
    if drift.tilt_rad > MAX_TILT_RAD:  # bounds hold in odom, to which a heading alone cannot align this truth
        series = ErrorSeries(time_s, absolute.position, absolute.rotation_rad, None)
        return error_figure(series, marks, "Error after SE(3) alignment")
    angles = np.linalg.norm(drift.rotation, axis=1)
    series = ErrorSeries(time_s, drift.position, angles, *_bounds(comparison.covariances))
    return error_figure(series, marks, "Error since the start (position and heading aligned at the first pose only)")


def _timing(record: RunRecord, marks: Marks) -> Figure:
    stamps = np.array([frame.stamp_ns for frame in record.frames], np.int64)
    stages = {name.removesuffix("_ms"): np.array([getattr(f, name) for f in record.frames]) for name in STAGES}
    budget_ms = float(np.median(np.diff(stamps))) / 1e6 if len(stamps) > 1 else 0.0
    return timing_figure(_seconds(record, stamps), stages, budget_ms, marks)


def _marks(record: RunRecord, metrics: Mapping[str, Any]) -> Marks:
    degraded = []
    for status, group in groupby(record.frames, key=lambda frame: frame.status):
        frames = list(group)
        if status is VioStatus.DEGRADED:
            degraded.append((record.seconds(frames[0].stamp_ns), record.seconds(frames[-1].stamp_ns)))
    return Marks(metrics["initialised_after_s"], tuple(seconds for seconds, _ in record.resets()), tuple(degraded))


def _notices(record: RunRecord) -> list[str]:
    notices = [f"Warning: {w['message']}. Remedy: {w['remedy']}. (since {w['since_s']:.1f} s)" for w in record.warnings]
    if record.interrupted:
        notices.append(f"Interrupted: {len(record.frames)} of {record.frames_total} frames were processed.")
    if record.frames_dropped:
        notices.append(f"{record.frames_dropped} frames were dropped.")
    if not record.posed():
        last = next((frame.state.reason for frame in reversed(record.frames) if frame.state), "no frame gave a state")
        notices.append(f"Never initialised: {last}.")
    return notices


def _skipped(record: RunRecord) -> Rows:
    report = record.report
    chosen = [("chosen", note) for note in report.notes]
    counted = [(f"{kind}: {count}", report.examples.get(kind, "")) for kind, count in report.counts.items()]
    return chosen + counted or [("nothing", "")]


def _status(metrics: Mapping[str, Any]) -> Rows:
    rows = [(f"frames {name}", str(count)) for name, count in metrics["status"].items()]
    return rows + [("reset", reason) for reason in metrics["reset_reasons"]]


def _seconds(record: RunRecord, stamps_ns: list[int] | np.ndarray) -> np.ndarray:
    first = record.frames[0].stamp_ns if record.frames else 0
    return (np.asarray(stamps_ns, np.int64) - first) / 1e9


def _bounds(covariances: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Standard deviations of the position (N, 3) m and of the rotation, over all axes, (N,) rad."""
    variances = np.diagonal(covariances, axis1=2, axis2=3).clip(0)
    return np.sqrt(variances[:, 0]), np.sqrt(variances[:, 1].sum(axis=1))
