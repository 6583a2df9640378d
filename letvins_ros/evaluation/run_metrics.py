# SPDX-License-Identifier: Apache-2.0
"""The metrics of a run with their labels, and its comparison with the truth."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from letvins_ros.evaluation.kitti_error import kitti_metrics
from letvins_ros.evaluation.metrics import (
    MAX_TILT_RAD,
    AbsoluteError,
    Drift,
    absolute_error,
    drift,
    nees,
    path_length,
    relative_error,
    rms,
    velocities,
)
from letvins_ros.evaluation.record import STAGES, RunRecord
from letvins_ros.evaluation.trajectory import at_times, between, take
from letvins_ros.evaluation.truth_fit import TruthFit, fit_truth
from letvins_ros.processes import peak_rss_mb
from letvins_ros.types import Trajectory, VioStatus

ERRORS = ("ate_rmse_m", "ate_map_rmse_m", "rpe_trans_rmse_m", "rpe_rot_rmse_deg")
NEES = ("nees_position_mean", "nees_position_turned_mean", "nees_rotation_mean", "nees_velocity_mean")
FIT = ("nees_position_fitted_mean", "truth_delay_s", "truth_lever_m")
KITTI = ("kitti_trans_percent", "kitti_rot_deg_per_m", "kitti_shortest_m")

LABELS = {
    "frames": ("Frames processed", "{:d}"),
    "frames_dropped": ("Frames dropped", "{:d}"),
    "poses": ("Poses", "{:d}"),
    "matched": ("Poses with truth", "{:d}"),
    "duration_s": ("Duration", "{:.2f} s"),
    "path_length_m": ("Path length", "{:.2f} m"),
    "initialised_after_s": ("Initialised after", "{:.2f} s"),
    "coverage": ("Coverage", "{:.2%}"),
    "resets": ("Resets", "{:d}"),
    "loops": ("Loops", "{:d}"),
    "ate_rmse_m": ("ATE, RMSE", "{:.4f} m"),
    "ate_median_m": ("ATE, median", "{:.4f} m"),
    "ate_max_m": ("ATE, max", "{:.4f} m"),
    "ate_map_rmse_m": ("ATE in the map, RMSE", "{:.4f} m"),
    "rot_rmse_deg": ("Rotation error, RMSE", "{:.3f}°"),
    "rpe_trans_rmse_m": ("RPE over 1 s, translation", "{:.4f} m"),
    "rpe_rot_rmse_deg": ("RPE over 1 s, rotation", "{:.3f}°"),
    "kitti_trans_percent": ("KITTI error, translation", "{:.3f} %"),
    "kitti_rot_deg_per_m": ("KITTI error, rotation", "{:.5f}°/m"),
    "kitti_shortest_m": ("KITTI error over parts from", "{:g} m"),
    "scale": ("Scale of the estimate", "{:.5f}"),
    "offset_s": ("Added to the estimate's stamps", "{:.4f} s"),
    "nees_position_mean": ("NEES of position, mean (ideal: 3)", "{:.2f}"),
    "nees_position_turned_mean": ("the same, with the heading aligned over all poses", "{:.2f}"),
    "nees_position_fitted_mean": ("the same, with the truth's delay and lever arm fitted", "{:.2f}"),
    "truth_delay_s": ("These: delay of the truth", "{:.4f} s"),
    "truth_lever_m": ("and its distance from the IMU", "{:.4f} m"),
    "nees_rotation_mean": ("NEES of rotation, mean (ideal: 3)", "{:.2f}"),
    "nees_velocity_mean": ("NEES of velocity, mean (ideal: 3)", "{:.2f}"),
    "time_offset_s": ("Time offset of the cameras", "{:+.4f} s"),
    "realtime_factor": ("Real-time factor", "{:.2f}"),
    "tracker_ms": ("Tracker per frame", ""),
    "estimator_ms": ("Estimator per frame", ""),
    "loop_ms": ("Loop closer per frame, in parallel", ""),
    "total_ms": ("Total per frame", ""),
    "cpu_ms_per_frame": ("CPU time per frame", "{:.1f} ms"),
    "peak_rss_mb": ("Peak memory", "{:.0f} MB"),
}


@dataclass(frozen=True, eq=False)
class Comparison:
    """A run against the truth, pose by pose."""

    absolute: AbsoluteError
    absolute_map: AbsoluteError
    drift: Drift
    velocity: np.ndarray  # (N, 3) m/s, estimate - truth, odom frame; NaN where the truth's is not known
    estimate: Trajectory  # the N poses compared, in odom
    covariances: np.ndarray  # (N, 3, 3, 3) float64 of position, rotation and velocity, as in Estimate
    fit: TruthFit | None  # of the truth's own clock and place; None where unknown, or the estimate began anew


def compare(record: RunRecord, truth: Trajectory | None) -> Comparison | None:
    """Pair a run's poses with the truth; None where fewer than 3 pairs are found."""
    if truth is None:
        return None
    estimate, states = record.trajectory(), [state for _, state in record.posed()]
    paired, rows = at_times(truth, estimate.stamps_ns)
    if len(rows) < 3:
        return None
    matched, states = take(estimate, rows), [states[row] for row in rows]
    resets = np.array([state.resets for state in states])
    drifted = drift(paired, matched, resets)
    true_velocity = (drifted.R_odom_world @ velocities(truth, matched.stamps_ns)[..., None])[..., 0]
    return Comparison(
        absolute_error(paired, matched),
        absolute_error(paired, take(record.map_trajectory(), rows)),
        drifted,
        np.stack([state.velocity_odom for state in states]) - true_velocity,
        matched,
        np.stack([state.covariances for state in states], dtype=float),
        None if np.ptp(resets) else fit_truth(truth, matched),
    )


