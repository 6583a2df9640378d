# SPDX-License-Identifier: Apache-2.0
"""What all readers share about time: reading ahead, spans, order, gaps and pairs."""

import os
import sys
from collections import deque
from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np

from letvins_ros.datasets.base import ReadReport
from letvins_ros.errors import DataError

PAIR_TOLERANCE_NS = 5_000_000
NICENESS = 10
_BURSTS = 6  # at least, to be recognised
_SHORT, _LOST = 0.2, 3.0  # periods between readings of a burst at most, and where readings are missing at least
_IN_BURSTS = 0.4  # share of readings that follow another one at once
_BETWEEN_NS = 500_000_000  # further apart are parts of a recording
_MANY_LATE = 5  # rows in a row that are earlier than one before, of times that others have: the clock was set back
_IN_ORDER = 0.9  # share of steps
_PAUSE_NS = 600_000_000  # left out after it: longer than the odometry spans, so that it starts anew
LATE, REPEATED = "rows out of time order, sorted", "rows with a stamp seen before, dropped"  # kinds in a report
BACK = "rows after the clock was set back, dropped until their times are new"
T = TypeVar("T")


def read_ahead(items: Generator[T, None, None], depth: int = 8) -> Generator[T, None, None]:
    """Yield the same items in the same order, made by a worker thread at most `depth` ahead.

    An error of the worker is raised here in its turn; a consumer who stops early stops the worker.
    """
    end = object()
    with ThreadPoolExecutor(1, "read-ahead", _step_back) as worker:
        pending = deque(worker.submit(next, items, end) for _ in range(depth))
        try:
            while (item := pending.popleft().result()) is not end:
                pending.append(worker.submit(next, items, end))
                yield item  # type: ignore[misc]
        finally:
            for task in pending:
                task.cancel()
            worker.submit(items.close)  # there, because a bag must be closed by the thread that opened it


def _step_back() -> None:
    """Leave the cores to those who work on a frame; what is read ahead has time (Linux: of this thread alone)."""
    if sys.platform == "linux":
        os.nice(NICENESS)


def span(name: str, stamps_ns: np.ndarray, start_s: float, duration_s: float | None) -> range:
    """Tell which of the increasing stamps lie in the span; DataError where none does."""
    first = stamps_ns[0] + round(start_s * 1e9)
    begin = int(np.searchsorted(stamps_ns, first))
    end = len(stamps_ns) if duration_s is None else int(np.searchsorted(stamps_ns, first + round(duration_s * 1e9)))
    if begin >= end:
        length = (stamps_ns[-1] - stamps_ns[0]) / 1e9
        raise DataError(f"{name}: no frame from {start_s} s on for {duration_s or length} s; it lasts {length:.2f} s")
    return range(begin, end)


def time_order(what: str, stamps_ns: np.ndarray, report: ReadReport) -> np.ndarray:
    """Return indices (M,) that bring stamps (N,) into strictly increasing order; of equal stamps the first stays.

    Where the clock was set back, the rows of times that were there before are left out, and a little more.
    """
    old = _of_old_times(stamps_ns)
    if old.any():
        report.add(f"{what}: {BACK}", str(stamps_ns[old][0]), int(old.sum()))
    kept = np.flatnonzero(~old)
    stamps_ns = stamps_ns[kept]
    late = stamps_ns[1:] < np.maximum.accumulate(stamps_ns)[:-1]
    if late.any():
        report.add(f"{what}: {LATE}", str(stamps_ns[1:][late][0]), int(late.sum()))
    order = np.argsort(stamps_ns, kind="stable")
    again = np.diff(stamps_ns[order], prepend=np.iinfo(np.int64).min) == 0
    if again.any():
        report.add(f"{what}: {REPEATED}", str(stamps_ns[order][again][0]), int(again.sum()))
    return np.asarray(kept[order[~again]])


def _of_old_times(stamps_ns: np.ndarray) -> np.ndarray:
    """Which rows (N,) bool came after their clock was set back, before it was clearly beyond all earlier times."""
    newest = np.maximum.accumulate(stamps_ns)
    edges = np.flatnonzero(np.diff(stamps_ns < newest, prepend=False, append=False)).reshape(-1, 2)
    old = np.zeros(len(stamps_ns), bool)
    for begin, end in edges[np.diff(edges)[:, 0] >= _MANY_LATE]:
        run = stamps_ns[begin:end]
        there = np.count_nonzero((stamps_ns[:begin] >= run.min()) & (stamps_ns[:begin] <= run.max()) & ~old[:begin])
        if there >= len(run) / 2 and (np.diff(run) > 0).mean() > _IN_ORDER:  # else rows were delayed, or shuffled
            old[begin:] |= stamps_ns[begin:] <= newest[begin] + _PAUSE_NS
    return old


def clean(what: str, stamps_ns: np.ndarray, values: np.ndarray, report: ReadReport) -> tuple[np.ndarray, np.ndarray]:
    """Bring stamps (N,) with values (N, C) into time order, without rows that are not finite."""
    finite = np.isfinite(values).all(axis=1)
    if not finite.all():
        report.add(f"{what}: rows with NaN or inf, skipped", str(stamps_ns[~finite][0]), int((~finite).sum()))
    stamps_ns, values = stamps_ns[finite], values[finite]
    order = time_order(what, stamps_ns, report)
    return stamps_ns[order], values[order]


