# SPDX-License-Identifier: Apache-2.0
"""Velocity and position sensors beside cameras and IMU, on simulated data."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from letvins_ros.errors import DataError
from letvins_ros.estimation import VioEstimator
from letvins_ros.estimation.closed_form import heading
from letvins_ros.estimation.costs.body_velocity import (
    HELD_S,
    KEEP_S,
    MAX_GAP_S,
    BodyVelocity,
    VelocityReadings,
)
from letvins_ros.estimation.costs.linear import Cost
from letvins_ros.estimation.costs.position import Position, PositionFix
from letvins_ros.estimation.frame import Frame, frame_of
from letvins_ros.estimation.state import State
from letvins_ros.estimation.variables import Key, Layout, Values
from letvins_ros.geometry import apply, exp_so3, log_so3, transform, yaw_rotation
from letvins_ros.imu import ImuBuffer, ImuSteps
from letvins_ros.simulation.imu import START_NS, exact_imu, seconds, simulate_imu, stamps
from letvins_ros.simulation.rigs import EUROC_IMU, EUROC_RIG
from letvins_ros.simulation.trajectory import R_HEADING_BODY, SplineTrajectory, control_times
from letvins_ros.types import VioState, VioStatus

from ..some import some
from .simulated_sensors import exact_velocity, simulate_position, simulate_velocity
from .synthetic import Quality, Recording, add_imu, config_of, follow, posed, record, run, wall_points

SECOND = 1_000_000_000
T_BODY_WHEEL = transform(R_HEADING_BODY.T @ exp_so3(np.array([0, 0, 0.2])), np.array([-0.3, 0.1, -0.5]))
LEVER = np.array([0.1, -0.05, 0.2])
CRUISE_S, STEADY_S = 5.0, 20.0


@pytest.fixture(scope="module")
def hall() -> Recording:
    return record("hall", 5.0, 3, Quality(exact_imu=True))


def two_frames(recording: Recording, gap: int) -> list[Frame]:
    """Two frames at their true states, with the readings of the IMU between them."""
    imu, frames = ImuBuffer(), []
    imu.append(recording.imu)
    for i in (25, 25 + gap):
        tracks = recording.tracks[i]
        frames.append(frame_of(i, tracks, EUROC_RIG.cameras, recording.state(tracks.stamp_ns)))
    frames[1].steps = imu.steps(frames[0].imu_ns, frames[1].imu_ns)
    return frames


def values_of(frames: Sequence[Frame]) -> Values:
    return Values({Key(State, frame.index): frame.state for frame in frames})


def readings_of(recording: Recording, rate_hz: float = 100.0, keep: slice = slice(None)) -> VelocityReadings:
    at = stamps(recording.trajectory.duration_s, rate_hz)[keep]
    exact = exact_velocity(recording.trajectory, T_BODY_WHEEL, at)
    n = len(at)
    return VelocityReadings(at, exact[:, :3], np.full((n, 3), 0.01), exact[:, 5], np.full(n, 0.01))


def numeric_gradient(cost: Cost, values: Values) -> np.ndarray:
    layout, out = Layout(cost.keys), []
    for axis in np.eye(layout.size) * 1e-6:
        moved = [layout.stepped(values, sign * axis) for sign in (1, -1)]
        ahead, behind = (cost.linearised(one, one).cost for one in moved)
        out.append((ahead - behind) / 2e-6)
    return np.array(out)


# -- velocity ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("gap", [1, 3, 8])
def test_exact_readings_measure_the_true_displacement_and_rotation(hall: Recording, gap: int) -> None:
    frames, sensor = two_frames(hall, gap), BodyVelocity(T_BODY_WHEEL)
    sensor.add(readings_of(hall))
    displacement, yaw = sensor.costs(*frames)
    values = values_of(frames)
    assert displacement.linearised(values, values).cost < 0.02  # of 0.5 for one standard deviation
    if gap < 3:  # over more the axis moves
        assert yaw.linearised(values, values).cost < 0.5


@pytest.mark.parametrize("which", [0, 1])
def test_the_gradients_are_the_slopes_of_the_costs(hall: Recording, which: int) -> None:
    rng, frames, sensor = np.random.default_rng(0), two_frames(hall, 2), BodyVelocity(T_BODY_WHEEL)
    sensor.add(readings_of(hall))
    cost = sensor.costs(*frames)[which]
    values = Layout(cost.keys).stepped(values_of(frames), rng.normal(0, 1e-2, 30))
    g = cost.linearised(values, values).g
    np.testing.assert_allclose(g, numeric_gradient(cost, values), atol=1e-3 * np.abs(g).max())


def test_a_wrong_gyro_bias_is_corrected_to_first_order(hall: Recording) -> None:
    frames = two_frames(hall, 4)
    bias, costs = np.array([0.02, -0.01, 0.015]), []
    for at in (bias, np.zeros(3)):  # where the readings are turned
        sensor = BodyVelocity(T_BODY_WHEEL)
        sensor.add(readings_of(hall))
        frames[0].state = State(frames[0].state.R, frames[0].state.p, frames[0].state.v, gyro_bias=at)
        costs.append(sensor.costs(*frames)[0])
    frames[0].state = State(frames[0].state.R, frames[0].state.p, frames[0].state.v, gyro_bias=bias)
    values = values_of(frames)
    exact, corrected = (cost.linearised(values, values).g[3:6] for cost in costs)
    np.testing.assert_allclose(corrected, exact, atol=0.05 * np.abs(exact).max())


def test_a_wrong_gyro_bias_turns_by_half_of_a_step_while_the_step_lasts(hall: Recording) -> None:
    """All of the time between the frames is one step."""
    frames, costs, bias = two_frames(hall, 2), [], np.array([0.02, -0.01, 0.015])
    steps = some(frames[1].steps)
    frames[1].steps = ImuSteps(np.array([steps.duration_s]), steps.gyro.mean(0)[None], steps.accel.mean(0)[None])
    for at in (bias, np.zeros(3)):  # where the readings are turned
        sensor = BodyVelocity(T_BODY_WHEEL)
        sensor.add(readings_of(hall))
        frames[0].state = replace(frames[0].state, gyro_bias=at)
        costs.append(sensor.costs(*frames)[0])
    values = values_of(frames)
    right = values | Values({frames[0].key: replace(frames[0].state, gyro_bias=bias)})
    exact, corrected = (cost.linearised(right, right).g for cost in costs)
    uncorrected = costs[1].linearised(values, values).g
    assert np.abs(corrected - exact).max() < 0.05 * np.abs(uncorrected - exact).max()


def test_each_velocity_reading_stands_for_the_time_until_the_next(hall: Recording) -> None:
    frames, sensor = two_frames(hall, 1), BodyVelocity(T_BODY_WHEEL)
    at = np.array([frames[0].imu_ns - SECOND // 50, frames[1].imu_ns + SECOND // 50])
    std = np.full((2, 3), 0.1)  # the interpolated readings are not exact
    sensor.add(VelocityReadings(at, exact_velocity(hall.trajectory, T_BODY_WHEEL, at)[:, :3], std))
    (displacement,) = sensor.costs(*frames)
    values = values_of(frames)
    variance = 0.1**2 * some(frames[1].steps).duration_s * (at[1] - at[0]) * 1e-9
    information = displacement.linearised(values, values).H[18:21, 18:21]  # of the second frame's position
    np.testing.assert_allclose(information * variance, np.eye(3), atol=0.01)


def test_readings_that_do_not_cover_the_frames_give_no_cost(hall: Recording) -> None:
    frames = two_frames(hall, 4)
    before, after = ((frame.imu_ns - START_NS) / SECOND for frame in frames)
    for keep in (slice(0, int(before * 100) - 20), slice(int(after * 100) - 20, None), slice(0, 0)):
        sensor = BodyVelocity(T_BODY_WHEEL)
        sensor.add(readings_of(hall, keep=keep))
        assert sensor.costs(*frames) == []
    sensor = BodyVelocity(T_BODY_WHEEL)
    sensor.add(readings_of(hall, keep=np.r_[0 : int(before * 100), int(after * 100) : 500]))  # a gap between the frames
    assert sensor.costs(*frames) == []


def test_readings_out_of_order_or_not_finite_are_refused(hall: Recording) -> None:
    good = readings_of(hall)
    with pytest.raises(DataError, match="stamps must increase"):
        VelocityReadings(good.stamps_ns[::-1], good.linear, good.linear_std)
    with pytest.raises(DataError, match="must be finite"):
        VelocityReadings(good.stamps_ns, good.linear * np.nan, good.linear_std)


def test_readings_of_other_shapes_or_without_deviation_are_refused(hall: Recording) -> None:
    good = readings_of(hall)
    n = len(good.stamps_ns)
    shapes = rf"^linear and linear_std must be \({n}, 3\), got \({n}, 3\), \({n}, 2\)$"
    with pytest.raises(ValueError, match=shapes):
        VelocityReadings(good.stamps_ns, good.linear, good.linear_std[:, :2])
    with pytest.raises(ValueError, match="must be"):
        VelocityReadings(good.stamps_ns, good.linear[1:], good.linear_std)
    message = "^velocity readings: values must be finite and their standard deviations positive$"
    with pytest.raises(DataError, match=message):
        VelocityReadings(good.stamps_ns, good.linear, 0 * good.linear_std)
    with pytest.raises(DataError, match=r"^velocity readings: stamps must increase$"):
        VelocityReadings(good.stamps_ns * 0 + 1, good.linear, good.linear_std)


def one_reading(stamp_ns: int, speed: float = 1.0, std: float = 0.1) -> VelocityReadings:
    return VelocityReadings(np.array([stamp_ns]), np.full((1, 3), speed), np.full((1, 3), std))


def cost_of(cost: Cost, values: Values) -> float:
    return cost.linearised(values, values).cost


def test_without_a_yaw_rate_there_is_no_cost_of_rotation(hall: Recording) -> None:
    frames, sensor, full = two_frames(hall, 2), BodyVelocity(T_BODY_WHEEL), readings_of(hall)
    sensor.add(VelocityReadings(full.stamps_ns, full.linear, full.linear_std))
    assert len(sensor.costs(*frames)) == 1
    sensor = BodyVelocity(T_BODY_WHEEL)
    sensor.add(VelocityReadings(full.stamps_ns, full.linear, full.linear_std, yaw_rate=full.yaw_rate))
    assert len(sensor.costs(*frames)) == 1  # without its deviation


@pytest.mark.parametrize(("std", "rate_hz"), [(0.01, 100.0), (0.05, 50.0)])
def test_a_displacement_is_as_uncertain_as_its_independent_readings_in_sum(
    hall: Recording, std: float, rate_hz: float
) -> None:
    frames, sensor, full = two_frames(hall, 4), BodyVelocity(T_BODY_WHEEL), readings_of(hall, rate_hz)
    sensor.add(VelocityReadings(full.stamps_ns, full.linear, np.full((len(full.linear), 3), std) * [1, 2, 3]))
    (cost,) = sensor.costs(*frames)
    duration_s = (frames[1].imu_ns - frames[0].imu_ns) * 1e-9
    H = cost.linearised(values_of(frames), values_of(frames)).H[18:21, 18:21]  # by the later position, in its body
    turn = frames[0].state.R.T @ frames[1].state.R
    of_sensor = T_BODY_WHEEL[:3, :3].T @ turn @ H @ turn.T @ T_BODY_WHEEL[:3, :3]
    expected = (std * np.array([1, 2, 3])) ** 2 * duration_s / rate_hz
    np.testing.assert_allclose(of_sensor, np.diag(1 / expected), rtol=0.01, atol=1e-6 / expected.min())


def test_a_rotation_is_as_uncertain_as_its_readings_and_counts_about_the_sensors_axis(hall: Recording) -> None:
    frames, sensor, full = two_frames(hall, 2), BodyVelocity(T_BODY_WHEEL), readings_of(hall)
    std = np.full(len(full.stamps_ns), 0.02)
    sensor.add(VelocityReadings(full.stamps_ns, full.linear, full.linear_std, full.yaw_rate, std))
    yaw = sensor.costs(*frames)[1]
    variance = 0.02**2 * (frames[1].imu_ns - frames[0].imu_ns) * 1e-9 / 100
    a, b = (frame.state for frame in frames)
    for angle in (0.0, 0.003):  # within the loss's square part
        turned = State(b.R @ exp_so3(angle * T_BODY_WHEEL[:3, 2]), b.p, b.v)
        values = Values({frames[0].key: a, frames[1].key: turned})
        off = T_BODY_WHEEL[:3, 2] @ log_so3(a.R.T @ turned.R) - measured_yaw(full, frames)
        assert cost_of(yaw, values) == pytest.approx(4.5 * np.log1p(off**2 / variance / 9), rel=0.02, abs=0.01)


def measured_yaw(readings: VelocityReadings, frames: Sequence[Frame]) -> float:
    """The integral of the yaw rate, with readings joined by straight lines."""
    at = np.linspace(frames[0].imu_ns, frames[1].imu_ns, 2001)
    return float(np.trapezoid(np.interp(at, readings.stamps_ns, some(readings.yaw_rate)), at * 1e-9))


def test_one_reading_is_held_for_a_tenth_of_a_second_on_both_sides(hall: Recording) -> None:
    frames = two_frames(hall, 1)
    frames[0].state = frames[1].state = State(np.eye(3), np.zeros(3))
    start, end = (frame.imu_ns for frame in frames)
    held = round(HELD_S * 1e9)
    for stamp, known in ((end - held, True), (start + held, True), (end - held - 1, False), (start + held + 1, False)):
        sensor = BodyVelocity(np.eye(4))
        sensor.add(one_reading(stamp))
        costs = sensor.costs(*frames)
        assert len(costs) == known
        if known:
            duration_s = (end - start) * 1e-9
            off = np.ones(3) * duration_s / (0.1 * duration_s)  # of 0.1 m/s for all of the time
            at = values_of(frames)
            assert cost_of(costs[0], at) == pytest.approx(4.5 * np.log1p(off @ off / 9), rel=0.02)


@pytest.mark.parametrize(("gap_ns", "costs"), [(0, 1), (1, 0)])
def test_a_gap_of_a_quarter_of_a_second_is_bridged_and_no_longer_one(hall: Recording, gap_ns: int, costs: int) -> None:
    frames, sensor = two_frames(hall, 2), BodyVelocity(T_BODY_WHEEL)
    start = frames[0].imu_ns
    at = [start - 50_000_000, start, start + round(MAX_GAP_S * 1e9) + gap_ns]
    for stamp in at:
        sensor.add(one_reading(stamp))
    assert len(sensor.costs(*frames)) == costs


def test_frames_without_readings_of_the_imu_between_them_have_no_cost(hall: Recording) -> None:
    frames, sensor = two_frames(hall, 2), BodyVelocity(T_BODY_WHEEL)
    sensor.add(readings_of(hall))
    frames[1].steps = ImuSteps(np.zeros(0), np.zeros((0, 3)), np.zeros((0, 3)))
    assert sensor.costs(*frames) == []
    frames[1].steps = None
    assert sensor.costs(*frames) == []


def test_readings_that_came_before_are_left_out_and_those_of_twenty_seconds_kept(hall: Recording) -> None:
    frames = two_frames(hall, 1)
    (start, end), held = (frame.imu_ns for frame in frames), round(HELD_S * 1e9)
    sensor = BodyVelocity(np.eye(4))
    sensor.add(one_reading(end - held, speed=1.0))
    sensor.add(one_reading(end - held, speed=9.0))
    steady = State(np.eye(3), np.zeros(3)), State(np.eye(3), np.full(3, (end - start) * 1e-9))
    frames[0].state, frames[1].state = steady
    assert cost_of(sensor.costs(*frames)[0], values_of(frames)) < 0.1  # of the first one, 1 m/s
    sensor.add(one_reading(end - held + round(KEEP_S * 1e9)))
    assert len(sensor.costs(*frames)) == 1
    sensor.add(one_reading(end - held + round(KEEP_S * 1e9) + 1))
    assert sensor.costs(*frames) == []
    sensor = BodyVelocity(np.eye(4))
    sensor.add(VelocityReadings(np.zeros(0, np.int64), np.zeros((0, 3)), np.zeros((0, 3))))
    assert sensor.costs(*frames) == []


def straight(seed: int) -> SplineTrajectory:
    """A corridor walked at constant velocity and attitude for STEADY_S, after a start with all axes excited."""
    rng, t = np.random.default_rng([seed, 7]), control_times(CRUISE_S + STEADY_S + 1)
    excited = np.clip(CRUISE_S - t, 0, 1)
    excited = excited**2 * (3 - 2 * excited)
    along = np.where(t < 2, np.maximum(t, 0) ** 2 / 4, t - 1)
    frequency, phase = rng.uniform(0.5, 1, (6, 1)), rng.uniform(0, 6, (6, 1))
    shake = np.sin(2 * np.pi * frequency * t + phase) * excited
    points = np.array([along - 14, 0 * t, 0 * t + 1.5, 0 * t, 0 * t, 0 * t]) + 0.15 * shake
    return SplineTrajectory.from_control(points.T, CRUISE_S + STEADY_S + 1)


def corridor(seed: int) -> Recording:
    rng, spline = np.random.default_rng([seed, 1]), straight(seed)
    at = stamps(CRUISE_S + STEADY_S, 10.0)
    tracks = follow(wall_points(rng, 3000) * [4, 0.3, 0.7], spline.T_world_body(seconds(at)), at, Quality(), rng)
    return Recording(spline, tracks, simulate_imu(spline, EUROC_IMU, rng).samples)


def scale_error(recording: Recording, states: list[VioState]) -> float:
    steady = [s for s in states if s.stamp_ns > START_NS + (CRUISE_S + 0.5) * SECOND]
    T = recording.truth(np.array([steady[0].stamp_ns, steady[-1].stamp_ns])).positions
    moved = steady[-1].T_odom_body[:3, 3] - steady[0].T_odom_body[:3, 3]
    return float(abs(np.linalg.norm(moved) / np.linalg.norm(T[1] - T[0]) - 1))


def run_with_wheel(recording: Recording, seed: int, slip: float = 0.0) -> list[VioState]:
    """One camera, IMU and a wheel that for two seconds reads too much by `slip` m/s."""
    rng, sensor = np.random.default_rng([seed, 5]), BodyVelocity(T_BODY_WHEEL)
    std = np.repeat([0.03, 0.01], 3)
    at, read = simulate_velocity(recording.trajectory, T_BODY_WHEEL, 50.0, std, rng)
    slips = (at > START_NS + 12 * SECOND) & (at < START_NS + 14 * SECOND)
    read[slips, 0] += slip
    estimator, fed, states = VioEstimator(config_of("mono_imu"), recording.rig, [sensor]), 0, []
    for i, tracks in enumerate(recording.tracks):
        add_imu(estimator, recording, i)
        end = int(np.searchsorted(at, tracks.stamp_ns, "right")) + 1
        rows, fed = slice(fed, end), end
        sensor.add(VelocityReadings(at[rows], read[rows, :3], np.full((len(at[rows]), 3), 0.03)))
        states.append(estimator.process(tracks).state)
    return posed(states)


@pytest.mark.parametrize("seed", [3, 7])
def test_a_wheel_keeps_the_scale_of_one_camera_at_constant_velocity(seed: int) -> None:
    recording = corridor(seed)
    alone = scale_error(recording, posed(run(recording, config_of("mono_imu"))))
    joined = scale_error(recording, run_with_wheel(recording, seed))
    assert joined < alone / 2
    assert joined < 0.003


def test_a_wheel_that_slips_is_outvoted() -> None:
    recording = corridor(3)
    assert scale_error(recording, run_with_wheel(recording, 3, slip=0.5)) < 0.005


# -- position ---------------------------------------------------------------------------------------------------------


def test_a_fix_at_the_true_position_costs_nothing_and_has_the_gradient_of_its_cost(hall: Recording) -> None:
    frames = two_frames(hall, 1)
    late = frames[1].imu_ns - 20_000_000
    p = apply(hall.trajectory.T_world_body(seconds(np.array([late]))), LEVER[None])[0, 0]
    sensor = Position(LEVER)
    sensor.add(PositionFix(late, p, np.full(3, 0.01)))
    (cost,) = sensor.costs(*frames)
    values = values_of(frames)
    assert cost.linearised(values, values).cost < 0.5
    moved = Layout(cost.keys).stepped(values, np.random.default_rng(0).normal(0, 0.01, 15))
    g = cost.linearised(moved, moved).g
    np.testing.assert_allclose(g, numeric_gradient(cost, moved), atol=1e-4 * np.abs(g).max())
    assert sensor.costs(*frames) == []  # used once


def test_fixes_out_of_order_are_refused_and_old_ones_left_out(hall: Recording) -> None:
    frames, sensor = two_frames(hall, 1), Position(LEVER)
    sensor.add(PositionFix(frames[0].imu_ns - SECOND, np.zeros(3), np.ones(3)))
    assert sensor.costs(*frames) == []
    sensor.add(PositionFix(frames[1].imu_ns + 5, np.zeros(3), np.ones(3)))
    with pytest.raises(DataError, match="not later than the one before"):
        sensor.add(PositionFix(frames[1].imu_ns, np.zeros(3), np.ones(3)))
    with pytest.raises(DataError, match="positive standard deviations"):
        PositionFix(0, np.zeros(3), np.zeros(3))


@pytest.mark.parametrize(("before_ns", "costs"), [(0, 1), (-1, 0), (149_999_000, 1), (150_001_000, 0)])
def test_a_fix_counts_from_its_time_on_and_not_long_after(hall: Recording, before_ns: int, costs: int) -> None:
    frames, sensor = two_frames(hall, 1), Position(LEVER)
    sensor.add(PositionFix(frames[1].imu_ns - before_ns, np.zeros(3), np.ones(3)))
    assert len(sensor.costs(*frames)) == costs


def test_a_fix_far_off_pulls_by_cauchys_loss(hall: Recording) -> None:
    frames, sensor = two_frames(hall, 1), Position(np.zeros(3))
    sensor.add(PositionFix(frames[1].imu_ns, frames[1].state.p + np.array([3.0, 0, 4.0]), np.full(3, 0.1)))
    (cost,) = sensor.costs(*frames)
    assert cost_of(cost, values_of(frames)) == pytest.approx(8 * np.log1p(50**2 / 16))
    message = f"^position fix at {frames[1].imu_ns}: not later than the one before at {frames[1].imu_ns}$"
    sensor.add(PositionFix(frames[1].imu_ns, np.zeros(3), np.ones(3)))  # the one before has been used
    with pytest.raises(DataError, match=message):
        sensor.add(PositionFix(frames[1].imu_ns, np.zeros(3), np.ones(3)))


def errors_with_fixes(seed: int, duration_s: float, wrong: tuple[int, ...] = ()) -> tuple[np.ndarray, np.ndarray]:
    """Position errors (N, 3) in odom and covariances (N, 3, 3) of a flight with fixes of 5 cm at 1 Hz."""
    recording = record("hall", duration_s, seed, Quality(features=50))
    at, p_world = simulate_position(recording.trajectory, LEVER, 1.0, 0.05, np.random.default_rng([seed, 9]))
    config = config_of("stereo_imu", gyro_noise_scale=1.0, accel_noise_scale=1.0)
    sensor = Position(LEVER)
    estimator = VioEstimator(config, recording.rig, [sensor])
    T_odom_world, fed, errors, covariances = None, 0, [], []
    for i, tracks in enumerate(recording.tracks):
        add_imu(estimator, recording, i)
        while T_odom_world is not None and at[fed] <= tracks.stamp_ns:
            p_odom = apply(T_odom_world, p_world[fed : fed + 1])[0] + (2.0 if fed in wrong else 0.0)
            sensor.add(PositionFix(int(at[fed]), p_odom, np.full(3, 0.05)))
            fed += 1
        state = estimator.process(tracks).state
        if state.status is VioStatus.INITIALISING:
            continue
        T = recording.trajectory.T_world_body(seconds(np.array([tracks.stamp_ns])))[0]
        if T_odom_world is None:  # odom begins where the estimate begins, about the vertical
            R = yaw_rotation(heading(state.T_odom_body[:3, :3]) - heading(T[:3, :3]))
            T_odom_world = transform(R, state.T_odom_body[:3, 3] - R @ T[:3, 3])
            fed = int(np.searchsorted(at, tracks.stamp_ns, "right"))
        errors.append(state.T_odom_body[:3, 3] - apply(T_odom_world, T[None, :3, 3])[0])
        covariances.append(state.covariance[:3, :3])
    return np.array(errors), np.array(covariances)


def test_fixes_hold_the_position_within_what_the_covariance_says() -> None:
    surprise = []
    for seed in range(3):
        errors, P = errors_with_fixes(seed, 20.0)
        assert np.linalg.norm(errors, axis=1).max() < 3 * 0.05
        surprise.append(np.einsum("ni,ni->n", errors, np.linalg.solve(P, errors[..., None])[..., 0])[20:].mean())
    assert 1.0 < np.mean(surprise) < 6.0  # 3 is perfect


def test_a_reflected_fix_is_outvoted() -> None:
    errors, _ = errors_with_fixes(1, 12.0, wrong=(6, 9))
    assert np.linalg.norm(errors, axis=1).max() < 0.1


# -- the simulation ---------------------------------------------------------------------------------------------------


def test_the_exact_velocity_is_the_slope_of_the_sensors_position() -> None:
    spline, t0 = straight(0), START_NS + 3 * SECOND
    step = 1_000_000
    T = spline.T_world_body(seconds(np.array([t0 - step, t0, t0 + step]))) @ T_BODY_WHEEL
    slope = T[1, :3, :3].T @ (T[2, :3, 3] - T[0, :3, 3]) / (2 * step / SECOND)
    got = exact_velocity(spline, T_BODY_WHEEL, np.array([t0]))[0]
    np.testing.assert_allclose(got[:3], slope, atol=1e-5)
    gyro = exact_imu(spline, np.array([t0])).gyro[0]
    np.testing.assert_allclose(T_BODY_WHEEL[:3, :3] @ got[3:], gyro, atol=1e-12)
