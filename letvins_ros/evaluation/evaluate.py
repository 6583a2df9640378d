# SPDX-License-Identifier: Apache-2.0
"""Compare a trajectory file with a reference."""

from pathlib import Path
from typing import Any

import numpy as np

from letvins_ros.errors import DataError
from letvins_ros.evaluation.metrics import AbsoluteError, absolute_error, path_length, relative_error, rms
from letvins_ros.evaluation.trajectory import MAX_DT_NS, SECOND_NS, associate, between, read_reference, read_tum, take
from letvins_ros.writing import to_json, write_atomic


def evaluate(estimate: Path, reference: Path, out: Path | None = None) -> dict[str, Any]:
    """Absolute and relative errors of a TUM file against a TUM file, an EuRoC csv or a dataset, after SE(3) alignment.

    coverage is the share of a dataset's frames that have a pose and truth, null where the reference is only a file.
    Writes metrics.json, plots and report.html where out is given. Raises DataError.
    """
    (truth, frames), estimated = read_reference(reference), read_tum(estimate)
    true_rows, rows = associate(truth, estimated)
    if len(rows) < 3:
        raise DataError(
            f"{len(rows)} of the {len(estimated)} poses in {estimate} lie within {MAX_DT_NS / 1e6:g} ms of one in"
            f" {reference}; 3 are needed"
        )
    absolute = absolute_error(take(truth, true_rows), take(estimated, rows))
    first_ns, last_ns = (int(absolute.truth.stamps_ns[i]) for i in (0, -1))
    metrics: dict[str, Any] = {
        "poses": len(estimated),
        "matched": len(rows),
        "duration_s": (last_ns - first_ns) / SECOND_NS,
        "path_length_m": path_length(between(truth, first_ns, last_ns).positions),
        "coverage": len(rows) / frames if frames else None,
        **_errors(absolute),
    }
    if out is not None:
        write_atomic(out / "metrics.json", to_json(metrics))
        _write_report(out, absolute, metrics, f"{estimate} against {reference}")
    return metrics


def _errors(absolute: AbsoluteError) -> dict[str, float | None]:
    distance = np.linalg.norm(absolute.position, axis=1)
    translation, rotation = relative_error(absolute.truth, absolute.aligned)
    return {
        "ate_rmse_m": rms(distance),
        "ate_median_m": float(np.median(distance)),
        "ate_max_m": float(distance.max()),
        "rot_rmse_deg": rms(np.degrees(absolute.rotation_rad)),
        "rpe_trans_rmse_m": rms(translation),
        "rpe_rot_rmse_deg": rms(np.degrees(rotation)),
    }


def _write_report(out: Path, absolute: AbsoluteError, metrics: dict[str, Any], title: str) -> None:
    from letvins_ros.evaluation.plots import ErrorSeries, Marks, error_figure, trajectory_figure
    from letvins_ros.evaluation.report import Page, write_report
    from letvins_ros.evaluation.run_metrics import summary

    stamps = absolute.truth.stamps_ns
    series = ErrorSeries((stamps - stamps[0]) / SECOND_NS, absolute.position, absolute.rotation_rad, None)
    figures = {
        "trajectory": trajectory_figure(absolute.aligned.positions, absolute.truth.positions, "Aligned to the truth"),
        "error": error_figure(series, Marks(), "Error after SE(3) alignment"),
    }
    write_report(out, Page(title, [], summary(metrics), figures, {}))