def spread_bursts(what: str, stamps_ns: np.ndarray, values: np.ndarray, report: ReadReport) -> np.ndarray:
    """Stamps (N,) of readings that were stamped when they arrived, many at once, spread over the time between bursts.

    Other stamps stay: of readings at all even times, out of order, or stored twice. The last reading of a burst keeps
    its stamp. values (N, C) in the order of arrival.
    """
    steps = np.diff(stamps_ns)
    if len(steps) < _BURSTS or (steps < 0).any():
        return stamps_ns
    period = (stamps_ns[-1] - stamps_ns[0]) / len(steps)
    within = steps < _SHORT * period
    twice = (steps == 0) & (values[1:] == values[:-1]).all(axis=1)
    last = np.append(np.flatnonzero(~within), len(steps))  # reading of each burst
    if (within & ~twice).mean() < _IN_BURSTS or len(last) < _BURSTS or np.median(steps[~within]) > _BETWEEN_NS:
        return stamps_ns
    size = np.diff(last, prepend=-1)
    since = np.diff(stamps_ns[last], prepend=stamps_ns[last[0]]) / size
    period = np.median(since[1:])
    since[0] = period
    since[since > _LOST * period] = period  # readings before this burst were lost
    report.note(f"{what}: readings come in bursts of {np.median(size):.0f}, spread evenly over the time between")
    burst = np.repeat(np.arange(len(last)), size)
    back = (last[burst] - np.arange(len(stamps_ns))) * since[burst]
    return np.asarray(stamps_ns[last][burst] - np.rint(back).astype(np.int64))


def report_gaps(what: str, stamps_ns: np.ndarray, report: ReadReport) -> None:
    """Count the steps that are longer than 3 nominal (median) periods."""
    steps = np.diff(stamps_ns)
    gaps = np.flatnonzero(steps > 3 * np.median(steps)) if len(steps) else steps
    if len(gaps):
        example = f"{steps[gaps[0]] / 1e6:.1f} ms after {stamps_ns[gaps[0]]}"
        report.add(f"{what}: gaps over 3 periods", example, len(gaps))


def nearest(a_ns: np.ndarray, b_ns: np.ndarray) -> np.ndarray:
    """For each of a (N,) the index of the nearest of b (M,), both increasing, M > 0."""
    right = np.minimum(np.searchsorted(b_ns, a_ns), len(b_ns) - 1)
    left = np.maximum(right - 1, 0)
    closer_left = np.abs(b_ns[left] - a_ns) <= np.abs(b_ns[right] - a_ns)
    return np.asarray(np.where(closer_left, left, right))


def match(a_ns: np.ndarray, b_ns: np.ndarray) -> np.ndarray:
    """For each of a (N,) the index of its partner in b (N,), -1 where there is none; both increasing.

    Partners are each other's nearest, and within the tolerance.
    """
    if not (len(a_ns) and len(b_ns)):
        return np.full(len(a_ns), -1)
    to_b, to_a = nearest(a_ns, b_ns), nearest(b_ns, a_ns)
    mutual = to_a[to_b] == np.arange(len(a_ns))
    return np.where(mutual & (np.abs(b_ns[to_b] - a_ns) <= PAIR_TOLERANCE_NS), to_b, -1)


def pair(
    left_ns: np.ndarray, right_ns: np.ndarray, report: ReadReport, names: tuple[str, str] = ("left", "right")
) -> np.ndarray:
    """`match` of the stamps of two cameras; images without partner are counted in the report."""
    partner = match(left_ns, right_ns)
    lonely_left, lonely_right = left_ns[partner < 0], np.delete(right_ns, partner[partner >= 0])
    left, right = names
    if len(lonely_left):
        report.add(f"{left} images without {right}, used alone", str(lonely_left[0]), len(lonely_left))
    if len(lonely_right):
        report.add(f"{right} images without {left}, dropped", str(lonely_right[0]), len(lonely_right))
    return partner


def join(
    stamps_ns: Sequence[np.ndarray], groups: Sequence[tuple[int, ...]], report: ReadReport
) -> tuple[np.ndarray, np.ndarray]:
    """Frames of a rig: their stamps (N,), and which image (C, N) of every camera each has, -1 for none.

    stamps_ns: increasing, of each camera's images. groups: the rig's; the first camera of a group, its lead, makes a
    frame, alone or with those that took an image at the same time; the others are joined to it.
    """
    frames_ns = stamps_ns[groups[0][0]]
    for lead, *_ in groups[1:]:
        new_ns = np.delete(stamps_ns[lead], (known := match(frames_ns, stamps_ns[lead]))[known >= 0])
        frames_ns = np.sort(np.concatenate([frames_ns, new_ns]))
    image = np.full((len(stamps_ns), len(frames_ns)), -1)
    for lead, *partners in groups:
        image[lead] = match(frames_ns, stamps_ns[lead])
        there = image[lead] >= 0
        if not there.all():
            report.add(f"frames without an image of cam{lead}", str(frames_ns[~there][0]), int((~there).sum()))
        for camera in partners:
            names = (f"cam{lead}", f"cam{camera}") if (lead, camera) != (0, 1) else ("left", "right")
            partner = pair(stamps_ns[lead], stamps_ns[camera], report, names)
            image[camera, there] = partner[image[lead, there]]
    return frames_ns, image
