# SPDX-License-Identifier: Apache-2.0
"""Processes: whether they end, on a machine that may be busy with others, and what they have taken."""

import os
import time
from collections.abc import Callable, Collection
from pathlib import Path

LONGEST_S = 600.0  # even so


def wait(until: Callable[[], object], timeout_s: float = 20.0) -> None:
    """Until it is so; an AssertionError where that takes too long."""
    end = time.monotonic() + timeout_s
    while not until():
        assert time.monotonic() < end, f"not within {timeout_s} s"
        time.sleep(0.02)


def runs(pid: int) -> bool:
    """Whether a process has not ended; that its new parent has not asked about it yet does not count."""
    try:
        return _stat(Path(f"/proc/{pid}/stat"))[0] != "Z"
    except OSError:
        return False


def children(pid: int) -> list[int]:
    """Those that its threads have started."""
    threads = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for thread in threads for child in thread.read_text().split()]


def cpu_s(pid: int) -> float:
    """Seconds that all threads of a process have had."""
    return _cpu_s(_stat(Path(f"/proc/{pid}/stat")))


def resident_mb(pid: int, what: str = "VmRSS") -> float:
    """Memory of a process: VmRSS now, VmHWM at its peak."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith(what))


def left_after(seconds: float, alive: Callable[[], Collection[int]]) -> Collection[int]:
    """Which processes live on for so long; time in which one waits for a processor is not counted.

    The system ends a process of low priority that is killed only when nobody else wants the processor.
    """
    began = last = time.monotonic()
    counted, looks = 0.0, dict[int, tuple[bool, float]]()
    while (pids := alive()) and counted < seconds and last - began < LONGEST_S:
        time.sleep(0.05)
        before, looks = looks, {pid: _look(pid) for pid in pids}
        last, passed_s = time.monotonic(), time.monotonic() - last
        worked_s = [cpu_s - before.get(pid, (False, cpu_s))[1] for pid, (runnable, cpu_s) in looks.items() if runnable]
        counted += min([passed_s, *worked_s])
    return pids


def _look(pid: int) -> tuple[bool, float]:
    """Whether a thread of it wants a processor, and the seconds that all have had; nothing of one that has ended."""
    runnable, had_s = False, 0.0
    for stat in Path(f"/proc/{pid}/task").glob("*/stat"):
        try:
            fields = _stat(stat)
        except OSError:
            continue
        runnable |= fields[0] == "R"
        had_s += _cpu_s(fields)
    return runnable, had_s


def _stat(path: Path) -> list[str]:
    """Fields from the third on; the second is a name in brackets."""
    return path.read_text().rpartition(")")[2].split()


def _cpu_s(fields: list[str]) -> float:
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
