# SPDX-License-Identifier: Apache-2.0
import json
from pathlib import Path

import numpy as np
import pytest

from letvins_ros.errors import DataError
from letvins_ros.evaluation.evaluate import Comparing, evaluate, evaluate_all
from letvins_ros.evaluation.metrics import path_length
from letvins_ros.evaluation.trajectory import at_times, from_poses, poses, write_tum
from letvins_ros.types import Trajectory


@pytest.fixture
def files(tmp_path: Path, truth: Trajectory, estimate: Trajectory) -> tuple[Path, Path]:
    write_tum(tmp_path / "truth.tum", truth)
    write_tum(tmp_path / "estimate.tum", estimate)
    return tmp_path / "estimate.tum", tmp_path / "truth.tum"


def test_a_trajectory_is_perfect_against_itself(files: tuple[Path, Path]) -> None:
    metrics = evaluate(files[1], files[1])
    assert metrics["ate_rmse_m"] < 1e-8
    assert metrics["matched"] == metrics["poses"] == 6000
    assert metrics["coverage"] is None


def test_figures_equal_evos_on_the_same_files(files: tuple[Path, Path]) -> None:
    pytest.importorskip("evo")
    from evo.core import metrics, sync
    from evo.tools import file_interface

    estimate, reference = (file_interface.read_tum_trajectory_file(str(path)) for path in files)
    reference, estimate = sync.associate_trajectories(reference, estimate, max_diff=0.003)
    estimate.align(reference)
    ape = metrics.APE(metrics.PoseRelation.translation_part)
    ape.process_data((reference, estimate))
    ours, theirs = evaluate(*files, how=Comparing(max_diff_s=0.003)), ape.get_all_statistics()
    for name in ("rmse", "median", "max"):
        assert ours[f"ate_{name}_m"] == pytest.approx(theirs[name], rel=1e-9)


def test_coverage_is_the_share_of_a_datasets_frames(
    tmp_path: Path, files: tuple[Path, Path], truth: Trajectory
) -> None:
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


def test_results_are_written_where_a_folder_is_given(tmp_path: Path, files: tuple[Path, Path]) -> None:
    metrics = evaluate(files[0], files[1], tmp_path / "out")
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"metrics.json", "trajectory.png", "error.png", "report.html"}
    assert json.loads((tmp_path / "out/metrics.json").read_text()) == metrics


def test_trajectories_of_different_times_are_refused_with_the_numbers(
    tmp_path: Path, files: tuple[Path, Path], truth: Trajectory
) -> None:
    later = Trajectory(truth.stamps_ns + 10**12, truth.positions, truth.quaternions)
    write_tum(tmp_path / "later.tum", later)
    with pytest.raises(DataError, match=r"0 of the 6000 poses in .*later\.tum lie within 3 ms of one in .*truth\.tum"):
        evaluate(tmp_path / "later.tum", files[1], how=Comparing(max_diff_s=0.003))
    with pytest.raises(DataError, match=r"0 of the 6000 poses in .*later\.tum have truth around them in .*truth\.tum"):
        evaluate(tmp_path / "later.tum", files[1])


def test_the_path_is_the_truths_while_there_was_an_estimate(
    tmp_path: Path, truth: Trajectory, files: tuple[Path, Path]
) -> None:
    write_tum(
        tmp_path / "second.tum", Trajectory(truth.stamps_ns[:401], truth.positions[:401], truth.quaternions[:401])
    )
    metrics = evaluate(tmp_path / "second.tum", files[1])
    assert metrics["duration_s"] == 2.0
    assert metrics["path_length_m"] == pytest.approx(path_length(truth.positions[:401]), rel=1e-6)


def test_the_truth_is_interpolated_at_the_times_of_the_estimate(tmp_path: Path, truth: Trajectory) -> None:
    between = truth.stamps_ns[:-1:10] + 2_345_678
    write_tum(tmp_path / "between.tum", at_times(truth, between)[0])
    write_tum(tmp_path / "truth.tum", truth)
    plain = evaluate(tmp_path / "between.tum", tmp_path / "truth.tum")
    assert plain["matched"] == 600
    assert plain["ate_rmse_m"] < 1e-7
    nearest = evaluate(tmp_path / "between.tum", tmp_path / "truth.tum", how=Comparing(max_diff_s=0.01))
    assert nearest["ate_rmse_m"] > 1e-4  # what the time between two poses makes


