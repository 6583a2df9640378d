# SPDX-License-Identifier: Apache-2.0
import threading
import time
from collections.abc import Generator, Iterable

import numpy as np
import pytest

from letvins_ros.datasets.base import ReadReport
from letvins_ros.datasets.stream import (
    PAIR_TOLERANCE_NS,
    join,
    nearest,
    pair,
    read_ahead,
    report_gaps,
    span,
    spread_bursts,
    time_order,
)
from letvins_ros.errors import DataError


def no_worker_left() -> bool:
    return not [thread for thread in threading.enumerate() if thread.name.startswith("read-ahead")]


def test_items_come_in_order_and_the_worker_ends() -> None:
    assert list(read_ahead(i for i in range(100))) == list(range(100))
    assert no_worker_left()


def test_no_items_give_no_items() -> None:
    assert list(read_ahead(i for i in range(0))) == []


def test_the_worker_is_never_more_than_its_depth_ahead() -> None:
    made = []

    def items() -> Generator[int, None, None]:
        for i in range(50):
            made.append(i)
            yield i

    for i in read_ahead(items(), depth=3):
        time.sleep(0.002)
        assert len(made) <= i + 1 + 3
    assert len(made) == 50


def test_the_worker_works_while_the_consumer_does() -> None:
    ready = threading.Event()

    def items() -> Generator[int, None, None]:
        yield 0
        ready.set()
        yield 1

    stream = read_ahead(items())
    next(stream)
    assert ready.wait(5.0)
    stream.close()


def test_an_error_comes_after_the_items_before_it() -> None:
    def items() -> Generator[int, None, None]:
        yield 1
        yield 2
        raise DataError("broken")

    seen: list[int] = []
    with pytest.raises(DataError, match="broken"):
        seen.extend(iter_into(seen, read_ahead(items())))
    assert seen == [1, 2]
    assert no_worker_left()


def iter_into(seen: list[int], stream: Iterable[int]) -> list[int]:
    for item in stream:
        seen.append(item)
    return []


def test_stopping_early_closes_the_source_in_the_thread_that_opened_it() -> None:
    threads = []

    def items() -> Generator[int, None, None]:
        threads.append(threading.current_thread())
        try:
            yield from range(1000)
        finally:
            threads.append(threading.current_thread())

    stream = read_ahead(items())
    assert next(stream) == 0
    stream.close()
    assert len(threads) == 2
    assert threads[0] is threads[1]
    assert no_worker_left()


@pytest.mark.parametrize("n", [1, 2, 50])
@pytest.mark.parametrize("m", [1, 2, 50])
def test_nearest_is_what_brute_force_finds(n: int, m: int) -> None:
    rng = np.random.default_rng(n * 100 + m)
    a, b = np.unique(rng.integers(0, 500, n)), np.unique(rng.integers(0, 500, m))
    found = nearest(a, b)
    assert np.array_equal(np.abs(b[found] - a), np.abs(b[None] - a[:, None]).min(axis=1))


@pytest.mark.parametrize("n", [0, 1, 2, 50])
@pytest.mark.parametrize("m", [0, 1, 2, 50])
def test_pairs_are_mutual_nearest_within_the_tolerance_and_the_rest_is_counted(n: int, m: int) -> None:
    rng = np.random.default_rng(n * 100 + m)
    left = np.unique(rng.integers(0, 60 * PAIR_TOLERANCE_NS, n))
    right = np.unique(rng.integers(0, 60 * PAIR_TOLERANCE_NS, m))
    report = ReadReport()
    match = pair(left, right, report)
    for i, stamp in enumerate(left):
        gaps = np.abs(right - stamp)
        partner = int(gaps.argmin()) if m else -1
        paired = m > 0 and gaps[partner] <= PAIR_TOLERANCE_NS and np.abs(left - right[partner]).argmin() == i
        assert match[i] == (partner if paired else -1)
    used = (match >= 0).sum()
    assert len(np.unique(match[match >= 0])) == used
    assert report.counts.get("left images without right, used alone", 0) == len(left) - used
    assert report.counts.get("right images without left, dropped", 0) == len(right) - used


def test_cameras_of_a_rig_are_joined_by_their_leads_and_the_others_follow() -> None:
    ms, report = 1_000_000, ReadReport()
    stamps = [np.array(s) * ms for s in ([0, 50, 100], [1, 52], [49, 101, 150], [50, 151])]
    frames_ns, image = join(stamps, ((0, 1), (2, 3)), report)
    assert (frames_ns / ms).tolist() == [0, 50, 100, 150]
    assert image.tolist() == [[0, 1, 2, -1], [0, 1, -1, -1], [-1, 0, 1, 2], [-1, 0, -1, 1]]
    assert report.counts == {
        "frames without an image of cam0": 1,
        "left images without right, used alone": 1,
        "frames without an image of cam2": 1,
        "cam2 images without cam3, used alone": 1,
    }


@pytest.mark.parametrize("n", [0, 1, 50])
def test_joining_one_pair_is_pairing_it(n: int) -> None:
    rng = np.random.default_rng(n)
    left, right = (np.unique(rng.integers(0, 30 * PAIR_TOLERANCE_NS, n)) for _ in range(2))
    frames_ns, image = join([left, right], ((0, 1),), ReadReport())
    np.testing.assert_array_equal(frames_ns, left)
    np.testing.assert_array_equal(image, [np.arange(len(left)), pair(left, right, ReadReport())])


