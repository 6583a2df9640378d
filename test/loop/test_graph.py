# SPDX-License-Identifier: Apache-2.0
from itertools import pairwise

import numpy as np
import pytest

from letvins_ros.geometry import adjoint, exp_so3, inverse, transform
from letvins_ros.loop.graph import PoseGraph
from letvins_ros.loop.motion import Motion, align_with_gravity, exp, fuse, log, rotate_frames
from letvins_ros.loop.solving import Loop

STEP_STD = np.array([1e-4, 1e-4, 1e-3, 3e-3, 3e-3, 3e-3])
LOOP_STD = np.array([1e-4, 1e-4, 5e-3, 0.01, 0.01, 0.01])


def ring(count: int, laps: int) -> np.ndarray:
    angle = 2 * np.pi * laps * np.arange(count) / count
    R = exp_so3(np.stack([0 * angle, 0 * angle, angle], axis=1))
    return transform(R, 10 * np.stack([np.cos(angle), np.sin(angle), 0 * angle], axis=1))


def drifting(truth: np.ndarray, rng: np.random.Generator) -> PoseGraph:
    graph = PoseGraph()
    graph.start_session(truth[0], truth[0])
    T_odom = truth[0]
    for before, now in pairwise(truth):
        motion = Motion(inverse(before) @ now @ exp(rng.normal(0, STEP_STD)), np.diag(STEP_STD**2))
        T_odom = T_odom @ motion.T_a_b
        graph.extend(T_odom, motion)
    return graph


def true_loop(truth: np.ndarray, a: int, b: int, rng: np.random.Generator) -> Loop:
    T = inverse(truth[a]) @ truth[b] @ exp(rng.normal(0, LOOP_STD))
    return Loop(a, b, Motion(T, np.diag(LOOP_STD**2)))


def wrong_loop(truth: np.ndarray, rng: np.random.Generator) -> Loop:
    a, b = sorted(rng.choice(len(truth), 2, replace=False).tolist())
    elsewhere = exp(np.r_[0, 0, rng.normal(0, 0.5), rng.normal(0, 2, 3)])
    return Loop(a, b, Motion(inverse(truth[a]) @ truth[b] @ elsewhere, np.diag(LOOP_STD**2)))


def rmse(graph: PoseGraph, truth: np.ndarray) -> float:
    return float(np.sqrt(((graph.poses()[:, :3, 3] - truth[:, :3, 3]) ** 2).sum(axis=1).mean()))


