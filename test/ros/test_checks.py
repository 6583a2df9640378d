# SPDX-License-Identifier: Apache-2.0
from collections.abc import Sequence

import pytest

from letvins_ros.ros.checks import AGAIN_S, CURRENT_S, Problems, StampGate, Verdict
from letvins_ros.ros.worker import DropQueue, Worker

from ..processes import wait

S = 1_000_000_000
FRAME = S // 20


def feed(gate: StampGate, stamps: Sequence[int], arrivals: Sequence[int] | None = None) -> list[Verdict]:
    arrivals = arrivals or [i * FRAME for i in range(len(stamps))]
    return [gate.check(stamp, at) for stamp, at in zip(stamps, arrivals, strict=True)]


def test_a_problem_is_told_once_and_counted() -> None:
    told, now = list[str](), [100.0]
    problems = Problems(told.append, lambda: now[0])
    for _ in range(50):
        problems.note("imu values", "NaN")
        now[0] += 0.1
    assert told == ["imu values: NaN"]
    assert problems.counts() == {"imu values": "NaN (50 times)"}
    assert problems.current() == ["imu values: NaN"]
    now[0] += CURRENT_S
    assert problems.current() == []
    now[0] += AGAIN_S
    problems.note("imu values", "NaN")
    assert len(told) == 2


def test_stamps_that_go_on_pass() -> None:
    verdicts = feed(StampGate(5), [S + i * FRAME for i in range(20)])
    assert all(v.passes and not v.kind for v in verdicts)


def test_a_stamp_of_zero_never_passes() -> None:
    verdicts = feed(StampGate(2), [0] * 10)
    assert not any(v.passes for v in verdicts)
    assert verdicts[0].kind == "zero stamp"


@pytest.mark.parametrize("jump_s", [-3.0, 2.0])
def test_single_jumps_are_refused_and_named(jump_s: float) -> None:
    stamps = [10 * S + i * FRAME for i in range(10)]
    stamps[5] += round(jump_s * S)
    verdicts = feed(StampGate(3), stamps)
    assert [v.passes for v in verdicts] == [True] * 5 + [False] + [True] * 4
    assert f"jump by {jump_s + 0.05:+.3f} s" in verdicts[5].problem


def test_a_jump_back_that_lasts_is_a_restart() -> None:
    verdicts = feed(StampGate(3), [10 * S, 10 * S + FRAME, *(S + i * FRAME for i in range(6))])
    assert [v.passes for v in verdicts] == [True, True, False, False, True, True, True, True]
    assert [v.restarted for v in verdicts] == [False] * 4 + [True] + [False] * 3


def test_a_jump_ahead_that_lasts_is_taken_without_a_restart() -> None:
    verdicts = feed(StampGate(3), [S, *(4 * S + i * FRAME for i in range(5))])
    assert [v.passes for v in verdicts] == [True, False, False, True, True, True]
    assert not any(v.restarted for v in verdicts)


def test_a_topic_that_was_silent_goes_on_at_once() -> None:
    verdicts = feed(StampGate(5), [S, 9 * S, 9 * S + FRAME], [0, 8 * S, 8 * S + FRAME])
    assert all(v.passes and not v.kind for v in verdicts)


def test_a_full_queue_drops_the_oldest_and_counts_it() -> None:
    queue = DropQueue[int](2)
    for i in range(5):
        queue.put(i)
    assert (queue.dropped, len(queue), queue.first()) == (3, 2, 3)
    queue.depth = 3
    queue.put(5)
    assert (queue.dropped, len(queue)) == (3, 3)
    assert [queue.pop(), queue.pop(), queue.pop(), queue.pop()] == [3, 4, 5, None]


def test_a_worker_works_until_there_is_nothing_left_and_tells_its_crash() -> None:
    todo, done, crashes = list(range(100)), list[int](), list[BaseException]()

    def step() -> bool:
        if not todo:
            return False
        done.append(todo.pop(0))
        return True

    worker = Worker(step, crashes.append)
    worker.wake()
    wait(lambda: not todo, 5)
    worker.stop()
    assert done == list(range(100))

    broken = Worker(lambda: 1 // 0 > 0, crashes.append)
    broken.wake()
    wait(lambda: crashes, 5)
    broken.stop()
    assert isinstance(crashes[0], ZeroDivisionError)