def test_poses_in_gaps_of_the_truth_are_left_out(tmp_path: Path, files: tuple[Path, Path], truth: Trajectory) -> None:
    kept = np.r_[0:2000, 2200:6000]  # a second is missing
    write_tum(tmp_path / "gap.tum", Trajectory(truth.stamps_ns[kept], truth.positions[kept], truth.quaternions[kept]))
    whole = evaluate(*files)["matched"]
    assert whole - 22 <= evaluate(files[0], tmp_path / "gap.tum")["matched"] <= whole - 18


def test_a_known_offset_of_the_clocks_is_taken_out_and_an_unknown_one_found(
    tmp_path: Path, files: tuple[Path, Path], estimate: Trajectory
) -> None:
    late = Trajectory(estimate.stamps_ns + 123_000_000, estimate.positions, estimate.quaternions)
    write_tum(tmp_path / "late.tum", late)
    plain, right = evaluate(tmp_path / "late.tum", files[1]), evaluate(*files)
    assert plain["ate_rmse_m"] > 1.5 * right["ate_rmse_m"]
    given = evaluate(tmp_path / "late.tum", files[1], how=Comparing(offset_s=-0.123))
    assert given["ate_rmse_m"] == pytest.approx(right["ate_rmse_m"], rel=1e-3)
    assert given["offset_s"] == -0.123
    found = evaluate(tmp_path / "late.tum", files[1], how=Comparing(find_offset=True))
    assert found["offset_s"] == pytest.approx(-0.123, abs=0.003)
    assert found["ate_rmse_m"] <= given["ate_rmse_m"] * 1.001


def test_a_wrong_scale_is_found_as_evo_finds_it(tmp_path: Path, files: tuple[Path, Path], estimate: Trajectory) -> None:
    pytest.importorskip("evo")
    from evo.core import metrics, sync
    from evo.tools import file_interface

    T = poses(estimate)
    T[:, :3, 3] *= 0.4
    write_tum(tmp_path / "small.tum", from_poses(estimate.stamps_ns.tolist(), T))
    ours = evaluate(tmp_path / "small.tum", files[1], how=Comparing(max_diff_s=0.003, with_scale=True))
    paths = (str(tmp_path / "small.tum"), str(files[1]))
    theirs, reference = (file_interface.read_tum_trajectory_file(path) for path in paths)
    reference, theirs = sync.associate_trajectories(reference, theirs, max_diff=0.003)
    _, _, scale = theirs.align(reference, correct_scale=True)
    ape = metrics.APE(metrics.PoseRelation.translation_part)
    ape.process_data((reference, theirs))
    assert ours["scale"] == pytest.approx(scale, rel=1e-9)
    assert ours["scale"] == pytest.approx(2.5, rel=1e-2)
    assert ours["ate_rmse_m"] == pytest.approx(ape.get_all_statistics()["rmse"], rel=1e-9)


def test_several_estimates_have_one_table_and_one_plot(
    tmp_path: Path, files: tuple[Path, Path], truth: Trajectory
) -> None:
    (tmp_path / "b").mkdir()
    write_tum(tmp_path / "b" / "estimate.tum", truth)
    both = [files[0], tmp_path / "b" / "estimate.tum"]
    found = evaluate_all(both, files[1], tmp_path / "out")
    names = [f"{tmp_path.name}-estimate", "b-estimate"]
    assert list(found) == names
    assert found[names[0]]["ate_rmse_m"] == evaluate(*files)["ate_rmse_m"]
    assert found[names[1]]["ate_rmse_m"] < 1e-7
    assert json.loads((tmp_path / "out/metrics.json").read_text()) == found
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"metrics.json", "trajectories.png", *names}
    with pytest.raises(DataError, match="named twice"):
        evaluate_all([files[0], files[0]], files[1])
