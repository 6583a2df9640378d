# SPDX-License-Identifier: Apache-2.0
"""Whether processes end, on a machine that may be busy with others."""

import os
import time
from collections.abc import Callable, Collection
from pathlib import Path

LONGEST_S = 600.0  # even so


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
    runnable, ticks = False, 0
    for stat in Path(f"/proc/{pid}/task").glob("*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        runnable |= fields[0] == "R"
        ticks += int(fields[11]) + int(fields[12])
    return runnable, ticks / os.sysconf("SC_CLK_TCK")
