# SPDX-License-Identifier: Apache-2.0
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Self

import gtsam
import numpy as np
import pytest
from numba import typeof

from letvins_ros.calibration import ImuNoise
from letvins_ros.estimation.costs import vision
from letvins_ros.estimation.costs.linear import Cost, LinearCost, Quadratic
from letvins_ros.estimation.costs.vision import RobustPixels
from letvins_ros.estimation.frame import frame_of
from letvins_ros.estimation.initialiser import first_prior
from letvins_ros.estimation.preintegration import preintegrate
from letvins_ros.estimation.state import State, V, X
from letvins_ros.estimation.variables import Key, Values
from letvins_ros.estimation.window import TYPICAL_DEPTH_M, Solution, Window
from letvins_ros.imu import ImuBuffer, ImuSteps
from letvins_ros.simulation.rigs import EUROC_RIG

from ..some import some
from ..vectors import unit
from .synthetic import Quality, Recording, record

NOISE = ImuNoise(1.7e-3, 2e-2, 2e-4, 3e-2)


class Held(RobustPixels):
    """Whatever errors show."""

    def fitted(self, errors: np.ndarray) -> Self:
        return self


GAUSS = Held(0.5, 1e6, factor=1e9)
SIGMAS = np.repeat([2e-3, 2e-2, 3e-2, 1e-2, 1e-3], 3)


@pytest.fixture(scope="module")
def recording() -> Recording:
    return record("hall", 4.0, 2, Quality(pixel_std=0.3, features=40, exact_imu=True))


def window_of(recording: Recording, count: int, off: float = 0.3, first: int = 25) -> Window:
    """A window of keyframes 0.2 s apart at states that are `off` standard deviations of a good start off the truth."""
    rng, imu = np.random.default_rng(0), ImuBuffer()
    imu.append(recording.imu)
    window = Window(EUROC_RIG.cameras, (), GAUSS)
    for i, tracks in enumerate(recording.tracks[first : first + 2 * count : 2]):
        state = recording.state(tracks.stamp_ns)
        state = state.stepped(off * rng.normal(0, SIGMAS)) if i else state
        frame = frame_of(10 + i, tracks, EUROC_RIG.cameras, state)
        if window.frames:
            frame.steps = imu.steps(window.frames[-1].stamp_ns, frame.stamp_ns)
            frame.pim = preintegrate(frame.steps, NOISE, np.zeros(3), np.zeros(3))
        window.frames.append(frame)
        window.add_landmarks()
    window.prior = first_prior(window.frames[0], at_rest=False)
    return window


def solved(window: Window, times: int = 3) -> Solution:
    for _ in range(times):
        solution = window.solve(10)
    return solution


# -- landmarks --------------------------------------------------------------------------------------------------------


def test_landmarks_are_where_the_rays_of_true_poses_meet(recording: Recording) -> None:
    window = window_of(recording, 4, off=0.0)
    assert len(window.ids) > 40
    assert (np.diff(window.ids) > 0).all()
    on_wall = np.abs(np.abs(window.points - [0, 0, 2]) - [6, 4.5, 2]).min(axis=1)
    assert np.median(on_wall) < 0.2  # every point of the world lies on a wall, floor or ceiling


def test_features_seen_once_have_no_landmark(recording: Recording) -> None:
    window = window_of(recording, 1, off=0.0)
    frame = window.frames[0]
    assert set(window.ids) <= set(frame.ids[frame.seen.all(0)])
    window.ids, window.points = np.zeros(0, np.int64), np.zeros((0, 3))
    frame.seen[1] = False
    window.add_landmarks()
    assert len(window.ids) == 0


def test_a_wrong_match_becomes_no_landmark(recording: Recording) -> None:
    window = window_of(recording, 1, off=0.0)
    wrong = window.ids[0]
    frame = window.frames[0]
    frame.bearings[1, frame.ids == wrong] = [0.3, 0.4, np.sqrt(0.75)]
    window.ids, window.points = np.zeros(0, np.int64), np.zeros((0, 3))
    window.add_landmarks()
    assert wrong not in window.ids
    assert len(window.ids) > 10