@pytest.mark.parametrize("seed", range(3))
def test_half_of_the_loops_wrong_do_not_bend_the_map(seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth = ring(300, 2)
    clean, mixed = (drifting(truth, np.random.default_rng(seed)) for _ in range(2))
    before = rmse(clean, truth)
    for i in range(20):
        b = int(rng.integers(150, 300))
        good, bad = true_loop(truth, b - 150, b, rng), wrong_loop(truth, rng)
        clean.add_loop(good)
        for loop in (good, bad) if i % 2 else (bad, good):
            mixed.add_loop(Loop(loop.a, loop.b, loop.motion))
        assert mixed.solve() is None
    clean.solve()
    mixed.solve()
    trusted = [loop.trusted for loop in mixed.loops]
    off = [np.linalg.norm(log(inverse(truth[o.a]) @ truth[o.b] @ inverse(o.motion.T_a_b))) > 0.2 for o in mixed.loops]
    assert not any(use and wrong for use, wrong in zip(trusted, off, strict=True))
    assert sum(trusted) >= 16
    assert rmse(mixed, truth) < min(0.5 * before, rmse(clean, truth) + 0.02)


def test_without_loops_the_map_is_odometry() -> None:
    rng = np.random.default_rng(0)
    graph = drifting(ring(50, 1), rng)
    np.testing.assert_array_equal(graph.poses(), np.stack([graph.pose(i) for i in range(50)]))
    np.testing.assert_allclose(graph.poses(), np.stack(graph.chains.T_odom), atol=1e-12)


def test_keyframes_between_loops_follow_the_whole_graph() -> None:
    """The reduced graph gives what a graph of all keyframes gives."""
    import gtsam

    rng = np.random.default_rng(1)
    truth = ring(40, 1)
    graph = drifting(truth, rng)
    loop = true_loop(truth, 3, 33, rng)
    graph.add_loop(loop)
    graph.solve()
    full, initial = gtsam.NonlinearFactorGraph(), gtsam.Values()
    for i in range(40):
        initial.insert(i, gtsam.Pose3(graph.chains.T_odom[i]))
    full.add(gtsam.PriorFactorPose3(0, gtsam.Pose3(truth[0]), gtsam.noiseModel.Isotropic.Sigma(6, 1e-4)))
    step = gtsam.noiseModel.Diagonal.Sigmas(STEP_STD)
    for i in range(39):
        T = gtsam.Pose3(inverse(graph.chains.T_odom[i]) @ graph.chains.T_odom[i + 1])
        full.add(gtsam.BetweenFactorPose3(i, i + 1, T, step))
    noise = gtsam.noiseModel.Diagonal.Sigmas(LOOP_STD)
    full.add(gtsam.BetweenFactorPose3(3, 33, gtsam.Pose3(loop.motion.T_a_b), noise))
    solution = gtsam.LevenbergMarquardtOptimizer(full, initial).optimize()
    expected = np.stack([solution.atPose3(i).matrix() for i in range(40)])
    np.testing.assert_allclose(graph.poses()[:34], expected[:34], atol=2e-4)


def test_a_session_is_placed_by_its_first_loop() -> None:
    rng = np.random.default_rng(2)
    truth = ring(60, 1)
    graph = drifting(truth[:30], rng)
    elsewhere = exp(np.r_[0, 0, 1.0, 5.0, 3.0, 0.0])
    first = graph.start_session(elsewhere @ truth[10], None)
    for i in range(11, 30):
        graph.extend(elsewhere @ truth[i], Motion(inverse(truth[i - 1]) @ truth[i], np.diag(STEP_STD**2)))
    assert not graph.is_mapped(first + 3) and np.isnan(graph.poses()[first:]).all()
    loop = true_loop(np.concatenate([truth[:30], truth[10:30]]), 15, first + 5, rng)
    graph.place_session(loop)
    graph.add_loop(loop)
    graph.solve()
    assert graph.is_mapped(first)
    assert np.abs(graph.poses()[first:, :3, 3] - truth[10:30, :3, 3]).max() < 0.2


def test_a_graph_survives_saving_its_state() -> None:
    rng = np.random.default_rng(3)
    truth = ring(50, 2)
    graph = drifting(truth, rng)
    graph.add_loop(true_loop(truth, 2, 27, rng))
    graph.solve()
    again = PoseGraph.from_state(graph.state())
    np.testing.assert_allclose(again.poses(), graph.poses(), atol=1e-12)
    again.solve()
    np.testing.assert_allclose(again.poses(), graph.poses(), atol=1e-6)


def test_the_solver_knows_only_so_many_loops(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("letvins_ros.loop.graph.MAX_LOOPS", 60)
    rng = np.random.default_rng(5)
    truth = ring(1000, 5)
    graph = drifting(truth, rng)
    before = rmse(graph, truth)
    for b in range(200, 1000, 4):
        graph.add_loop(true_loop(truth, b % 200, b, rng))
        if b % 40 == 0:
            assert graph.solve() is None
    graph.solve()
    assert len(graph.loops) == 60
    gaps = np.diff(sorted(loop.b for loop in graph.loops))
    assert gaps.max() < 60  # what stays is spread over the path
    assert rmse(graph, truth) < before / 3


def test_a_keyframe_lies_where_later_views_had_it() -> None:
    rng = np.random.default_rng(6)
    truth = ring(30, 1)
    graph = drifting(truth, rng)
    moved = graph.odometry(0, 20).T_a_b @ exp(np.r_[0, 0, 0, 0.02, 0, 0])
    graph.update_chain(20, truth[0] @ moved)
    np.testing.assert_allclose(graph.odometry(0, 20).T_a_b, moved, atol=1e-12)


def test_uncertain_verticals_leave_the_measured_position() -> None:
    C = np.eye(6) * 1e-4
    C[0, 4] = C[4, 0] = 0.9e-4  # roll and position told apart badly
    tilted = Motion(transform(exp_so3(np.array([0.02, 0.0, 0.0])), np.ones(3)), C)
    sure, unsure = align_with_gravity(tilted, 1e-4)[0], align_with_gravity(tilted, 1.0)[0]
    assert abs(sure.T_a_b[1, 3] - 1.0) == pytest.approx(0.018, rel=0.02)
    np.testing.assert_allclose(unsure.T_a_b[:3, 3], 1.0, atol=1e-4)
    assert sure.covariance[4, 4] < 0.3 * unsure.covariance[4, 4]


def test_upright_motions_lose_their_tilt_and_say_it() -> None:
    R = exp_so3(np.array([0.0, 0.0, 0.7])) @ exp_so3(np.array([0.05, 0.0, 0.0]))
    motion, tilt = align_with_gravity(Motion(transform(R, np.ones(3)), np.eye(6)), 1e-3)
    assert tilt == pytest.approx(0.05, abs=1e-6)
    np.testing.assert_allclose(motion.T_a_b[2, :3], [0, 0, 1], atol=1e-12)
    np.testing.assert_allclose(motion.T_a_b[:3, 3], 1.0)


def test_covariances_travel_with_the_motion() -> None:
    rng = np.random.default_rng(4)
    ab, bc = (exp(rng.normal(0, 0.5, 6)) for _ in range(2))
    P, Q = np.diag(rng.uniform(1, 2, 6) * 1e-6), np.diag(rng.uniform(1, 2, 6) * 1e-6)
    composed = Motion(ab, P).then(Motion(bc, Q))
    draws = [
        log(inverse(composed.T_a_b) @ ab @ exp(rng.multivariate_normal(np.zeros(6), P)) @ bc
            @ exp(rng.multivariate_normal(np.zeros(6), Q)))
        for _ in range(4000)
    ]  # fmt: skip
    np.testing.assert_allclose(np.cov(np.array(draws).T), composed.covariance, atol=4e-7)


def test_fusing_weighs_by_covariance() -> None:
    near, far = Motion(np.eye(4), np.eye(6)), Motion(exp(np.r_[0, 0, 0, 1.0, 0, 0]), 3 * np.eye(6))
    both = fuse(near, far)
    assert both.T_a_b[0, 3] == pytest.approx(0.25)
    np.testing.assert_allclose(both.covariance, 0.75 * np.eye(6))


def test_turning_the_frames_keeps_the_geometry() -> None:
    rng = np.random.default_rng(5)
    Ra, Rb = exp_so3(rng.normal(size=3)), exp_so3(rng.normal(size=3))
    T = exp(rng.normal(size=6))
    level = rotate_frames(Motion(T, np.eye(6)), Ra, Rb)
    np.testing.assert_allclose(transform(Ra, np.zeros(3)) @ T @ transform(Rb.T, np.zeros(3)), level.T_a_b, atol=1e-12)
    assert adjoint(np.eye(4)).shape == (6, 6)
