# SPDX-License-Identifier: Apache-2.0
from itertools import pairwise

import gtsam
import numpy as np
import pytest

from letvins_ros.imu import ABSURD_ACCEL, ABSURD_GYRO, BRIDGED_GAP_S, ImuBuffer, ImuSteps, _without_spikes
from letvins_ros.simulation.imu import START_NS
from letvins_ros.types import ImuSamples

SECOND = 1_000_000_000
MS = 1_000_000


def ramp(stamps_ns: np.ndarray | list[int]) -> ImuSamples:
    """Readings that are linear in time, so that interpolation is exact."""
    t = (np.asarray(stamps_ns) - START_NS)[:, None] * 1e-9
    return ImuSamples(np.asarray(stamps_ns), t * [1.0, 2.0, 3.0], 5 + t * [-1.0, 0.5, 0.0])


def buffer_of(samples: ImuSamples, keep_s: float = 20.0) -> ImuBuffer:
    buffer = ImuBuffer(keep_s)
    buffer.append(samples)
    return buffer


@pytest.mark.parametrize(("start_ms", "end_ms"), [(0, 100), (3, 97), (10, 11), (12, 13), (20, 60)])
def test_steps_are_means_of_readings_interpolated_at_both_ends(start_ms: int, end_ms: int) -> None:
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
def test_durations_of_neighbouring_slices_sum_to_the_whole_to_a_picosecond(seed: int) -> None:
    rng = np.random.default_rng(seed)
    readings = START_NS + np.unique(rng.integers(0, SECOND, 200))
    buffer = buffer_of(ramp(readings))
    cuts = START_NS + np.sort(rng.integers(0, SECOND, 12))
    slices = [buffer.steps(int(a), int(b)) for a, b in pairwise(cuts)]
    for one, a, b in zip(slices, cuts[:-1], cuts[1:], strict=True):
        assert one.duration_s == pytest.approx((b - a) * 1e-9, abs=1e-12)
    whole = ImuSteps.joined(slices)
    assert whole.duration_s == pytest.approx((cuts[-1] - cuts[0]) * 1e-9, abs=1e-12)
    at_once = buffer.steps(int(cuts[0]), int(cuts[-1]))
    np.testing.assert_allclose(whole.gyro.T @ whole.dt_s, at_once.gyro.T @ at_once.dt_s, atol=1e-12)


def test_beyond_the_readings_the_last_one_is_held() -> None:
    steps = buffer_of(ramp(START_NS + np.arange(3) * 5 * MS)).steps(START_NS - 10 * MS, START_NS + 30 * MS)
    assert steps.duration_s == pytest.approx(0.04)
    np.testing.assert_allclose(steps.gyro[0], 0, atol=1e-15)
    np.testing.assert_allclose(steps.gyro[-1], [0.01, 0.02, 0.03], atol=1e-12)


def test_no_readings_or_no_time_are_no_steps() -> None:
    assert len(ImuBuffer().steps(0, SECOND).dt_s) == 0
    buffer = buffer_of(ramp(START_NS + np.arange(3) * MS))
    assert len(buffer.steps(START_NS, START_NS).dt_s) == 0
    assert len(buffer.steps(START_NS + MS, START_NS).dt_s) == 0
    assert (buffer.steps(START_NS, START_NS).duration_s, buffer.steps(START_NS, START_NS).largest_gap_s) == (0, 0)


def test_bad_readings_are_dropped_and_counted_and_the_good_ones_kept() -> None:
    t = START_NS + np.array([0, 5, 5, 3, 10, 15, 20, 18]) * MS  # two not newer than the one before, one late
    samples = ramp(t)
    samples.gyro[4, 1], samples.accel[5, 2] = np.nan, np.inf
    buffer = ImuBuffer()
    assert buffer.append(samples) == 5
    assert buffer.last_ns == START_NS + 20 * MS
    np.testing.assert_allclose(buffer.steps(START_NS, START_NS + 20 * MS).dt_s, [0.005, 0.015])
    assert buffer.append(ramp(START_NS + np.array([20, 19, 25]) * MS)) == 2
    assert buffer.last_ns == START_NS + 25 * MS


