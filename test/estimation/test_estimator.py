# SPDX-License-Identifier: Apache-2.0
from collections.abc import Callable
from dataclasses import replace
from functools import reduce

import numpy as np
import pytest

from letvins_ros.calibration import Rig
from letvins_ros.errors import CalibrationError
from letvins_ros.estimation import APART, VioEstimator
from letvins_ros.estimation.window import Solution, Window
from letvins_ros.evaluation.metrics import drift, largest_distance_from_mean, nees
from letvins_ros.geometry import apply, exp_so3, inverse, log_so3, transform
from letvins_ros.simulation.imu import START_NS, seconds
from letvins_ros.simulation.rigs import EUROC_RIG
from letvins_ros.types import FrameTracks, ImuSamples, Keyframe, VioState, VioStatus

from ..some import some
from .synthetic import (
    Quality,
    Recording,
    add_imu,
    ate,
    config_of,
    estimate,
    posed,
    record,
    run,
    step,
    without_imu,
    without_tracks,
)

SECOND = 1_000_000_000
MODES = ["stereo_imu", "mono_imu", "stereo"]
Solve = Callable[[Window, int], Solution]


def between(states: list[VioState], start_s: float, end_s: float) -> list[VioState]:
    return [s for s in states if start_s <= (s.stamp_ns - START_NS) / SECOND < end_s]


def assert_covariances(states: list[VioState]) -> None:
    """All of them symmetric and positive definite, in their own units."""
    for state in states:
        P = state.covariance
        np.testing.assert_allclose(P, P.T, rtol=1e-6, atol=1e-12 * np.abs(P).max())
        size = np.sqrt(np.diag(P))
        assert np.isfinite(size).all()
        assert np.linalg.eigvalsh(P / np.outer(size, size)).min() > 0


@pytest.fixture(scope="module")
def hall() -> Recording:
    return record("hall", 5.0, 0)


@pytest.fixture(scope="module")
def hall_states(hall: Recording) -> list[VioState]:
    return run(hall, config_of("stereo_imu"))


# -- accuracy ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mode", "estimator"), [("stereo_imu", {}), ("mono_imu", {"init_window_s": 2.0}), ("stereo", {})]
)
def test_ten_seconds_of_flight_are_known_to_two_centimetres(mode: str, estimator: dict[str, float]) -> None:
    recording = record("hall", 10.0, 0)
    states = run(recording, config_of(mode, **estimator))
    known = posed(states)
    assert ate(recording, known) < 0.02
    assert known == states[-len(known) :]  # once started, every frame has a pose
    assert {(s.status, s.reason, s.resets) for s in known} == {(VioStatus.TRACKING, "", 0)}
    assert_covariances(known[::10])


def test_one_camera_starts_by_itself_when_its_scale_is_known() -> None:
    recording = record("hall", 6.0, 0)
    states = posed(run(recording, config_of("mono_imu")))
    assert ate(recording, states) < 0.03
    t = np.array([(states[0].stamp_ns - START_NS) / SECOND])
    speed = np.linalg.norm(recording.trajectory.velocity(t)[0])
    assert np.linalg.norm(states[0].velocity_odom) == pytest.approx(speed, rel=0.3)


@pytest.mark.parametrize("scenario", ["aggressive", "corridor"])
def test_fast_and_narrow_flights_are_known_too(scenario: str) -> None:
    recording = record(scenario, 5.0, 1)
    assert ate(recording, run(recording, config_of("stereo_imu"))) < 0.02


def test_the_covariance_of_position_tells_the_truth_on_average() -> None:
    means = []
    for seed in range(8):
        recording = record("hall", 4.0, 100 + seed, Quality(features=40))
        states = posed(run(recording, config_of("stereo_imu", gyro_noise_scale=1.0, accel_noise_scale=1.0)))
        found = estimate(states)
        drifted = drift(recording.truth(found.stamps_ns), found, np.zeros(len(states), int))
        means.append(nees(drifted.position[5:], np.stack([s.covariance[:3, :3] for s in states[5:]])).mean())
    assert 1.0 < np.mean(means) < 6.0, means  # 3 is perfect