def test_time_order_sorts_keeps_the_first_of_equals_and_counts() -> None:
    report = ReadReport()
    stamps = np.array([10, 30, 20, 20, 40])
    assert time_order("x", stamps, report).tolist() == [0, 2, 1, 4]
    assert report.counts == {"x: rows out of time order, sorted": 2, "x: rows with a stamp seen before, dropped": 1}
    assert report.examples["x: rows out of time order, sorted"] == "20"


SECOND = 1_000_000_000
STEADY = np.arange(200) * SECOND // 20


def test_times_that_come_again_when_the_clock_was_set_back_are_left_out_and_a_pause() -> None:
    report = ReadReport()
    stamps = np.where(np.arange(200) < 100, STEADY, STEADY - 3 * SECOND)
    kept = time_order("x", stamps, report)
    assert kept.tolist() == [*range(100), *range(172, 200)]
    assert stamps[172] - stamps[99] > 0.6 * SECOND
    assert report.counts == {"x: rows after the clock was set back, dropped until their times are new": 72}


def test_a_clock_that_is_set_back_twice_leaves_both_times_out() -> None:
    stamps = STEADY - 2 * SECOND * (np.arange(200) >= 60) - 2 * SECOND * (np.arange(200) >= 130)
    kept = time_order("x", stamps, ReadReport())
    assert kept.tolist() == [*range(60), *range(112, 130), *range(182, 200)]


def test_rows_that_were_held_up_on_their_way_are_sorted_in() -> None:
    report = ReadReport()
    held_up = np.r_[0:50, 70:90, 50:70, 90:200]
    assert STEADY[held_up][time_order("x", STEADY[held_up], report)].tolist() == STEADY.tolist()
    assert report.counts == {"x: rows out of time order, sorted": 20}


def test_shuffled_rows_are_sorted() -> None:
    shuffled = np.random.default_rng(0).permutation(STEADY)
    assert shuffled[time_order("x", shuffled, ReadReport())].tolist() == STEADY.tolist()


def test_only_steps_over_three_periods_are_gaps() -> None:
    report = ReadReport()
    report_gaps("x", np.array([0, 10, 20, 50, 60, 91, 101]) * 1_000_000, report)
    assert report.counts == {"x: gaps over 3 periods": 1}
    assert report.examples == {"x: gaps over 3 periods": "31.0 ms after 60000000"}


def test_a_span_counts_from_the_first_stamp_and_leaves_out_its_end() -> None:
    stamps = 1_000 + np.arange(10) * 1_000_000_000
    assert span("x", stamps, 0.0, None) == range(10)
    assert span("x", stamps, 2.0, 3.0) == range(2, 5)
    assert span("x", stamps, 2.1, 100.0) == range(3, 10)
    with pytest.raises(DataError, match=r"x: .* it lasts 9\.00 s"):
        span("x", stamps, 9.5, None)


PERIOD = 5_000_000
EVEN = 10**18 + PERIOD * np.arange(400)


def bursts_of(size: int, jitter_ns: int = 20_000) -> np.ndarray:
    """Stamps of readings that are stamped when the last of so many arrives, one shortly after the other."""
    last = np.arange(len(EVEN)) // size * size + size - 1
    return 10**18 + PERIOD * last + jitter_ns * (np.arange(len(EVEN)) % size)


@pytest.mark.parametrize("size", [2, 5, 10, 20])
@pytest.mark.parametrize("jitter_ns", [0, 20_000])
def test_readings_that_come_in_bursts_are_spread_over_the_time_between(size: int, jitter_ns: int) -> None:
    report, values = ReadReport(), np.arange(400.0)[:, None]
    spread = spread_bursts("imu", bursts_of(size, jitter_ns), values, report)
    assert np.abs(spread - EVEN).max() <= 20_000 * size
    assert (np.diff(spread) > 0).all()
    assert report.notes == [f"imu: readings come in bursts of {size}, spread evenly over the time between"]


def test_after_a_loss_a_burst_is_spread_over_the_time_that_it_took() -> None:
    kept = np.ones(400, bool)
    kept[100:200] = False
    spread = spread_bursts("imu", bursts_of(10)[kept], np.arange(300.0)[:, None], ReadReport())
    assert np.abs(spread - EVEN[kept]).max() < 2_000_000


@pytest.mark.parametrize(
    "stamps",
    [
        EVEN,
        EVEN + np.random.default_rng(0).integers(-2_000_000, 2_000_000, 400),
        np.concatenate([EVEN[200:], EVEN[:200]]),
        np.concatenate([EVEN[50 * i : 50 * i + 50] + 10**10 * i for i in range(8)]),  # parts of a recording
        EVEN[:5],
        np.full(400, 7),
    ],
    ids=["even", "jitter", "out of order", "parts", "few", "one time"],
)
def test_other_stamps_stay(stamps: np.ndarray) -> None:
    report = ReadReport()
    values = np.arange(float(len(stamps)))[:, None]
    assert spread_bursts("imu", stamps, values, report) is stamps
    assert report.notes == []


def test_readings_that_were_stored_twice_are_no_bursts() -> None:
    stamps = np.repeat(EVEN, 3)
    assert spread_bursts("imu", stamps, np.repeat(np.arange(400.0), 3)[:, None], ReadReport()) is stamps
