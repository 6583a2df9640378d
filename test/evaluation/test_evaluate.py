# SPDX-License-Identifier: Apache-2.0
import json
from pathlib import Path

import pytest

from letvins_ros.errors import DataError
from letvins_ros.evaluation.evaluate import evaluate
from letvins_ros.evaluation.metrics import path_length
from letvins_ros.evaluation.trajectory import write_tum
from letvins_ros.types import Trajectory


@pytest.fixture
def files(tmp_path, truth, estimate) -> tuple[Path, Path]:
    write_tum(tmp_path / "truth.tum", truth)
    write_tum(tmp_path / "estimate.tum", estimate)
    return tmp_path / "estimate.tum", tmp_path / "truth.tum"


def test_a_trajectory_is_perfect_against_itself(files):
    metrics = evaluate(files[1], files[1])
    assert metrics["ate_rmse_m"] < 1e-8
    assert metrics["matched"] == metrics["poses"] == 6000
    assert metrics["coverage"] is None


def test_figures_equal_evos_on_the_same_files(files):
    pytest.importorskip("evo")
    from evo.core import metrics, sync
    from evo.tools import file_interface

    estimate, reference = (file_interface.read_tum_trajectory_file(str(path)) for path in files)
    reference, estimate = sync.associate_trajectories(reference, estimate, max_diff=0.003)
    estimate.align(reference)
    ape = metrics.APE(metrics.PoseRelation.translation_part)
    ape.process_data((reference, estimate))
    ours, theirs = evaluate(*files), ape.get_all_statistics()
    for name in ("rmse", "median", "max"):
        assert ours[f"ate_{name}_m"] == pytest.approx(theirs[name], rel=1e-9)


def test_coverage_is_the_share_of_a_datasets_frames(tmp_path, files, truth):
    frames = truth.stamps_ns[::10].tolist()
    (tmp_path / "mav0/cam0/data").mkdir(parents=True)
    (tmp_path / "mav0/cam0/data.csv").write_text(
        "".join(f"{stamp},{stamp}.png\n" for stamp in [*frames, frames[-1] + 10**8])
    )
    for stamp in [*frames, frames[-1] + 10**8]:
        (tmp_path / f"mav0/cam0/data/{stamp}.png").touch()
    (tmp_path / "mav0/mocap0").mkdir()
    rows = zip(truth.stamps_ns, truth.positions, truth.quaternions[:, [3, 0, 1, 2]], strict=True)
    csv = "".join(",".join(map(str, [stamp, *p, *q])) + "\n" for stamp, p, q in rows)
    (tmp_path / "mav0/mocap0/data.csv").write_text(csv)
    metrics = evaluate(files[0], tmp_path)
    assert metrics["coverage"] == pytest.approx(600 / 601)
    assert metrics["ate_rmse_m"] == pytest.approx(evaluate(*files)["ate_rmse_m"], rel=1e-6)


def test_results_are_written_where_a_folder_is_given(tmp_path, files):
    metrics = evaluate(*files, tmp_path / "out")
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"metrics.json", "trajectory.png", "error.png", "report.html"}
    assert json.loads((tmp_path / "out/metrics.json").read_text()) == metrics


def test_trajectories_of_different_times_are_refused_with_the_numbers(tmp_path, files, truth):
    later = Trajectory(truth.stamps_ns + 10**12, truth.positions, truth.quaternions)
    write_tum(tmp_path / "later.tum", later)
    with pytest.raises(DataError, match=r"0 of the 6000 poses in .*later\.tum lie within 3 ms of one in .*truth\.tum"):
        evaluate(tmp_path / "later.tum", files[1])


def test_the_path_is_the_truths_while_there_was_an_estimate(tmp_path, truth, files):
    write_tum(
        tmp_path / "second.tum", Trajectory(truth.stamps_ns[:401], truth.positions[:401], truth.quaternions[:401])
    )
    metrics = evaluate(tmp_path / "second.tum", files[1])
    assert metrics["duration_s"] == 2.0
    assert metrics["path_length_m"] == pytest.approx(path_length(truth.positions[:401]), rel=1e-6)
