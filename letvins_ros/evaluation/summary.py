# SPDX-License-Identifier: Apache-2.0
"""Figures in words: the rows of the table at the end of a run and of its report."""

from collections.abc import Mapping
from typing import Any

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
    "nees_position_mean": ("NEES of position, mean (3 is perfect)", "{:.2f}"),
    "realtime_factor": ("Real-time factor", "{:.2f}"),
    "tracker_ms": ("Tracker per frame", ""),
    "estimator_ms": ("Estimator per frame", ""),
    "loop_ms": ("Loop closer per frame, beside", ""),
    "total_ms": ("Total per frame", ""),
    "cpu_ms_per_frame": ("CPU time per frame", "{:.1f} ms"),
    "peak_rss_mb": ("Peak memory", "{:.0f} MB"),
}


def summary(metrics: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Label and value with unit of each figure present, in a fixed order; a dash where it is null."""
    return [(label, _text(metrics[key], form)) for key, (label, form) in LABELS.items() if key in metrics]


def _text(value: Any, form: str) -> str:
    if value is None:
        return "–"
    if isinstance(value, Mapping):
        return f"median {value['median']:.1f}, p95 {value['p95']:.1f}, max {value['max']:.1f} ms"
    return form.format(value)