def test_velocity_and_biases_are_those_of_the_simulation(hall: Recording, hall_states: list[VioState]) -> None:
    last = hall_states[-1]
    t = np.array([(last.stamp_ns - START_NS) / SECOND])
    speed = np.linalg.norm(hall.trajectory.velocity(t)[0])
    assert np.linalg.norm(last.velocity_odom) == pytest.approx(speed, abs=0.03)
    still = hall.trajectory.angular_velocity(t)[0]
    near = np.abs(hall.imu.stamps_ns - last.stamp_ns) < 20_000_000
    np.testing.assert_allclose(last.gyro_bias, (hall.imu.gyro[near].mean(0) - still), atol=0.01)


def test_odom_starts_upright_without_heading(hall: Recording, hall_states: list[VioState]) -> None:
    first = posed(hall_states)[0]
    t = np.array([(first.stamp_ns - START_NS) / SECOND])
    up = hall.trajectory.T_world_body(t)[0, 2, :3]  # of the world, in the body
    assert np.degrees(np.arccos(np.clip(first.T_odom_body[2, :3] @ up, -1, 1))) < 1.5


def test_standing_still_stays_within_two_millimetres() -> None:
    recording = record("static", 5.0, 0, Quality(pixel_std=0.1))
    states = posed(run(recording, config_of("stereo_imu")))
    assert len(states) > 45
    assert largest_distance_from_mean(estimate(states).positions) < 2e-3
    assert max(np.linalg.norm(s.velocity_odom) for s in states) < 0.01
    assert_covariances(states[::10])


def test_the_same_input_gives_the_same_bytes(hall: Recording, hall_states: list[VioState]) -> None:
    for a, b in zip(hall_states, run(hall, config_of("stereo_imu")), strict=True):
        for name in ("T_odom_body", "velocity_odom", "gyro_bias", "accel_bias", "covariance"):
            assert getattr(a, name).tobytes() == getattr(b, name).tobytes()


# -- before the start -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
def test_without_features_it_waits_and_says_for_what(mode: str) -> None:
    recording = without_tracks(record("hall", 2.0, 0), 0, 9)
    states = run(recording, config_of(mode))
    assert {s.status for s in states} == {VioStatus.INITIALISING}
    assert all(s.reason for s in states)
    assert "features" in states[-1].reason


def test_few_features_are_too_few_to_start_and_counted() -> None:
    recording = record("hall", 1.0, 0, Quality(features=8))
    assert "15 needed are common to the frames" in run(recording, config_of("stereo_imu"))[-1].reason
    assert "stereo features of 10 needed" in run(recording, config_of("stereo"))[-1].reason


def test_before_the_start_nothing_is_predicted() -> None:
    estimator = VioEstimator(config_of("stereo_imu"), EUROC_RIG)
    assert estimator.predict(START_NS) is None
    assert estimator.rotation_since_last(START_NS) is None
    estimator.reset("nothing to reset")
    assert not estimator.initialised


def test_a_mode_with_imu_needs_the_noise_of_one() -> None:
    with pytest.raises(CalibrationError, match="mode mono_imu needs the IMU's noise"):
        VioEstimator(config_of("mono_imu"), Rig(EUROC_RIG.cameras, None))


# -- damage -----------------------------------------------------------------------------------------------------------


def test_a_second_of_darkness_is_bridged_by_the_imu_and_called_degraded(hall: Recording) -> None:
    states = posed(run(without_tracks(hall, 3.0, 4.0), config_of("stereo_imu")))
    dark, before, after = (between(states, *span) for span in ((3.0, 4.0), (2.0, 3.0), (4.2, 5.1)))
    assert {s.status for s in dark} == {VioStatus.DEGRADED}
    assert {s.reason for s in dark} == {"0 tracks of 10 needed"}
    assert {s.status for s in after} == {VioStatus.TRACKING}
    assert {s.resets for s in states} == {0}
    assert ate(hall, states) < 0.05
    sizes = [np.trace(s.covariance[:3, :3]) for s in dark]
    assert sizes == sorted(sizes)  # less is known in every frame of it
    assert sizes[-1] > 2 * np.trace(before[-1].covariance[:3, :3])
    assert_covariances(states[::5])


