# SPDX-License-Identifier: Apache-2.0
from itertools import pairwise

import gtsam
import numpy as np
import pytest

from letvins_ros.calibration import ImuNoise
from letvins_ros.geometry import exp_so3
from letvins_ros.imu import BRIDGED_GAP_S, GRAVITY, SATURATED_GYRO, ImuBuffer, ImuSteps, preintegrate
from letvins_ros.simulation import SCENARIOS
from letvins_ros.simulation.imu import START_NS, exact_imu, seconds, stamps
from letvins_ros.simulation.motion import make_trajectory
from letvins_ros.types import ImuSamples

NOISE = ImuNoise(1.7e-4, 2e-3, 2e-5, 3e-3)
ZERO = np.zeros(3)
SECOND = 1_000_000_000
MS = 1_000_000


def ramp(stamps_ns):
    """Readings that are linear in time, so that interpolation is exact."""
    t = (np.asarray(stamps_ns) - START_NS)[:, None] * 1e-9
    return ImuSamples(np.asarray(stamps_ns), t * [1.0, 2.0, 3.0], 5 + t * [-1.0, 0.5, 0.0])


def buffer_of(samples, keep_s=20.0):
    buffer = ImuBuffer(keep_s)
    buffer.append(samples)
    return buffer


def steps_of(gyro, accel, rate_hz=200.0):
    """Steps of equal length."""
    return ImuSteps(np.full(len(gyro), 1 / rate_hz), np.asarray(gyro, float), np.asarray(accel, float))


def pim_of(steps):
    return preintegrate(steps, NOISE, ZERO, ZERO)


