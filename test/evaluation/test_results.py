# SPDX-License-Identifier: Apache-2.0
import csv
import json
import shutil
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from letvins_ros.errors import DataError
from letvins_ros.evaluation.evaluate import evaluate
from letvins_ros.evaluation.record import Estimate, FrameResult, RunRecord
from letvins_ros.evaluation.results import write_results
from letvins_ros.evaluation.run_metrics import compare, run_metrics
from letvins_ros.evaluation.run_page import run_page
from letvins_ros.evaluation.trajectory import read_tum, write_tum
from letvins_ros.processes import peak_rss_mb
from letvins_ros.types import Trajectory, VioState, VioStatus

from ..command import RESULTS
from .conftest import Written

KEYS = (  # what other programs read
    "frames frames_dropped duration_s path_length_m coverage initialised_after_s resets loops ate_rmse_m ate_map_rmse_m"
    " rpe_trans_rmse_m rpe_rot_rmse_deg nees_position_mean nees_position_turned_mean nees_rotation_mean"
    " nees_velocity_mean realtime_factor tracker_ms estimator_ms loop_ms total_ms peak_rss_mb"
).split()


def _metrics(record: RunRecord, truth: Trajectory | None = None) -> dict[str, Any]:
    return run_metrics(record, truth, compare(record, truth))


def test_a_run_is_counted_right(record: RunRecord, truth: Trajectory) -> None:
    metrics = _metrics(record, truth)
    assert set(KEYS) <= set(metrics)
    assert (metrics["frames"], metrics["frames_total"], metrics["frames_dropped"]) == (100, 101, 1)
    assert metrics["duration_s"] == pytest.approx(99 * 0.05)
    assert metrics["initialised_after_s"] == pytest.approx(0.5)
    assert metrics["coverage"] == pytest.approx(89 / 90)
    assert metrics["status"] == {"initialising": 11, "tracking": 85, "degraded": 4}
    assert metrics["loops"] == 2
    assert metrics["skipped"] == {"images missing": 3}
    assert metrics["total_ms"] == {"median": pytest.approx(69.5), "p95": pytest.approx(114.05), "max": 119.0}


def test_errors_match_the_noise_put_in(record: RunRecord, truth: Trajectory) -> None:
    metrics = _metrics(record, truth)
    assert metrics["ate_rmse_m"] == pytest.approx(0.01 * np.sqrt(3), rel=0.15)
    assert metrics["ate_map_rmse_m"] == pytest.approx(metrics["ate_rmse_m"], rel=1e-9)  # the map is only shifted
    assert metrics["rpe_trans_rmse_m"] == pytest.approx(0.01 * np.sqrt(6), rel=0.15)
    assert metrics["rpe_rot_rmse_deg"] < 1e-5
    assert 3 < metrics["nees_position_mean"] < 12  # 3, and as much again by the error of the pose it starts from


def test_nees_is_null_where_the_truth_has_another_vertical(record: RunRecord, truth: Trajectory) -> None:
    lying = type(truth)(
        truth.stamps_ns, truth.positions[:, [0, 2, 1]], truth.quaternions[:, [0, 2, 1, 3]] * [1, 1, 1, -1]
    )
    metrics = _metrics(record, lying)
    assert metrics["nees_position_mean"] is None
    assert metrics["ate_rmse_m"] is not None


def test_without_truth_the_errors_are_null_and_the_path_is_the_estimates(record: RunRecord) -> None:
    metrics = _metrics(record)
    assert all(metrics[key] is None for key in KEYS if key.startswith(("ate", "rpe", "nees")))
    assert metrics["path_length_m"] > 1


def test_resets_are_counted_with_time_and_reason(frame_at: Callable[..., FrameResult]) -> None:
    record = RunRecord(frames_total=4)
    for i, (resets, reason) in enumerate([(0, ""), (0, ""), (1, "speed of 60 m/s"), (1, "")]):
        record.add(frame_at(i * 500_000_000, resets=resets, reason=reason))
    metrics = _metrics(record)
    assert metrics["resets"] == 1
    assert metrics["reset_reasons"] == ["1.00 s: speed of 60 m/s"]


def test_every_file_is_written_and_the_rows_agree(written: Written, record: RunRecord) -> None:
    out, metrics = written
    assert {path.name for path in out.iterdir()} == RESULTS
    assert json.loads((out / "metrics.json").read_text()) == json.loads(json.dumps(metrics))
    odom, in_map = read_tum(out / "trajectory.tum"), read_tum(out / "trajectory_map.tum")
    assert len(odom) == 89
    np.testing.assert_array_equal(odom.stamps_ns, in_map.stamps_ns)
    np.testing.assert_allclose(in_map.positions - odom.positions, np.tile([1.0, 0, 0], (89, 1)), atol=2e-9)
    rows = list(csv.DictReader((out / "timing.csv").open()))
    assert [int(row["stamp_ns"]) for row in rows] == [frame.stamp_ns for frame in record.frames]
    assert (rows[0]["status"], rows[41]["status"], rows[41]["reason"]) == ("initialising", "degraded", "few tracks")
    assert float(rows[99]["total_ms"]) == 119.0
    assert (out / "config.yaml").read_text() == "tracker: lk  # <b>&\n"