def test_half_a_second_without_imu_is_bridged_by_the_images(hall: Recording) -> None:
    states = posed(run(without_imu(hall, 3.0, 3.5), config_of("stereo_imu")))
    assert ate(hall, states) < 0.05
    assert {s.resets for s in states} == {0}
    reasons = {s.reason for s in states if s.status is VioStatus.DEGRADED}
    assert any(reason.startswith("IMU gap of 0.") for reason in reasons)
    assert {s.status for s in between(states, 4.0, 5.1)} == {VioStatus.TRACKING}


def test_few_features_found_again_after_a_gap_of_both_sensors_are_chance(hall: Recording) -> None:
    last = next(one for one in reversed(hall.tracks) if (one.stamp_ns - START_NS) / SECOND <= 3)

    def after_gap(one: FrameTracks) -> FrameTracks:
        seconds = (one.stamp_ns - START_NS) / SECOND
        if seconds <= 3:
            return one
        one = replace(one, ids=one.ids + 10_000, uv=one.uv.copy())
        if seconds < 3.56:  # eight are found where they were, as if the camera had not moved
            one.ids[:8], one.uv[:, :8] = last.ids[:8], last.uv[:, :8]
        return one

    tracks = [after_gap(one) for one in hall.tracks if not 3 < (one.stamp_ns - START_NS) / SECOND <= 3.4]
    states = posed(run(without_imu(replace(hall, tracks=tracks), 3.0, 3.4), config_of("stereo_imu")))
    assert {s.resets for s in states} == {0}
    found = estimate(states)
    error = drift(hall.truth(found.stamps_ns), found, np.zeros(len(states), int)).position
    after = found.stamps_ns - START_NS > 3.42 * SECOND
    assert np.linalg.norm(error[after], axis=1).max() < 0.1  # 0.34 m with these features
    off = nees(error[after], np.stack([s.covariance[:3, :3] for s in states])[after])
    assert off.max() < 20  # one in six thousand of true covariances is larger


def test_cameras_alone_rest_in_the_dark_and_go_on(hall: Recording) -> None:
    states = posed(run(without_tracks(hall, 3.0, 3.3), config_of("stereo")))
    assert {s.status for s in between(states, 3.0, 3.3)} == {VioStatus.DEGRADED}
    assert {s.status for s in between(states, 4.0, 5.1)} == {VioStatus.TRACKING}
    assert np.isfinite(estimate(states).positions).all()


@pytest.mark.parametrize("mode", MODES)
def test_features_that_jump_about_never_crash_it(hall: Recording, mode: str) -> None:
    rng = np.random.default_rng(0)

    def swapped(i: int, one: FrameTracks) -> FrameTracks:
        some = rng.permutation(len(one)) if 20 <= i < 35 else np.arange(len(one))
        right = rng.permutation(some) if i == 25 else np.arange(len(one))
        return replace(one, uv=np.stack([one.uv[0, some], one.uv[1, right]]))

    states = run(replace(hall, tracks=[swapped(i, one) for i, one in enumerate(hall.tracks)]), config_of(mode))
    assert len(states) == len(hall.tracks)
    assert all(np.isfinite(s.T_odom_body).all() and np.isfinite(s.covariance).all() for s in states)
    assert all(s.reason for s in states if s.status is not VioStatus.TRACKING)