@pytest.mark.parametrize("pieces", [1, 2, 50])
def test_readings_may_come_in_any_number_of_pieces(pieces: int) -> None:
    samples = ramp(START_NS + np.arange(100) * 5 * MS)
    whole, parts = buffer_of(samples), ImuBuffer()
    for rows in np.array_split(np.arange(100), pieces):
        parts.append(ImuSamples(samples.stamps_ns[rows], samples.gyro[rows], samples.accel[rows]))
    a, b = (buffer.steps(START_NS + MS, START_NS + 490 * MS) for buffer in (whole, parts))
    for name in ("dt_s", "gyro", "accel"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name))


def test_a_reading_that_is_not_finite_does_not_stop_later_ones() -> None:
    samples = ramp(START_NS + np.array([0, SECOND, 5 * MS]))
    samples.gyro[1] = np.nan  # with a stamp far ahead
    buffer = ImuBuffer()
    assert (buffer.append(samples), buffer.last_ns) == (1, START_NS + 5 * MS)


def test_readings_older_than_is_kept_are_forgotten() -> None:
    buffer = buffer_of(ramp(START_NS + np.arange(0, 1001, 5) * MS), keep_s=0.5)
    buffer.append(ramp(START_NS + np.array([1005]) * MS))
    assert buffer.covers(START_NS + 505 * MS, START_NS + 1005 * MS)
    assert not buffer.covers(START_NS + 400 * MS, START_NS + 1005 * MS)
    buffer.append(ramp(np.zeros(0, np.int64)))
    assert buffer.last_ns == START_NS + 1005 * MS


def test_covered_is_what_has_readings_at_both_ends_or_close_to_them() -> None:
    buffer, slack = buffer_of(ramp(START_NS + np.arange(0, 101, 5) * MS)), int(BRIDGED_GAP_S * SECOND)
    assert buffer.covers(START_NS - slack, START_NS + 100 * MS + slack)
    assert not buffer.covers(START_NS - slack - 1, START_NS + 100 * MS)
    assert not buffer.covers(START_NS, START_NS + 100 * MS + slack + 1)
    assert not ImuBuffer().covers(0, 0)


def test_the_gyro_alone_gives_the_rotation_less_its_bias() -> None:
    rng, bias = np.random.default_rng(0), np.array([0.1, -0.2, 0.3])
    steps = ImuSteps(np.full(50, 1 / 200), rng.normal(size=(50, 3)), np.zeros((50, 3)))
    R = gtsam.Rot3()
    for rate in steps.gyro - bias:
        R = R.compose(gtsam.Rot3.Expmap(rate / 200))
    np.testing.assert_allclose(steps.rotation(bias), R.matrix(), atol=1e-12)
    np.testing.assert_array_equal(ImuSteps(np.zeros(0), np.zeros((0, 3)), np.zeros((0, 3))).rotation(bias), np.eye(3))


@pytest.mark.parametrize("nothing", [ImuBuffer().steps(0, SECOND), buffer_of(ramp([0, SECOND])).steps(SECOND, SECOND)])
def test_no_steps_have_the_shapes_of_others(nothing: ImuSteps) -> None:
    assert (nothing.gyro.shape, nothing.accel.shape) == ((0, 3), (0, 3))


def test_steps_one_after_the_other_keep_both_sensors() -> None:
    buffer = buffer_of(ramp(START_NS + np.arange(0, 101, 5) * MS))
    first, later = buffer.steps(START_NS, START_NS + 40 * MS), buffer.steps(START_NS + 40 * MS, START_NS + 100 * MS)
    joined, whole = ImuSteps.joined([first, later]), buffer.steps(START_NS, START_NS + 100 * MS)
    np.testing.assert_allclose(joined.gyro, whole.gyro)
    np.testing.assert_allclose(joined.accel, whole.accel)


def test_readings_of_twenty_seconds_are_kept_if_nothing_else_is_said() -> None:
    buffer = ImuBuffer()
    buffer.append(ramp(START_NS + np.array([-40 * MS, -1, 0, 10 * SECOND])))
    buffer.append(ramp(START_NS + np.array([20 * SECOND])))
    steps = buffer.steps(START_NS - 40 * MS, START_NS + 20 * SECOND)
    np.testing.assert_allclose(steps.dt_s, [0.04, 10, 10])  # one before the limit has gone, not the one at it


@pytest.mark.parametrize(("gyro", "accel"), [(ABSURD_GYRO, 0.0), (0.0, -ABSURD_ACCEL)])
def test_a_reading_that_no_sensor_gives_is_dropped_and_the_others_stay(gyro: float, accel: float) -> None:
    buffer = buffer_of(ramp(START_NS + np.arange(0, 31, 10) * MS))
    absurd = ImuSamples(np.array([START_NS + 40 * MS]), np.full((1, 3), gyro), np.full((1, 3), accel))
    assert buffer.append(absurd) == 1
    np.testing.assert_allclose(buffer.steps(START_NS, START_NS + 30 * MS).dt_s, [0.01] * 3)


