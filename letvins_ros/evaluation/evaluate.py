# SPDX-License-Identifier: Apache-2.0
"""Compare trajectory files with a reference."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from letvins_ros.datasets import ReadReport
from letvins_ros.errors import DataError
from letvins_ros.evaluation.kitti_error import kitti_metrics
from letvins_ros.evaluation.metrics import AbsoluteError, absolute_error, path_length, relative_error, rms
from letvins_ros.evaluation.time_offset import estimate_offset
from letvins_ros.evaluation.trajectory import (
    MAX_GAP_NS,
    SECOND_NS,
    associate,
    at_times,
    between,
    read_estimate,
    read_reference,
    take,
)
from letvins_ros.types import Trajectory
from letvins_ros.writing import to_json, write_atomic


@dataclass(frozen=True)
class Comparing:
    """How poses of an estimate and of the truth are brought together."""

    max_diff_s: float | None = None  # pair the poses nearest in time, at most so far apart; None: interpolate
    offset_s: float = 0.0  # added to the estimate's stamps
    find_offset: bool = False  # and what is found to fit best
    with_scale: bool = False  # Sim(3) instead of SE(3) alignment
    topic: str | None = None  # of an estimate that is a bag; None: the nodes' odometry


_PLAIN = Comparing()


def evaluate(estimate: Path, reference: Path, out: Path | None = None, how: Comparing = _PLAIN) -> dict[str, Any]:
    """Absolute and relative errors of a TUM file or a bag against a TUM file, an EuRoC csv or a dataset, aligned.

    Of the two the one with more poses is interpolated at the times of the other; gaps over 0.5 s are left out.
    coverage is the share of a dataset's frames that have a pose and truth, null where the reference is only a file.
    Writes metrics.json, plots and report.html where out is given. Raises DataError.
    """
    metrics, absolute = _compare(estimate, reference, how)
    if out is not None:
        write_atomic(out / "metrics.json", to_json(metrics))
        _write_report(out, absolute, metrics, f"{estimate} against {reference}")
    return metrics


def evaluate_all(
    estimates: Sequence[Path], reference: Path, out: Path | None = None, how: Comparing = _PLAIN
) -> dict[str, dict[str, Any]]:
    """As `evaluate` for several estimates, by their shortest different names.

    Where out is given it gets metrics.json by name, trajectories.png with all of them, and a folder of each.
    """
    compared = {name: _compare(path, reference, how) for name, path in _names(estimates).items()}
    if out is not None:
        from letvins_ros.evaluation.plots import overlay_png

        write_atomic(out / "metrics.json", to_json({name: metrics for name, (metrics, _) in compared.items()}))
        write_atomic(
            out / "trajectories.png", overlay_png({name: absolute for name, (_, absolute) in compared.items()})
        )
        for name, (metrics, absolute) in compared.items():
            write_atomic(out / name / "metrics.json", to_json(metrics))
            _write_report(out / name, absolute, metrics, f"{name} against {reference}")
    return {name: metrics for name, (metrics, _) in compared.items()}


def _names(paths: Sequence[Path]) -> dict[str, Path]:
    """File names without suffix, with the folders above them where these are needed to tell them apart."""
    for depth in range(1, max(len(path.resolve().parts) for path in paths) + 1):
        names = ["-".join(path.resolve().with_suffix("").parts[-depth:]).strip("/") for path in paths]
        if len(set(names)) == len(names):
            return dict(zip(names, paths, strict=True))
    raise DataError(f"{paths[0]}: named twice")


def _compare(estimate: Path, reference: Path, how: Comparing) -> tuple[dict[str, Any], AbsoluteError]:
    report = ReadReport()
    (truth, frames), estimated = read_reference(reference, report), read_estimate(estimate, how.topic, report)
    offset_s = how.offset_s
    if how.find_offset:
        offset_s += estimate_offset(truth, _shifted(estimated, offset_s))
    estimated = _shifted(estimated, offset_s)
    true, matched = _paired(truth, estimated, how.max_diff_s)
    if len(true) < 3:
        within = f"lie within {how.max_diff_s * 1e3:g} ms of one" if how.max_diff_s else "have truth around them"
        raise DataError(
            f"{len(true)} of the {len(estimated)} poses in {estimate} {within} in {reference}; 3 are needed"
        )
    absolute = absolute_error(true, matched, how.with_scale)
    first_ns, last_ns = (int(true.stamps_ns[i]) for i in (0, -1))
    metrics: dict[str, Any] = {
        "poses": len(estimated),
        "matched": len(true),
        "duration_s": (last_ns - first_ns) / SECOND_NS,
        "path_length_m": path_length(between(truth, first_ns, last_ns).positions),
        "coverage": len(true) / frames if frames else None,
        **_errors(absolute),
        **({"scale": absolute.scale} if how.with_scale else {}),
        **({"offset_s": offset_s} if offset_s or how.find_offset else {}),
        "notes": report.notes,
    }
    return metrics, absolute


def _shifted(trajectory: Trajectory, offset_s: float) -> Trajectory:
    stamps_ns = trajectory.stamps_ns + round(offset_s * SECOND_NS)
    return Trajectory(stamps_ns, trajectory.positions, trajectory.quaternions)


def _paired(truth: Trajectory, estimate: Trajectory, max_diff_s: float | None) -> tuple[Trajectory, Trajectory]:
    """As many poses of both, at the same times or, where a largest difference is given, nearest in time."""
    if max_diff_s is not None:
        true_rows, rows = associate(truth, estimate, round(max_diff_s * SECOND_NS))
        return take(truth, true_rows), take(estimate, rows)
    if len(truth) < len(estimate) and np.median(np.diff(truth.stamps_ns)) > MAX_GAP_NS:  # truth of a few places
        matched, rows = at_times(estimate, truth.stamps_ns)
        return take(truth, rows), matched
    true, rows = at_times(truth, estimate.stamps_ns)
    return true, take(estimate, rows)


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
        **kitti_metrics(absolute.truth, absolute.aligned),
    }


def _write_report(out: Path, absolute: AbsoluteError, metrics: Mapping[str, Any], title: str) -> None:
    from letvins_ros.evaluation.plots import ErrorSeries, Marks, error_figure, trajectory_figure
    from letvins_ros.evaluation.report import Page, write_report
    from letvins_ros.evaluation.run_metrics import summary

    stamps = absolute.truth.stamps_ns
    series = ErrorSeries((stamps - stamps[0]) / SECOND_NS, absolute.position, absolute.rotation_rad, None)
    kind = "Sim(3)" if "scale" in metrics else "SE(3)"
    figures = {
        "trajectory": trajectory_figure(absolute.aligned.positions, absolute.truth.positions, "Aligned to the truth"),
        "error": error_figure(series, Marks(), f"Error after {kind} alignment"),
    }
    write_report(out, Page(title, [], summary(metrics), figures, {}))