def test_a_forgotten_landmark_starts_anew_from_the_newest_frame(recording: Recording) -> None:
    window = window_of(recording, 3)
    gone = window.ids[np.isin(window.ids, window.frames[-1].ids)][:2]
    window.forget_landmarks(gone)
    assert not np.isin(gone, window.ids).any()
    assert len(window.ids) == len(window.points)
    assert not any(np.isin(gone, frame.ids).any() for frame in window.frames[:-1])
    assert np.isin(gone, window.frames[-1].ids).all()


def test_the_depth_is_the_median_distance_of_what_the_newest_frame_sees(recording: Recording) -> None:
    window = window_of(recording, 3, off=0.0)
    newest = window.frames[-1]
    distances = [
        np.linalg.norm(point - newest.state.p)
        for landmark, point in zip(window.ids, window.points, strict=True)
        if landmark in newest.ids
    ]
    assert 0 < len(distances) < len(window.ids)
    assert window.depth_m() == pytest.approx(np.median(distances))
    newest.forget(newest.ids)
    assert window.depth_m() == TYPICAL_DEPTH_M


def test_shared_landmarks_are_those_that_a_frame_sees(recording: Recording) -> None:
    window = window_of(recording, 3, off=0.0)
    for frame in window.frames:
        assert set(window.shared(frame).tolist()) == set(window.ids.tolist()) & set(frame.ids.tolist())
    window.frames[0].forget(window.ids)
    assert len(window.shared(window.frames[0])) == 0


# -- optimisation -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 2, 6])
def test_solving_brings_disturbed_states_back_to_the_truth(recording: Recording, count: int) -> None:
    window = window_of(recording, count, off=1.0)
    solution = solved(window)
    for frame in window.frames:
        error = recording.state(frame.stamp_ns).step_to(frame.state)
        assert np.abs(error[:3]).max() < 3e-3
        assert np.abs(error[3:6]).max() < 0.02
        assert np.abs(error[6:9]).max() < 0.1
    assert np.median(solution.errors[solution.errors > 0]) < 0.6  # px
    assert solution.information.shape == (15 * count, 15 * count)


def test_the_cost_never_grows_and_a_settled_window_stops_after_one_step(recording: Recording) -> None:
    window = window_of(recording, 5, off=1.0)
    costs = [window.solve(1).cost for _ in range(6)]
    assert all(b <= a * (1 + 1e-6) for a, b in pairwise(costs))
    solved(window)
    assert window.solve(10).steps == 1


def test_a_window_without_any_feature_rests_on_the_imu(recording: Recording) -> None:
    window = window_of(recording, 3, off=0.0)
    window.ids, window.points = np.zeros(0, np.int64), np.zeros((0, 3))
    for frame in window.frames:
        frame.forget(frame.ids)
    solution = window.solve(5)
    end = recording.state(window.frames[-1].stamp_ns).step_to(window.frames[-1].state)
    assert np.abs(end[:9]).max() < 0.01
    assert len(solution.errors) == 0
    assert np.linalg.eigvalsh(window.covariance(solution.information)).min() > 0


@pytest.mark.parametrize("count", [1, 2, 6])
def test_covariance_is_the_last_block_of_the_inverse_information(recording: Recording, count: int) -> None:
    window = window_of(recording, count)
    information = solved(window).information
    scale = 1 / np.sqrt(np.diag(information))
    inverse = np.linalg.inv(information * np.outer(scale, scale)) * np.outer(scale, scale)
    covariance = window.covariance(information)
    size = np.sqrt(np.diag(covariance))
    np.testing.assert_allclose(covariance / np.outer(size, size), inverse[-15:, -15:] / np.outer(size, size), atol=1e-4)