def test_one_reading_covers_the_time_around_it() -> None:
    buffer = buffer_of(ramp([START_NS]))
    assert buffer.covers(START_NS - MS, START_NS + MS)


def spoiled(row: int, value: float, n: int = 9) -> tuple[np.ndarray, np.ndarray]:
    """Readings (n, 3) of a fast turn with a little noise, one of them a spike in the second axis."""
    values = np.array([30.0, 20.0, 10.0]) + 0.1 * np.random.default_rng(0).normal(size=(n, 3))
    spoiled = values.copy()
    spoiled[row, 1] = value
    return values, spoiled


@pytest.mark.parametrize("row", [2, 4, 6])
@pytest.mark.parametrize("value", [100.0, -100.0])
def test_a_spike_becomes_the_median_of_the_five_around_it_and_nothing_else_changes(row: int, value: float) -> None:
    values, given = spoiled(row, value)
    cleaned = _without_spikes(given, 8.0)
    assert cleaned[row, 1] == np.median(given[row - 2 : row + 3, 1])
    values[row, 1] = cleaned[row, 1]
    np.testing.assert_array_equal(cleaned, values)


def test_readings_up_to_the_limit_off_the_median_are_left_alone() -> None:
    values = np.zeros((7, 3))
    values[3] = 8.0
    np.testing.assert_array_equal(_without_spikes(values, 8.0), values)
    np.testing.assert_array_equal(_without_spikes(values, 7.9), 0 * values)


def test_the_median_is_of_five_and_the_last_reading_stands_for_those_to_come() -> None:
    burst = np.zeros((9, 1))
    burst[3:6] = 100.0  # three of five: no spike
    np.testing.assert_array_equal(_without_spikes(burst, 8.0), burst)
    end = np.zeros((9, 1))
    end[-1] = 100.0  # it may be the begin of a motion
    np.testing.assert_array_equal(_without_spikes(end, 8.0), end)
    two = np.zeros((9, 1))
    two[4:6] = 100.0
    np.testing.assert_array_equal(_without_spikes(two, 8.0), 0 * two)


@pytest.mark.parametrize(("rate_hz", "density"), [(200, 0.002), (1000, 0.0004)])
def test_noise_is_measured_beneath_smooth_motion(rate_hz: int, density: float) -> None:
    rng, t = np.random.default_rng(0), np.arange(3 * rate_hz) / rate_hz
    motion = np.stack([np.sin(5 * t), 2 * np.cos(3 * t), t], 1)
    values = [
        motion * size + rng.normal(0, k * density * np.sqrt(rate_hz), motion.shape) for size, k in ((1, 1), (3, 5))
    ]
    values[1][2 * rate_hz + 100] = 500.0  # a spike is no noise
    samples = ImuSamples(START_NS + np.rint(t * 1e9).astype(np.int64), *values)
    gyro, accel = buffer_of(samples).noise(samples.stamps_ns[-1])
    assert [gyro, accel] == pytest.approx([density, 5 * density], rel=0.15)


def test_of_few_readings_no_noise_is_known() -> None:
    samples = ramp(START_NS + np.arange(9) * 5 * MS)
    assert buffer_of(samples).noise(samples.stamps_ns[-1]) == (0.0, 0.0)
    assert ImuBuffer().noise(START_NS) == (0.0, 0.0)


def test_the_reading_at_the_time_asked_for_counts_and_a_later_one_does_not() -> None:
    rng, stamps = np.random.default_rng(0), START_NS + np.arange(11) * 5 * MS
    buffer = buffer_of(ImuSamples(stamps, rng.normal(0, 0.01, (11, 3)), rng.normal(0, 0.1, (11, 3))))
    assert buffer.noise(int(stamps[9]) - 1) == (0.0, 0.0)  # nine readings are too few
    ten = buffer_of(ImuSamples(stamps[:10], *(x[:10] for x in (buffer._samples.gyro, buffer._samples.accel))))
    assert min(ten.noise(int(stamps[9]))) > 0
    assert buffer.noise(int(stamps[10]) - 1) == ten.noise(int(stamps[9]))
