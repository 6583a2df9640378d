# SPDX-License-Identifier: Apache-2.0
import itertools
import math

import numpy as np
import pytest

from letvins_ros import geometry
from letvins_ros.evaluation import metrics as m
from letvins_ros.evaluation.kitti_error import kitti_error
from letvins_ros.evaluation.trajectory import associate, at_times, from_poses, poses, take
from letvins_ros.types import Trajectory

from ..some import some

YAW = np.array([0.0, 0.0, 1.0])


def _circle(n: int = 200, radius: float = 2.0, dt_ns: int = 50_000_000) -> np.ndarray:
    angles = 2 * np.pi * np.arange(n) / n
    p = radius * np.column_stack((np.cos(angles), np.sin(angles), np.zeros(n)))
    return geometry.transform(geometry.exp_so3(angles[:, None] * YAW), p)


def _of(T: np.ndarray, dt_ns: int = 50_000_000) -> Trajectory:
    return from_poses([i * dt_ns for i in range(len(T))], T)


def _rms_distance(error: m.AbsoluteError) -> float:
    return some(m.rms(np.linalg.norm(error.position, axis=1)))


def test_a_rigidly_moved_copy_has_no_error(truth: Trajectory) -> None:
    moved = geometry.transform(geometry.exp_so3(np.array([1.0, -2.0, 0.5])), np.array([100.0, 20.0, -3.0]))
    error = m.absolute_error(truth, from_poses(truth.stamps_ns.tolist(), moved @ poses(truth)))
    assert np.abs(error.position).max() < 1e-10
    assert error.rotation_rad.max() < 1e-7


def test_a_circle_of_larger_radius_is_off_by_the_difference() -> None:
    T, larger = _circle(), _circle(radius=2.1)
    assert _rms_distance(m.absolute_error(_of(T), _of(larger))) == pytest.approx(0.1, rel=1e-12)


def test_errors_to_alternating_sides_of_a_plane_are_kept_whole() -> None:
    T = _circle()
    above = T.copy()
    above[:, 2, 3] = 0.05 * (-1.0) ** np.arange(len(T))
    assert _rms_distance(m.absolute_error(_of(T), _of(above))) == pytest.approx(0.05, rel=1e-12)


def test_relative_error_over_a_second_is_the_speed_and_rate_error() -> None:
    t = np.arange(200)[:, None] * 0.05
    still = np.array([[1.0, 0.0, 0.0]])
    truth = geometry.transform(np.broadcast_to(np.eye(3), (200, 3, 3)), 1.0 * t * still)
    faster = geometry.transform(np.broadcast_to(np.eye(3), (200, 3, 3)), 1.1 * t * still)
    turning = geometry.transform(geometry.exp_so3(0.02 * t * YAW), truth[:, :3, 3])
    translation, rotation = m.relative_error(_of(truth), _of(faster))
    assert len(translation) == 180
    np.testing.assert_allclose(translation, 0.1, rtol=1e-9)
    np.testing.assert_allclose(rotation, 0, atol=1e-9)
    np.testing.assert_allclose(m.relative_error(_of(truth), _of(turning))[1], 0.02, rtol=1e-9)


@pytest.mark.parametrize("period_ns", [103_680_000, 33_333_333, 140_000_000])
def test_periods_that_divide_no_second_have_relative_errors_too(period_ns: int) -> None:
    t = np.arange(100)[:, None] * (period_ns / 1e9)
    truth = geometry.transform(np.broadcast_to(np.eye(3), (100, 3, 3)), t * np.array([[1.0, 0.0, 0.0]]))
    faster = geometry.transform(np.broadcast_to(np.eye(3), (100, 3, 3)), 1.1 * t * np.array([[1.0, 0.0, 0.0]]))
    translation, _ = m.relative_error(_of(truth, period_ns), _of(faster, period_ns))
    near = round(1e9 / period_ns) * period_ns / 1e9
    assert len(translation) == 100 - round(1e9 / period_ns)
    np.testing.assert_allclose(translation, 0.1 * near, rtol=1e-9)