def test_some_swapped_features_change_nothing_much(hall: Recording) -> None:
    def swapped(i: int, one: FrameTracks) -> FrameTracks:
        uv = one.uv.copy()
        uv[0, :6] = uv[0, :6][::-1] if i >= 10 and i % 5 == 0 else uv[0, :6]
        return replace(one, uv=uv)

    tracks = [swapped(i, one) for i, one in enumerate(hall.tracks)]
    states = posed(run(replace(hall, tracks=tracks), config_of("stereo_imu")))
    assert (len(states) > 45, {s.resets for s in states}) == (True, {0})
    assert ate(hall, states) < 0.02


@pytest.mark.parametrize("mode", ["stereo_imu", "stereo"])
def test_after_a_failed_solver_odom_goes_on_at_the_last_pose(
    hall: Recording, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    estimator, solve, states = VioEstimator(config_of(mode), EUROC_RIG), Window.solve, []

    def broken(self: Window, iterations: int) -> Solution:
        monkeypatch.setattr(Window, "solve", solve)
        raise RuntimeError("Indeterminant linear system\ndetected while working near variable x3")

    for i in range(len(hall.tracks)):
        if i == 30:
            monkeypatch.setattr(Window, "solve", broken)
        states.append(step(estimator, hall, i, mode))
    assert (states[30].status, states[30].resets) == (VioStatus.INITIALISING, 1)
    assert states[30].reason == "the solver failed: Indeterminant linear system"
    before, again = states[29], posed(states[30:])[0]
    assert again.stamp_ns - before.stamp_ns <= SECOND
    moved = np.linalg.norm(again.T_odom_body[:3, 3] - before.T_odom_body[:3, 3])
    assert moved < 1.3 * (again.stamp_ns - before.stamp_ns) / SECOND  # no further than it can have flown
    assert {s.resets for s in states[31:]} == {1}
    assert states[-1].status is VioStatus.TRACKING
    if mode == "stereo_imu":  # still upright, and the heading goes on
        assert again.T_odom_body[2, :3] @ before.T_odom_body[2, :3] > 0.9
    else:  # odom has no vertical: the whole pose goes on
        turned = log_so3(before.T_odom_body[:3, :3].T @ again.T_odom_body[:3, :3])
        assert np.degrees(np.linalg.norm(turned)) < 10


def test_a_reset_on_demand_counts_and_starts_anew(hall: Recording) -> None:
    estimator = VioEstimator(config_of("stereo_imu"), EUROC_RIG)
    for i in range(30):
        step(estimator, hall, i, "stereo_imu")
    assert estimator.initialised
    assert estimator.reset("asked for") == 1
    assert (estimator.initialised, estimator.predict(hall.tracks[30].stamp_ns)) == (False, None)
    states = [step(estimator, hall, i, "stereo_imu") for i in range(30, 45)]
    assert states[-1].status is VioStatus.TRACKING
    assert {s.resets for s in states} == {1}


def test_readings_that_are_no_numbers_are_left_out(hall: Recording) -> None:
    gyro, accel = hall.imu.gyro.copy(), hall.imu.accel.copy()
    gyro[500:505], accel[700] = np.nan, np.inf
    broken = replace(hall, imu=replace(hall.imu, gyro=gyro, accel=accel))
    assert VioEstimator(config_of("stereo_imu"), EUROC_RIG).add_imu(broken.imu) == 6
    assert ate(hall, run(broken, config_of("stereo_imu"))) < 0.02


# -- between frames ---------------------------------------------------------------------------------------------------


def test_prediction_between_frames_leads_to_the_next_frame_and_knows_less_and_less(hall: Recording) -> None:
    estimator = VioEstimator(config_of("stereo_imu", estimate_time_offset=False), EUROC_RIG)
    for i in range(39):
        state = step(estimator, hall, i, "stereo_imu")
    now, after = hall.tracks[38].stamp_ns, hall.tracks[39].stamp_ns
    add_imu(estimator, hall, 39)
    states = [some(estimator.predict(int(t))) for t in np.linspace(now, after, 5)]
    np.testing.assert_allclose(states[0].T_odom_body, state.T_odom_body, atol=1e-9)
    for part in (slice(0, 3), slice(3, 6), slice(6, 9)):
        sizes = [np.trace(s.covariance[part, part]) for s in states]
        assert sizes == sorted(sizes)
    assert_covariances(states)
    following = estimator.process(hall.tracks[39]).state
    assert np.linalg.norm(states[-1].T_odom_body[:3, 3] - following.T_odom_body[:3, 3]) < 0.01
    assert np.linalg.norm(states[-1].velocity_odom - following.velocity_odom) < 0.05


def test_the_gyro_gives_the_turn_since_the_last_frame(hall: Recording) -> None:
    estimator = VioEstimator(config_of("stereo_imu"), EUROC_RIG)
    for i in range(30):
        step(estimator, hall, i, "stereo_imu")
    add_imu(estimator, hall, 30)
    R = some(estimator.rotation_since_last(hall.tracks[30].stamp_ns))
    t = np.array([(one.stamp_ns - START_NS) / SECOND for one in hall.tracks[29:31]])
    before, now = hall.trajectory.T_world_body(t)[:, :3, :3]
    np.testing.assert_allclose(R, before.T @ now, atol=1e-3)


def test_a_gap_in_the_readings_tells_of_no_turn(hall: Recording) -> None:
    estimator = VioEstimator(config_of("stereo_imu"), EUROC_RIG)
    stamps = [one.stamp_ns for one in hall.tracks]
    silent = (hall.imu.stamps_ns > stamps[20]) & (hall.imu.stamps_ns < stamps[24])
    kept = np.flatnonzero(~silent)
    estimator.add_imu(ImuSamples(hall.imu.stamps_ns[kept], hall.imu.gyro[kept], hall.imu.accel[kept]))
    soon, next_one = [], []  # 50 ms after each frame, less than the gap lasts, and at the next
    for one, after in zip(hall.tracks[:30], stamps[1:], strict=False):
        estimator.process(one)
        soon.append(estimator.rotation_since_last(one.stamp_ns + 50_000_000))
        next_one.append(estimator.rotation_since_last(after))
    assert [i for i, turn in enumerate(next_one) if turn is None] == [20, 21, 22, 23]
    assert [i for i, turn in enumerate(soon) if turn is None] == [20, 21, 22, 23]


def test_a_camera_clock_that_is_late_by_its_known_offset_changes_nothing(
    hall: Recording, hall_states: list[VioState]
) -> None:
    late = 20_000_000
    cameras = tuple(replace(camera, time_offset_s=late / SECOND) for camera in EUROC_RIG.cameras)
    tracks = [replace(one, stamp_ns=one.stamp_ns - late) for one in hall.tracks]
    estimator = VioEstimator(config_of("stereo_imu"), replace(EUROC_RIG, cameras=cameras))
    estimator.add_imu(hall.imu)
    states = [estimator.process(one).state for one in tracks]
    np.testing.assert_allclose(states[-1].T_odom_body, hall_states[-1].T_odom_body, atol=1e-6)


def test_a_prediction_is_at_the_time_of_the_reading_and_its_stamp_on_the_cameras_clock(hall: Recording) -> None:
    late = 20_000_000
    cameras = tuple(replace(camera, time_offset_s=late / SECOND) for camera in EUROC_RIG.cameras)
    config, predicted = config_of("stereo_imu", estimate_time_offset=False), []
    for behind, rig in ((0, EUROC_RIG), (late, replace(EUROC_RIG, cameras=cameras))):
        estimator = VioEstimator(config, rig)
        estimator.add_imu(hall.imu)
        for one in hall.tracks[:30]:
            estimator.process(replace(one, stamp_ns=one.stamp_ns - behind))
        predicted.append(some(estimator.predict(hall.tracks[29].stamp_ns + 30_000_000)))
    right, of_late = predicted
    assert right.stamp_ns - of_late.stamp_ns == late
    np.testing.assert_allclose(of_late.T_odom_body, right.T_odom_body, atol=1e-6)


# -- refinement -------------------------------------------------------------------------------------------------------


def test_wrong_mounts_and_a_wrong_clock_are_refined_towards_the_truth() -> None:
    recording, late = record("aggressive", 10.0, 1), 0.006
    turn = exp_so3(np.radians([0.4, -0.3, 0.5]))
    wrong = tuple(
        replace(c, T_body_cam=transform(c.T_body_cam[:3, :3] @ turn, c.T_body_cam[:3, 3]), time_offset_s=late)
        for c in EUROC_RIG.cameras
    )
    config = config_of("stereo_imu", estimate_extrinsics=True, estimate_time_offset=True)
    estimator = VioEstimator(config, replace(EUROC_RIG, cameras=wrong))
    states = posed(run(recording, config, estimator))
    assert ate(recording, states) < 0.06
    assert ate(recording, states[50:]) < 0.03
    for found, true in zip(estimator.cameras, EUROC_RIG.cameras, strict=True):
        assert np.degrees(np.linalg.norm(log_so3(found.T_body_cam[:3, :3].T @ true.T_body_cam[:3, :3]))) < 0.15
        assert np.linalg.norm(found.T_body_cam[:3, 3] - true.T_body_cam[:3, 3]) < 0.02
        assert found.time_offset_s == pytest.approx(0, abs=0.001)
    assert_covariances(states[::10])


def test_a_right_clock_that_is_refined_spoils_nothing(hall: Recording, hall_states: list[VioState]) -> None:
    config = config_of("stereo_imu", estimate_time_offset=True)
    estimator = VioEstimator(config, EUROC_RIG)
    contradictions = [
        (step(estimator, hall, i, "stereo_imu"), estimator.contradiction)[1] for i in range(len(hall.tracks))
    ]
    assert max(contradictions) < 5
    assert estimator.cameras[0].time_offset_s == pytest.approx(0, abs=0.0005)


def test_without_refinement_the_calibration_stays_as_given(hall: Recording) -> None:
    estimator = VioEstimator(config_of("stereo_imu", estimate_time_offset=False), EUROC_RIG)
    for i in range(20):
        step(estimator, hall, i, "stereo_imu")
    for now, given in zip(estimator.cameras, EUROC_RIG.cameras, strict=True):
        np.testing.assert_array_equal(now.T_body_cam, given.T_body_cam)
        assert now.time_offset_s == given.time_offset_s


@pytest.mark.parametrize("seed", [0, 3, 5])
def test_one_wrong_match_that_seems_near_does_not_spoil_the_start(seed: int) -> None:
    recording = with_a_near_match(record("aggressive", 7.0, seed, Quality(pixel_std=0.1)), 40)
    states = posed(run(recording, config_of("stereo_imu", pixel_noise_scale=2.0)))
    found = estimate(states)
    errors = drift(recording.truth(found.stamps_ns), found, np.zeros(len(states), int)).position
    assert np.linalg.norm(errors, axis=1).max() < 0.02


def with_a_near_match(recording: Recording, first: int) -> Recording:
    """The recording from a frame in full motion on, with one feature whose right pixel is 130 px off (0.4 m)."""
    tracks, imu = recording.tracks[first:], recording.imu
    wrong = reduce(np.intersect1d, [one.ids for one in tracks[:5]])[0]

    def spoiled(one: FrameTracks) -> FrameTracks:
        uv, row = one.uv.copy(), one.ids == wrong
        uv[1, row] = uv[0, row] - np.array([130, 0], np.float32)
        return replace(one, uv=uv)

    keep = imu.stamps_ns >= tracks[0].stamp_ns - SECOND // 10
    imu = ImuSamples(imu.stamps_ns[keep], imu.gyro[keep], imu.accel[keep])
    return replace(recording, tracks=[spoiled(one) for one in tracks], imu=imu)


# -- keyframes --------------------------------------------------------------------------------------------------------


def keyframes_of(recording: Recording) -> list[tuple[Keyframe, VioState]]:
    estimator = VioEstimator(config_of("stereo_imu"), recording.rig)
    found = []
    for i in range(len(recording.tracks)):
        add_imu(estimator, recording, i)
        made = estimator.process(recording.tracks[i])
        found += [(made.keyframe, made.state)] if made.keyframe else []
    return found


def test_keyframes_carry_their_frame_and_where_its_features_are(hall: Recording) -> None:
    found = keyframes_of(hall)
    assert 5 < len(found) < len(hall.tracks)
    assert [keyframe.index for keyframe, _ in found] == list(range(len(found)))
    for keyframe, state in found:
        assert keyframe.stamp_ns == state.stamp_ns
        np.testing.assert_array_equal(keyframe.T_odom_body, state.T_odom_body)
        np.testing.assert_allclose(keyframe.covariance, state.covariance[:6, :6], rtol=1e-4, atol=1e-10)
        known = np.isfinite(keyframe.points_body).all(1)
        assert known.mean() > 0.7
        mounted = hall.rig.cameras[0]
        uv, _ = mounted.camera.project(apply(inverse(mounted.T_body_cam), keyframe.points_body[known]))
        assert np.median(np.linalg.norm(uv - keyframe.uv[known], axis=1)) < 0.6  # px, with 0.3 of noise


def test_motion_between_keyframes_is_as_sure_as_it_is_right(hall: Recording) -> None:
    found = [keyframe for keyframe, _ in keyframes_of(hall)]
    truth = hall.trajectory.T_world_body(seconds(np.array([k.stamp_ns for k in found])))
    surprise = []
    for i in range(1, len(found)):
        motion = inverse(some(found[i].T_odom_of(i - 1))) @ found[i].T_odom_body
        error = inverse(inverse(truth[i - 1]) @ truth[i]) @ motion
        e = np.r_[error[:3, 3], log_so3(error[:3, :3])]
        surprise.append(e @ np.linalg.solve(found[i].motion_covariance, e))
    assert 1 < np.mean(surprise) < 12  # 6 is perfect


def test_a_rest_is_one_keyframe() -> None:
    found = keyframes_of(record("static", 4.0, 0, Quality(pixel_std=0.1)))
    assert len(found) <= 1


# -- stamps and gaps --------------------------------------------------------------------------------------------------


def test_frames_that_come_twice_are_left_out_and_change_nothing(hall: Recording, hall_states: list[VioState]) -> None:
    estimator, states, again = VioEstimator(config_of("stereo_imu"), EUROC_RIG), [], []
    for i in range(len(hall.tracks)):
        states.append(step(estimator, hall, i, "stereo_imu"))
        again.append(estimator.process(hall.tracks[i]).state)
    for a, b in zip(states, hall_states, strict=True):
        np.testing.assert_array_equal(a.T_odom_body, b.T_odom_body)
    assert all("left out" in state.reason for state in again)
    assert {state.status for state in again} <= {VioStatus.INITIALISING, VioStatus.DEGRADED}
    assert all(np.isfinite(state.covariance).all() for state in again)


def test_frames_in_disorder_are_left_out_one_by_one(hall: Recording) -> None:
    order = np.arange(len(hall.tracks))
    order[20:40] = order[20:40].reshape(-1, 2)[:, ::-1].ravel()  # pairs exchanged
    states = run(replace(hall, tracks=[hall.tracks[i] for i in order]), config_of("stereo_imu"))
    assert sum("left out" in state.reason for state in states) == 10
    assert {state.resets for state in states} == {0}
    kept = [state for state in posed(states) if "left out" not in state.reason]
    assert ate(hall, kept) < 0.02


def test_a_clock_that_goes_back_begins_a_new_segment(hall: Recording) -> None:
    estimator, imu = VioEstimator(config_of("stereo_imu"), EUROC_RIG), hall.imu
    for i in range(40):
        step(estimator, hall, i, "stereo_imu")
    back = 3 * SECOND
    again = replace(hall, tracks=[replace(one, stamp_ns=one.stamp_ns - back) for one in hall.tracks])
    again = replace(again, imu=ImuSamples(imu.stamps_ns - back, imu.gyro, imu.accel))
    states = [estimator.process(again.tracks[40]).state]
    states += [step(estimator, again, i, "stereo_imu") for i in range(41, 51)]
    assert states[0].resets == 1
    assert states[-1].status is VioStatus.TRACKING


@pytest.mark.parametrize("mode", ["stereo_imu", "stereo"])
def test_a_time_that_no_sensor_has_seen_is_a_reset_with_its_length(hall: Recording, mode: str) -> None:
    gap = replace(hall, tracks=[one for one in hall.tracks if not 2 < (one.stamp_ns - START_NS) / SECOND < 4])
    if mode == "stereo":  # no feature is followed over two seconds of darkness
        late = [
            replace(one, ids=one.ids + 10_000) if one.stamp_ns > START_NS + 3 * SECOND else one for one in gap.tracks
        ]
        gap = replace(gap, tracks=late)
    states = run(without_imu(gap, 2.0, 4.0), config_of(mode))
    first = next(state for state in states if state.resets)
    assert first.reason == "neither images nor IMU for 2.0 s"
    assert states[-1].status is VioStatus.TRACKING
    assert states[-1].resets == 1


def finite(state: VioState) -> bool:
    parts = (state.T_odom_body, state.velocity_odom, state.gyro_bias, state.accel_bias, state.covariance)
    return all(np.isfinite(part).all() for part in parts)


@pytest.mark.parametrize("when", [3, 30])
def test_a_solution_that_is_not_finite_is_never_output_and_a_reset_recovers(
    hall: Recording, when: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the start as well as later, in the state or in its covariance."""
    for spoilt in ("state", "information"):
        estimator, solve, states, calls = (
            VioEstimator(config_of("stereo_imu"), EUROC_RIG),
            Window.solve,
            list[VioState](),
            list[str](),
        )

        def broken(
            self: Window, iterations: int, solve: Solve = solve, calls: list[str] = calls, spoilt: str = spoilt
        ) -> Solution:
            solution = solve(self, iterations)
            calls.append(spoilt)
            if len(calls) in (when, when + 1):
                if spoilt == "state":
                    self.frames[-1].state.v[:] = np.nan
                else:
                    solution.information[:] = np.nan
            return solution

        monkeypatch.setattr(Window, "solve", broken)
        for i in range(len(hall.tracks)):
            states.append(step(estimator, hall, i, "stereo_imu"))
        monkeypatch.undo()
        assert len(calls) > when
        assert all(map(finite, states)), spoilt
        assert 1 <= states[-1].resets <= 2
        assert states[-1].status is VioStatus.TRACKING


# -- contradictions ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("gyro", "accel"), [(0.05, 0.0), (0.0, 0.5)])
def test_a_bias_that_jumps_is_told_soon_and_no_clean_flight_is(gyro: float, accel: float) -> None:
    recording = record("hall", 6.0, 2, Quality())
    assert not any(state.reason == APART for state in run(recording, config_of("stereo_imu", pixel_noise_scale=2.0)))
    late = (recording.imu.stamps_ns > START_NS + 3 * SECOND)[:, None] * np.array([1.0, 0.0, 0.0])
    jumping = ImuSamples(recording.imu.stamps_ns, recording.imu.gyro + gyro * late, recording.imu.accel + accel * late)
    states = run(replace(recording, imu=jumping), config_of("stereo_imu", pixel_noise_scale=2.0))
    apart_s = [(state.stamp_ns - START_NS) * 1e-9 for state in states if state.reason == APART]
    assert 3.0 < min(apart_s) < 6.0
    assert {state.status for state in states if state.reason == APART} == {VioStatus.DEGRADED}
    assert ate(recording, states) < 0.05  # the images lead