def test_evaluating_the_written_trajectory_gives_the_runs_own_figures(
    tmp_path: Path, written: Written, truth: Trajectory
) -> None:
    out, metrics = written
    write_tum(tmp_path / "truth.tum", truth)
    again = evaluate(out / "trajectory.tum", tmp_path / "truth.tum")
    for key in ("ate_rmse_m", "rpe_trans_rmse_m"):
        assert again[key] == pytest.approx(metrics[key], rel=1e-6)


@pytest.mark.parametrize("frames", [0, 3])
def test_a_run_that_never_initialised_says_so(
    truth: Trajectory, frame_at: Callable[..., FrameResult], frames: int
) -> None:
    record = RunRecord(frames_total=9, interrupted=True)
    for i in range(frames):
        record.add(frame_at(i * 50_000_000, status=VioStatus.INITIALISING, reason="waiting for motion"))
    metrics = _metrics(record, truth)
    assert metrics["coverage"] == 0.0
    assert metrics["initialised_after_s"] is None
    assert run_page(record, metrics, None).notices == [
        f"Interrupted: {frames} of 9 frames were processed.",
        "Never initialised: " + ("waiting for motion." if frames else "no frame gave a state."),
    ]


def test_a_run_without_any_frame_is_written_whole(tmp_path: Path, truth: Trajectory) -> None:
    write_results(tmp_path, RunRecord(frames_total=9), truth, "")
    assert {path.name for path in tmp_path.iterdir()} == RESULTS
    assert (tmp_path / "trajectory.tum").read_bytes() == b""


def test_a_single_pose_has_no_error_but_a_report(truth: Trajectory, frame_at: Callable[..., FrameResult]) -> None:
    record = RunRecord(frames_total=1)
    record.add(frame_at(int(truth.stamps_ns[0])))
    assert compare(record, truth) is None
    assert run_page(record, _metrics(record, truth), None).notices == []


def test_a_folder_that_cannot_be_written_is_a_data_error(tmp_path: Path, record: RunRecord) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=r"cannot write .*/file/out: (Not a directory|File exists)"):
        write_results(tmp_path / "file" / "out", record, None, "")


def test_peak_memory_is_at_least_what_is_held() -> None:
    held = np.ones(30 << 17)  # 30 MB
    assert held.nbytes / 1e6 < peak_rss_mb() < 100_000


def test_time_counts_from_the_records_creation(frame_at: Callable[..., FrameResult]) -> None:
    record = RunRecord(frames_total=2)
    record._started = (record._started[0] - 2.0, record._started[1] - 1.0)
    for stamp in (0, 6_000_000_000):
        record.add(frame_at(stamp))
    metrics = _metrics(record)
    assert metrics["realtime_factor"] == pytest.approx(3.0, rel=0.05)
    assert metrics["cpu_ms_per_frame"] == pytest.approx(500.0, rel=0.05)


def test_an_hour_of_frames_takes_little_memory() -> None:
    """A state's covariance (15, 15) and what else no result needs is not kept."""
    count, zero = 2000, np.zeros(3)
    record = RunRecord(count)
    tracemalloc.start()
    for i in range(count):
        state = VioState(i, VioStatus.TRACKING, "", np.eye(4), zero, zero, zero, np.eye(15))
        record.add(FrameResult(i, Estimate.of(state), None, i + 0.1, i + 0.2, i + 0.3, i + 0.4, i))
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(record.frames) == count
    assert held / count < 1000  # bytes: 70 MB in an hour of 20 frames a second


def test_results_of_another_run_are_replaced_together(
    written: Written, record: RunRecord, truth: Trajectory, tmp_path: Path
) -> None:
    shutil.copytree(written[0], tmp_path, dirs_exist_ok=True)
    for name in ("map.png", "own.txt"):  # the other run had loops; a user's file
        (tmp_path / name).write_text("old")
    write_results(tmp_path, record, truth, "tracker: letnet2\n")
    assert {path.name for path in tmp_path.iterdir()} == RESULTS | {"own.txt"}
    assert (tmp_path / "config.yaml").read_text() == "tracker: letnet2\n"


def test_where_not_all_can_be_written_the_results_before_stay_and_the_new_ones_are_beside(
    written: Written,
    record: RunRecord,
    truth: Trajectory,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(out: Path, page: str) -> None:
        raise DataError(f"cannot write {out}/trajectory.png: No space left on device")

    out = tmp_path / "out"
    shutil.copytree(written[0], out)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    monkeypatch.setattr("letvins_ros.evaluation.report.write_report", refuse)
    with pytest.raises(DataError, match=r"cannot write .*/out-2/trajectory\.png: No space"):
        write_results(out, record, truth, "")
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    assert {path.name for path in (tmp_path / "out-2").iterdir()} == {
        name for name in RESULTS if not name.endswith((".png", ".html"))
    }