# -- the buffer -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("start_ms", "end_ms"), [(0, 100), (3, 97), (10, 11), (12, 13), (20, 60)])
def test_steps_are_means_of_readings_interpolated_at_both_ends(start_ms, end_ms):
    steps = buffer_of(ramp(START_NS + np.arange(0, 101, 5) * MS)).steps(
        START_NS + start_ms * MS, START_NS + end_ms * MS
    )
    inner = [t for t in range(0, 101, 5) if start_ms < t < end_ms]
    edges = np.array([start_ms, *inner, end_ms])
    exact = ramp(START_NS + (edges[1:] + edges[:-1]) * MS // 2)
    np.testing.assert_allclose(steps.dt_s, np.diff(edges) * 1e-3, rtol=1e-12)
    np.testing.assert_allclose(steps.gyro, exact.gyro, atol=1e-12)
    np.testing.assert_allclose(steps.accel, exact.accel, atol=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_durations_of_neighbouring_slices_sum_to_the_whole_to_a_picosecond(seed):
    rng = np.random.default_rng(seed)
    readings = START_NS + np.unique(rng.integers(0, SECOND, 200))
    buffer = buffer_of(ramp(readings))
    cuts = START_NS + np.sort(rng.integers(0, SECOND, 12))
    slices = [buffer.steps(int(a), int(b)) for a, b in pairwise(cuts)]
    for one, a, b in zip(slices, cuts[:-1], cuts[1:], strict=True):
        assert one.duration_s == pytest.approx((b - a) * 1e-9, abs=1e-12)
    whole = slices[0]
    for one in slices[1:]:
        whole = whole.joined(one)
    assert whole.duration_s == pytest.approx((cuts[-1] - cuts[0]) * 1e-9, abs=1e-12)
    at_once = buffer.steps(int(cuts[0]), int(cuts[-1]))
    np.testing.assert_allclose(whole.gyro.T @ whole.dt_s, at_once.gyro.T @ at_once.dt_s, atol=1e-12)


def test_beyond_the_readings_the_last_one_is_held():
    steps = buffer_of(ramp(START_NS + np.arange(3) * 5 * MS)).steps(START_NS - 10 * MS, START_NS + 30 * MS)
    assert steps.duration_s == pytest.approx(0.04)
    np.testing.assert_allclose(steps.gyro[0], 0, atol=1e-15)
    np.testing.assert_allclose(steps.gyro[-1], [0.01, 0.02, 0.03], atol=1e-12)


def test_no_readings_or_no_time_are_no_steps():
    assert len(ImuBuffer().steps(0, SECOND).dt_s) == 0
    buffer = buffer_of(ramp(START_NS + np.arange(3) * MS))
    assert len(buffer.steps(START_NS, START_NS).dt_s) == 0
    assert len(buffer.steps(START_NS + MS, START_NS).dt_s) == 0
    assert (buffer.steps(START_NS, START_NS).duration_s, buffer.steps(START_NS, START_NS).largest_gap_s) == (0, 0)


def test_bad_readings_are_dropped_and_counted_and_the_good_ones_kept():
    t = START_NS + np.array([0, 5, 5, 3, 10, 15, 20, 18]) * MS  # two not newer than the one before, one late
    samples = ramp(t)
    samples.gyro[4, 1], samples.accel[5, 2] = np.nan, np.inf
    buffer = buffer_of(samples)
    assert buffer.dropped == 5
    assert buffer.last_ns == START_NS + 20 * MS
    np.testing.assert_allclose(buffer.steps(START_NS, START_NS + 20 * MS).dt_s, [0.005, 0.015])
    buffer.append(ramp(START_NS + np.array([20, 19, 25]) * MS))
    assert (buffer.dropped, buffer.last_ns) == (7, START_NS + 25 * MS)


@pytest.mark.parametrize("pieces", [1, 2, 50])
def test_readings_may_come_in_any_number_of_pieces(pieces):
    samples = ramp(START_NS + np.arange(100) * 5 * MS)
    whole, parts = buffer_of(samples), ImuBuffer()
    for rows in np.array_split(np.arange(100), pieces):
        parts.append(ImuSamples(samples.stamps_ns[rows], samples.gyro[rows], samples.accel[rows]))
    a, b = (buffer.steps(START_NS + MS, START_NS + 490 * MS) for buffer in (whole, parts))
    for name in ("dt_s", "gyro", "accel"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name))


def test_a_reading_that_is_not_finite_does_not_stop_later_ones():
    samples = ramp(START_NS + np.array([0, SECOND, 5 * MS]))
    samples.gyro[1] = np.nan  # with a stamp far ahead
    buffer = buffer_of(samples)
    assert (buffer.dropped, buffer.last_ns) == (1, START_NS + 5 * MS)


def test_readings_older_than_is_kept_are_forgotten():
    buffer = buffer_of(ramp(START_NS + np.arange(0, 1001, 5) * MS), keep_s=0.5)
    buffer.append(ramp(START_NS + np.array([1005]) * MS))
    assert buffer.covers(START_NS + 505 * MS, START_NS + 1005 * MS)
    assert not buffer.covers(START_NS + 400 * MS, START_NS + 1005 * MS)
    buffer.append(ramp(np.zeros(0, np.int64)))
    assert buffer.last_ns == START_NS + 1005 * MS


def test_covered_is_what_has_readings_at_both_ends_or_close_to_them():
    buffer, slack = buffer_of(ramp(START_NS + np.arange(0, 101, 5) * MS)), int(BRIDGED_GAP_S * SECOND)
    assert buffer.covers(START_NS - slack, START_NS + 100 * MS + slack)
    assert not buffer.covers(START_NS - slack - 1, START_NS + 100 * MS)
    assert not buffer.covers(START_NS, START_NS + 100 * MS + slack + 1)
    assert not ImuBuffer().covers(0, 0)


# -- pre-integration --------------------------------------------------------------------------------------------------


def test_the_gyro_alone_gives_the_rotation_less_its_bias():
    rng, bias = np.random.default_rng(0), np.array([0.1, -0.2, 0.3])
    steps = steps_of(rng.normal(size=(50, 3)), np.zeros((50, 3)))
    R = np.eye(3)
    for rate in steps.gyro - bias:
        R = R @ exp_so3(rate / 200)
    np.testing.assert_allclose(steps.rotation(bias), R, atol=1e-12)


@pytest.mark.parametrize("axis", range(3))
def test_turning_on_the_spot_gives_no_velocity(axis):
    rate, readings = np.eye(3)[axis], START_NS + np.arange(201) * 5 * MS
    up_body = np.array([exp_so3(-t * rate) @ [0, 0, GRAVITY] for t in seconds(readings)])
    buffer = buffer_of(ImuSamples(readings, np.tile(rate, (201, 1)), up_body))
    steps = buffer.steps(START_NS, START_NS + SECOND)
    after = pim_of(steps).predict(gtsam.NavState(gtsam.Rot3(), ZERO, ZERO), gtsam.imuBias.ConstantBias())
    np.testing.assert_allclose(after.velocity(), 0, atol=1e-6)  # without the half turn it is 0.025 m/s
    np.testing.assert_allclose(after.attitude().matrix(), exp_so3(rate), atol=1e-12)


def test_constant_force_gives_the_parabola_of_the_textbook():
    pim = pim_of(steps_of(np.zeros((100, 3)), np.tile([1.0, 2.0, 3.0], (100, 1))))
    np.testing.assert_allclose(pim.deltaVij(), [0.5, 1.0, 1.5], rtol=1e-9)
    np.testing.assert_allclose(pim.deltaPij(), [0.125, 0.25, 0.375], rtol=1e-9)
    assert pim.deltaTij() == pytest.approx(0.5)


@pytest.mark.parametrize("scenario", ["hall", "aggressive"])
@pytest.mark.parametrize("seed", range(3))
def test_exact_readings_predict_the_simulated_motion_over_a_second_to_a_millimetre(scenario, seed):
    rng = np.random.default_rng(seed)
    spline = make_trajectory(SCENARIOS[scenario].motion, np.array([12.0, 9.0, 4.0]), 6.0, rng)
    buffer = buffer_of(exact_imu(spline, stamps(6.0, 200.0)))
    ends = START_NS + np.array([4_003, 5_001]) * MS  # between two readings
    T, v = spline.T_world_body(seconds(ends)), spline.velocity(seconds(ends))
    start = gtsam.NavState(gtsam.Rot3(T[0, :3, :3]), T[0, :3, 3], v[0])
    after = pim_of(buffer.steps(*ends.tolist())).predict(start, gtsam.imuBias.ConstantBias())
    assert np.linalg.norm(after.position() - T[1, :3, 3]) < 1e-3
    assert np.linalg.norm(after.velocity() - v[1]) < 2e-3
    np.testing.assert_allclose(after.attitude().matrix(), T[1, :3, :3], atol=2e-4)


def test_a_step_of_no_length_changes_nothing():
    steps = steps_of(np.ones((10, 3)), np.ones((10, 3)))
    more = steps.joined(ImuSteps(np.zeros(1), np.full((1, 3), 9.0), np.full((1, 3), 9.0)))
    np.testing.assert_array_equal(pim_of(steps).deltaPij(), pim_of(more).deltaPij())


def test_gaps_and_saturation_inflate_the_covariance_and_nothing_else_does():
    quiet = steps_of(np.zeros((20, 3)), np.tile([0, 0, GRAVITY], (20, 1)))
    gap = ImuSteps(np.array([BRIDGED_GAP_S * 0.99] * 2 + [BRIDGED_GAP_S * 1.01]), quiet.gyro[:3], quiet.accel[:3])
    no_gap = ImuSteps(np.full(3, gap.duration_s / 3), quiet.gyro[:3], quiet.accel[:3])
    loud = steps_of(quiet.gyro + SATURATED_GYRO * 1.01, quiet.accel)
    nearly = steps_of(quiet.gyro - SATURATED_GYRO * 0.99, quiet.accel)
    assert loud.saturated
    assert not nearly.saturated
    for rough, fine in ((gap, no_gap), (loud, nearly)):
        ratio = np.diag(pim_of(rough).preintMeasCov())[:9] / np.diag(pim_of(fine).preintMeasCov())[:9]
        assert ratio.min() > 10
        assert ratio.max() < 1e5
    one_reading_of_200 = steps_of(np.zeros((200, 3)), np.zeros((200, 3)))
    one_reading_of_200.accel[77, 2] = -156.0
    assert one_reading_of_200.saturated


def test_velocity_covariance_is_that_of_a_random_walk():
    covariance = pim_of(steps_of(np.zeros((200, 3)), np.zeros((200, 3)))).preintMeasCov()
    np.testing.assert_allclose(np.sqrt(np.diag(covariance)[:3]), NOISE.gyro_noise, rtol=0.02)  # after 1 s
    np.testing.assert_allclose(np.sqrt(np.diag(covariance)[6:9]), NOISE.accel_noise, rtol=0.5)