def _kitti_by_the_book(T_true: np.ndarray, T_est: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """The benchmark's own way: loops over frames and lengths, one part after the other."""
    along = [0.0]
    for a, b in itertools.pairwise(T_true):
        along.append(along[-1] + math.dist(a[:3, 3], b[:3, 3]))
    found = []
    for first in range(0, len(T_true), 10):
        for length in lengths:
            last = next((i for i in range(first, len(along)) if along[i] > along[first] + length), None)
            if last is None:
                continue
            moved_true, moved_est = (np.linalg.inv(T[first]) @ T[last] for T in (T_true, T_est))
            error = np.linalg.inv(moved_est) @ moved_true
            cosine = max(min(0.5 * (np.trace(error[:3, :3]) - 1), 1.0), -1.0)
            found.append((math.hypot(*error[:3, 3]) / length, math.acos(cosine) / length))
    return np.mean(found, axis=0)


@pytest.mark.parametrize(("metres", "shortest"), [(1500.0, 100.0), (84.0, 10.0), (6.0, 1.0)])
def test_kittis_error_is_that_of_the_benchmark_over_parts_that_the_path_has(metres: float, shortest: float) -> None:
    rng = np.random.default_rng(4)
    n = 400
    speed = np.outer(rng.uniform(0.5, 1.5, n), [metres / n, 0.0, 0.0])
    step = geometry.transform(geometry.exp_so3(rng.normal(0, 0.01, (n, 3))), speed)
    wrong = step @ geometry.transform(
        geometry.exp_so3(rng.normal(0, 1e-3, (n, 3))), rng.normal(0, 0.1 * metres / n, (n, 3))
    )
    T_true, T_est = (np.array(list(itertools.accumulate(steps, np.matmul))) for steps in (step, wrong))
    translation, rotation = _kitti_by_the_book(T_true, T_est, shortest * np.arange(1, 9))
    found = some(kitti_error(_of(T_true), _of(T_est)))
    assert found.shortest_m == shortest
    assert found.translation_percent == pytest.approx(100 * translation, rel=1e-9)
    assert found.rotation_deg_per_m == pytest.approx(np.degrees(rotation), rel=1e-6)


def test_a_path_of_less_than_a_metre_has_no_kitti_error() -> None:
    T = _circle(20, radius=0.05)
    assert kitti_error(_of(T), _of(T)) is None


def test_no_relative_error_is_taken_across_a_gap() -> None:
    T = _circle(60)
    stamps = [i * 50_000_000 + (500_000_000 if i >= 30 else 0) for i in range(60)]
    gapped = from_poses(stamps, T)
    translation, _ = m.relative_error(gapped, gapped)
    assert len(translation) == 2 * 10 + 10  # within each half, and from 20..29 a second lands on 30..39 less 10 steps


def test_ate_rpe_and_rotation_error_equal_evo(truth: Trajectory, estimate: Trajectory) -> None:
    pytest.importorskip("evo")
    from evo.core import metrics, sync, trajectory

    def as_evo(t: Trajectory) -> trajectory.PoseTrajectory3D:
        return trajectory.PoseTrajectory3D(t.positions, t.quaternions[:, [3, 0, 1, 2]], t.stamps_ns / 1e9)

    evo_truth, evo_estimate = sync.associate_trajectories(as_evo(truth), as_evo(estimate), max_diff=0.003)
    evo_estimate.align(evo_truth)
    true_rows, rows = associate(truth, estimate)
    ours = m.absolute_error(take(truth, true_rows), take(estimate, rows))
    assert len(rows) == evo_truth.num_poses == 600
    ape = metrics.APE(metrics.PoseRelation.translation_part)
    ape.process_data((evo_truth, evo_estimate))
    assert _rms_distance(ours) == pytest.approx(ape.get_statistic(metrics.StatisticsType.rmse), rel=1e-9)
    rotation = metrics.APE(metrics.PoseRelation.rotation_angle_rad)
    rotation.process_data((evo_truth, evo_estimate))
    assert m.rms(ours.rotation_rad) == pytest.approx(rotation.get_statistic(metrics.StatisticsType.rmse), rel=1e-9)
    relative = m.relative_error(ours.truth, ours.aligned)
    relations = (metrics.PoseRelation.translation_part, metrics.PoseRelation.rotation_angle_rad)
    for values, relation in zip(relative, relations, strict=True):
        rpe = metrics.RPE(relation, delta=20, delta_unit=metrics.Unit.frames, all_pairs=True)
        rpe.process_data((evo_truth, evo_estimate))  # 20 frames are 1 s here
        assert m.rms(values) == pytest.approx(rpe.get_statistic(metrics.StatisticsType.rmse), rel=1e-9)
    assert m.path_length(truth.positions) == pytest.approx(as_evo(truth).path_length, rel=1e-9)


def test_drift_is_free_of_start_and_heading_but_not_of_tilt(truth: Trajectory) -> None:
    one = np.zeros(len(truth), int)
    turned = geometry.transform(geometry.exp_so3(2.0 * YAW), np.array([1.0, 2.0, 3.0])) @ poses(truth)
    same = m.drift(truth, from_poses(truth.stamps_ns.tolist(), turned), one)
    assert np.abs(same.position).max() < 1e-10
    assert same.tilt_rad < 1e-7
    tilted = geometry.transform(geometry.exp_so3(np.array([0.1, 0.0, 0.0])), np.zeros(3)) @ poses(truth)
    other = m.drift(truth, from_poses(truth.stamps_ns.tolist(), tilted), one)
    assert other.tilt_rad == pytest.approx(0.1, rel=1e-9)
    assert np.abs(other.position).max() > 0.1
    np.testing.assert_array_equal(other.position[0], 0)


def test_drift_starts_anew_with_each_segment(truth: Trajectory) -> None:
    T = poses(truth)
    half = len(T) // 2
    T[half:] = geometry.transform(geometry.exp_so3(-1.0 * YAW), np.array([9.0, 9.0, 9.0])) @ T[half:]
    estimate = from_poses(truth.stamps_ns.tolist(), T)
    segments = np.repeat([0, 3], [half, len(T) - half])
    assert np.abs(m.drift(truth, estimate, segments).position).max() < 1e-10
    assert np.abs(m.drift(truth, estimate, 0 * segments).position).max() > 1


def test_nees_of_one_sigma_on_every_axis_is_their_number() -> None:
    values = m.nees(np.array([[1.0, 2.0, -3.0]]), np.diag([1.0, 4.0, 9.0])[None])
    np.testing.assert_allclose(values, [3.0], rtol=1e-12)


def test_nees_of_errors_drawn_from_the_covariance_is_three_on_average() -> None:
    rng = np.random.default_rng(0)
    A = rng.normal(size=(20_000, 3, 3))
    P = A @ np.swapaxes(A, 1, 2) + 0.01 * np.eye(3)
    errors = (np.linalg.cholesky(P) @ rng.normal(size=(20_000, 3, 1)))[..., 0]
    assert m.nees(errors, P).mean() == pytest.approx(3.0, abs=0.1)
    assert m.nees(errors, P / 4).mean() == pytest.approx(12.0, abs=0.4)


def test_rows_with_singular_or_broken_covariance_are_left_out() -> None:
    P = np.stack([np.eye(3), np.zeros((3, 3)), np.full((3, 3), np.nan), np.diag([1.0, 1.0, 1e-16]), -np.eye(3)])
    assert m.nees(np.ones((5, 3)), P).tolist() == [3.0]


def test_path_length_and_wander_of_a_square() -> None:
    square = np.array([[0.0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]])
    assert m.path_length(square) == 3.0
    assert m.path_length(square[:1]) == 0.0
    assert m.largest_distance_from_mean(square) == pytest.approx(np.sqrt(0.5))
    assert m.rms(np.array([])) is None


def test_velocity_is_the_slope_of_the_truth_and_unknown_where_it_is_sparse(truth: Trajectory) -> None:
    at = truth.stamps_ns[[100, 1000, 3000]] + 2_000_000  # between two of its poses
    before, after = at_times(truth, at - 5_000_000)[0], at_times(truth, at + 5_000_000)[0]
    slope = (after.positions - before.positions) / 0.01
    np.testing.assert_allclose(m.velocities(truth, at), slope, atol=2e-3 * np.abs(slope).max())
    sparse = take(truth, np.arange(0, len(truth), 20))
    assert np.isnan(m.velocities(sparse, at)).all()


def test_a_heading_that_is_wrong_at_the_start_only_is_turned_away(truth: Trajectory) -> None:
    T = poses(truth)
    T[0, :3, :3] = geometry.exp_so3(0.02 * YAW) @ T[0, :3, :3]
    estimate = from_poses(truth.stamps_ns.tolist(), poses(truth))
    noisy = from_poses(truth.stamps_ns.tolist(), T)
    found = m.drift(noisy, estimate, np.zeros(len(truth), int))
    assert np.abs(found.position).max() > 0.02
    assert np.abs(found.turned).max() < 1e-9