def test_the_kernels_are_compiled_for_the_types_that_a_window_has(
    recording: Recording, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or the first frame would wait seconds for another compilation."""
    types: list[list[object]] = []
    for name in ("accumulate", "solve_points"):
        kernel = getattr(vision, name)

        def spy(*arguments: object, kernel: Callable[..., object] = kernel) -> object:
            types[-1].append([typeof(argument) for argument in arguments])  # type: ignore[no-untyped-call]
            return kernel(*arguments)

        monkeypatch.setattr(vision, name, spy)
    types.append([])
    vision.compile_kernels()
    window = window_of(recording, 3)
    types.append([])
    window.solve(0)
    assert len(types[0]) == 2
    assert types[0] == types[1]


def test_an_imu_that_contradicts_the_images_is_told(recording: Recording) -> None:
    window = window_of(recording, 4)
    agreeing = solved(window).contradiction
    newest = window.frames[-1]
    steps = some(newest.steps)
    turned = ImuSteps(steps.dt_s, steps.gyro + np.array([0.0, 0.0, 0.5]), steps.accel)
    newest.pim = preintegrate(turned, NOISE, np.zeros(3), np.zeros(3))
    assert agreeing < 1 < 100 < solved(window).contradiction


# -- leaving the window -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("position", [0, 2, 4])
def test_marginalising_a_frame_leaves_the_others_where_they_were_and_as_certain(
    recording: Recording, position: int
) -> None:
    """The newest frame sees nothing that the leaving one saw, so both windows know the same."""
    whole, less = (window_of(recording, 6) for _ in range(2))
    for window in (whole, less):
        window.frames[-1].forget(window.frames[position].ids)
        pull_biases(window)
        solved(window, 8)
    less.marginalise(position)
    assert [f.index for f in less.frames] == [10 + i for i in range(6) if i != position]
    before = [f.state for i, f in enumerate(whole.frames) if i != position]
    P_before, P_after = whole.covariance(solved(whole, 1).information), less.covariance(solved(less, 3).information)
    size = np.sqrt(np.diag(P_before))
    for old, frame in zip(before, less.frames, strict=True):
        assert (np.abs(old.step_to(frame.state)) < 2e-3 * size).all()
    np.testing.assert_allclose(P_after / np.outer(size, size), P_before / np.outer(size, size), atol=2e-3)


def test_landmarks_outlive_a_frame_that_another_one_repeats(recording: Recording) -> None:
    window = window_of(recording, 6)
    solved(window, 6)
    ids, certain = window.ids.copy(), np.diag(window.covariance(solved(window, 1).information))
    window.marginalise(4, repeats=True)
    assert [f.index for f in window.frames] == [10, 11, 12, 13, 15]
    np.testing.assert_array_equal(window.ids, ids)
    after = np.diag(window.covariance(solved(window, 1).information))
    assert (after >= certain * (1 - 1e-3)).all()  # nothing is made up


def keep_sightings_that_leave_together(window: Window, position: int) -> None:
    """Forget, in the leaving frame, what the newest frame still sees: its landmark would start anew."""
    leaving, newest = window.frames[position], window.frames[-1]
    shared = np.intersect1d(leaving.ids, newest.ids)
    leaving.forget(shared)


def pull_biases(window: Window) -> None:
    """Let the prior have a slope, as if it had seen half a sigma more of the biases."""
    slope = 0.5 * np.sqrt(np.diag(window.prior.H)) * (np.arange(15) >= 9)
    window.prior = LinearCost(window.prior.keys, window.prior.points, Quadratic(window.prior.H, slope))


def test_marginalising_all_but_the_newest_keeps_what_is_known_of_it(recording: Recording) -> None:
    whole, less = (window_of(recording, 5) for _ in range(2))
    for window in (whole, less):
        for position in range(4):
            keep_sightings_that_leave_together(window, position)
        pull_biases(window)
        solved(window, 8)
    while len(less.frames) > 1:
        less.marginalise(0)
    P_before, P_after = whole.covariance(solved(whole, 1).information), less.covariance(solved(less, 3).information)
    moved = whole.frames[-1].state.step_to(less.frames[-1].state)
    assert (np.abs(moved) < 0.05 * np.sqrt(np.diag(P_before))).all()
    # its own stereo sightings are still there; what the gone frames saw is in the prior
    assert np.sqrt(np.diag(P_after) / np.diag(P_before)) == pytest.approx(np.ones(15), rel=0.02)
    assert less.prior.keys == (Key(State, 14),)


def test_marginalising_never_makes_more_certain(recording: Recording) -> None:
    """That a landmark in sight is the one seen before is lost, so a little certainty is too, and none is made up."""
    window = window_of(recording, 6)
    before = window.covariance(solved(window, 6).information)
    window.marginalise(0)
    after = window.covariance(solved(window, 1).information)
    assert (np.diag(after) >= np.diag(before) * (1 - 1e-3)).all()


def test_a_marginalised_frame_takes_its_factors_and_landmarks_along(recording: Recording) -> None:
    window = window_of(recording, 4)
    still = gtsam.PriorFactorVector(V(10), np.zeros(3), gtsam.noiseModel.Isotropic.Sigma(3, 0.1))
    other = gtsam.BetweenFactorPose3(X(12), X(13), gtsam.Pose3(), gtsam.noiseModel.Isotropic.Sigma(6, 1.0))
    window.extra = [still, other]
    gone = np.setdiff1d(window.frames[0].ids, window.frames[-1].ids)
    window.marginalise(0)
    assert window.extra == [other]
    assert not np.isin(gone, window.ids).any()
    assert not any(np.isin(gone, frame.ids).any() for frame in window.frames)
    assert window.frames[0].pim is None
    assert window.prior.keys[0] == Key(State, 11)
    np.testing.assert_allclose(window.prior.H, window.prior.H.T)
    assert np.linalg.eigvalsh(window.prior.H).min() > -1e-6 * np.abs(window.prior.H).max()


def test_the_prior_holds_its_frames_at_one_linearisation(recording: Recording) -> None:
    window = window_of(recording, 5)
    solved(window)
    window.marginalise(0)
    held = window.prior.points
    solved(window)
    window.marginalise(0)
    shared = [key for key in window.prior.keys if key in held]
    assert len(shared) >= 2
    assert all(window.prior.points[key] is held[key] for key in shared)


def test_dropping_the_newest_undoes_appending_it(recording: Recording) -> None:
    def state_of(window: Window) -> tuple[object, ...]:
        return [f.index for f in window.frames], window.prior, list(window.extra), [f.pim for f in window.frames]

    window = window_of(recording, 4)
    solved(window)
    newest = window.frames.pop()
    before, cost = state_of(window), window.solve(0).cost
    window.frames.append(newest)
    window.extra.append(gtsam.BetweenFactorPose3(X(12), X(13), gtsam.Pose3(), gtsam.noiseModel.Isotropic.Sigma(6, 1.0)))
    window.drop_newest()
    assert state_of(window) == before
    assert window.solve(0).cost == pytest.approx(cost, rel=1e-12)


def test_a_cost_of_ones_own_counts_is_marginalised_and_leaves_with_its_frame(recording: Recording) -> None:
    """A cost that GTSAM knows nothing of pulls at the window as the same thing does as a factor."""

    def pulled(extra: Cost | gtsam.NonlinearFactor) -> list[State]:
        window = window_of(recording, 4)
        window.extra = [extra]
        solved(window, 6)
        window.marginalise(0)
        assert window.extra == []
        solved(window, 3)
        return [frame.state for frame in window.frames]

    key, sigma = Key(State, 10), 0.002
    H = np.zeros((15, 15))
    H[6:9, 6:9] = np.eye(3) / sigma**2
    still = Values({key: State(np.eye(3), np.zeros(3))})
    model = gtsam.noiseModel.Isotropic.Sigma(3, sigma)
    own = pulled(LinearCost((key,), still, Quadratic(H, np.zeros(15))))
    by_gtsam = pulled(gtsam.PriorFactorVector(V(10), np.zeros(3), model))
    free = pulled(LinearCost((key,), still, Quadratic(0 * H, np.zeros(15))))
    for a, b, c in zip(own, by_gtsam, free, strict=True):
        np.testing.assert_allclose(a.step_to(b), 0, atol=2e-4)
        assert np.abs(a.step_to(c)).max() > 2e-3


# -- far from the truth -----------------------------------------------------------------------------------------------


def placed_from_far(recording: Recording, window: Window) -> np.ndarray:
    """The error (15,) with which the newest frame is placed, three metres off."""
    newest = window.frames[-1]
    newest.state = newest.state.stepped(np.r_[0.1, 0.1, 0.1, 3.0, 0.5, 0.0, np.zeros(9)])
    window.place_newest(3.0)
    return recording.state(newest.stamp_ns).step_to(newest.state)


def test_a_frame_far_off_is_placed_by_its_landmarks(recording: Recording) -> None:
    window = window_of(recording, 4)
    error = placed_from_far(recording, window)
    assert np.abs(error[:3]).max() < 0.02
    assert np.abs(error[3:6]).max() < 0.1


def test_a_frame_is_placed_by_its_left_camera_though_a_third_of_its_matches_are_wrong(recording: Recording) -> None:
    window = window_of(recording, 4, off=0.0)
    newest, rng = window.frames[-1], np.random.default_rng(0)
    newest.seen[1, ::2] = False
    newest.seen[0, rng.random(len(newest.ids)) < 0.1] = False
    wrong = np.flatnonzero(newest.seen[0] & np.isin(newest.ids, window.ids))[::3]
    bearings = newest.bearings[0, wrong] + rng.uniform(-0.5, 0.5, (len(wrong), 3))
    newest.bearings[0, wrong] = unit(bearings)
    error = placed_from_far(recording, window)
    assert np.abs(error[:3]).max() < 0.01
    assert np.abs(error[3:6]).max() < 0.03


def test_the_prior_can_be_fixed_where_the_frames_are_now(recording: Recording) -> None:
    window = window_of(recording, 2)
    solved(window)
    key, state = window.frames[0].key, window.frames[0].state
    pull = window.prior.at(Values({key: state}))[0]
    window.refix_prior()
    assert window.prior.points[key] is state
    np.testing.assert_allclose(window.prior.g, pull)


def test_only_landmarks_that_are_followed_into_the_newest_frame_doubt_its_motion(recording: Recording) -> None:
    """Those that are new in it fit any motion."""
    window = window_of(recording, 3, off=0.0)
    newest = window.frames[-1]
    before = np.unique(np.concatenate([frame.ids for frame in window.frames[:-1]]))
    solution = window.solve(0)
    expected = np.isin(window.ids, newest.ids) & np.isin(window.ids, before)
    np.testing.assert_array_equal(solution.followed, expected)
    assert 0 < expected.sum() < len(expected)
    assert solution.doubtful_share(3.0) == 0
    moved = replace(solution, errors=np.where(expected, 5.0, 0.1))
    assert moved.doubtful_share(3.0) == 1
    assert replace(solution, errors=np.where(expected, 0.1, 5.0)).doubtful_share(3.0) == 0
    half = np.flatnonzero(expected)[::2]
    errors = np.zeros(len(expected))
    errors[half] = 5.0
    assert replace(solution, errors=errors).doubtful_share(3.0) == len(half) / expected.sum()
    assert replace(solution, errors=errors).doubtful_share(5.0) == 0
    assert replace(moved, followed=np.zeros(len(expected), bool)).doubtful_share(3.0) == 0