def run_metrics(record: RunRecord, truth: Trajectory | None, comparison: Comparison | None) -> dict[str, Any]:
    """metrics.json: the figures of a run; null where there is no truth or no pose."""
    frames = record.frames
    return {
        "frames": len(frames),
        "frames_total": record.frames_total,
        "frames_dropped": record.frames_dropped,
        "duration_s": record.duration_s,
        "path_length_m": _path_length(record, truth),
        **_status_metrics(record),
        "loops": record.loops,
        **_error_metrics(comparison),
        **_cost_metrics(record),
        **record.calibration,
        "warnings": record.warnings,
        "skipped": dict(record.report.counts),
        "notes": record.report.notes,
        "interrupted": record.interrupted,
        "missing": record.missing or None,
    }


def summary(metrics: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Label and value with unit of each figure present, in a fixed order; a dash where it is null."""
    return [(label, _text(metrics[key], form)) for key, (label, form) in LABELS.items() if key in metrics]


def _path_length(record: RunRecord, truth: Trajectory | None) -> float:
    """Of the truth over the run's time, else of the estimate."""
    if truth is None or not record.frames:
        return path_length(record.trajectory().positions)
    return path_length(between(truth, record.frames[0].stamp_ns, record.frames[-1].stamp_ns).positions)


def _status_metrics(record: RunRecord) -> dict[str, Any]:
    statuses = [frame.status for frame in record.frames]
    posed = [status is not VioStatus.INITIALISING for status in statuses]
    start = posed.index(True) if any(posed) else None
    resets = record.resets()
    return {
        "coverage": 0.0 if start is None else sum(posed) / len(posed[start:]),
        "initialised_after_s": None if start is None else record.seconds(record.frames[start].stamp_ns),
        "status": {status.value: statuses.count(status) for status in VioStatus},
        "resets": len(resets),
        "reset_reasons": [f"{seconds:.2f} s: {reason}" for seconds, reason in resets],
    }


def _error_metrics(comparison: Comparison | None) -> dict[str, float | None]:
    if comparison is None:
        return dict.fromkeys((*ERRORS, *NEES, *FIT, *KITTI))
    absolute = comparison.absolute
    translation, rotation = relative_error(absolute.truth, absolute.aligned)
    ate, ate_map = (rms(np.linalg.norm(e.position, axis=1)) for e in (absolute, comparison.absolute_map))
    errors = dict(zip(ERRORS, (ate, ate_map, rms(translation), rms(np.degrees(rotation))), strict=True))
    return errors | _consistency(comparison) | kitti_metrics(absolute.truth, absolute.aligned)


def _consistency(comparison: Comparison) -> dict[str, float | None]:
    """Means of the NEES; None where the truth has another vertical, or no covariance or velocity is known."""
    drifted, of = comparison.drift, comparison.covariances
    pairs = (
        (drifted.position, of[:, 0]),
        (drifted.turned, of[:, 0]),
        (drifted.rotation, of[:, 1]),
        (comparison.velocity, of[:, 2]),
    )
    values = [nees(error, covariances) for error, covariances in pairs]
    comparable = drifted.tilt_rad < MAX_TILT_RAD
    means = {name: float(v.mean()) if comparable and len(v) else None for name, v in zip(NEES, values, strict=True)}
    return means | _fitted(comparison.fit if comparable else None, comparison.estimate, of[:, 0])


def _fitted(fit: TruthFit | None, estimate: Trajectory, covariances: np.ndarray) -> dict[str, float | None]:
    if fit is None:
        return dict.fromkeys(FIT)
    true, rows = at_times(fit.truth, estimate.stamps_ns)
    turned = drift(true, take(estimate, rows), np.zeros(len(rows), int)).turned
    mean = float(nees(turned, covariances[rows]).mean())
    return dict(zip(FIT, (mean, fit.delay_s, float(np.linalg.norm(fit.lever_m))), strict=True))


def _cost_metrics(record: RunRecord) -> dict[str, Any]:
    n = len(record.frames)
    return {
        "realtime_factor": record.duration_s / record.wall_s if n else None,
        **{stage: _percentiles(record, stage) for stage in STAGES},
        "cpu_ms_per_frame": 1000 * record.cpu_s / n if n else None,
        "peak_rss_mb": peak_rss_mb() + record.loop_process[1],
    }


def _percentiles(record: RunRecord, stage: str) -> dict[str, float] | None:
    values = [getattr(frame, stage) for frame in record.frames]
    if not values:
        return None
    return {"median": float(np.median(values)), "p95": float(np.percentile(values, 95)), "max": float(max(values))}


def _text(value: Any, form: str) -> str:
    if value is None:
        return "–"
    if isinstance(value, Mapping):
        return f"median {value['median']:.1f}, p95 {value['p95']:.1f}, max {value['max']:.1f} ms"
    return form.format(value)
