# SPDX-License-Identifier: Apache-2.0
"""Whether processes end, on a machine that may be busy with others."""

import time
from collections.abc import Callable, Collection
from pathlib import Path

LONGEST_S = 600.0  # even so


def left_after(seconds: float, alive: Callable[[], Collection[int]]) -> Collection[int]:
    """Which processes live on for so long; time in which one waits for a processor is not counted.

    The system ends a process of low priority that is killed only when nobody else wants the processor.
    """
    began = last = time.monotonic()
    counted, cpu = 0.0, dict[int, int]()
    while (pids := alive()) and counted < seconds and last - began < LONGEST_S:
        time.sleep(0.05)
        looks = {pid: _look(pid) for pid in pids}
        starved = any(runnable and ticks == cpu.get(pid) for pid, (runnable, ticks) in looks.items())
        cpu = {pid: ticks for pid, (_, ticks) in looks.items()}
        now = time.monotonic()
        counted += 0.0 if starved else now - last
        last = now
    return pids


def _look(pid: int) -> tuple[bool, int]:
    """Whether a thread of it wants a processor, and the time that all have had, in ticks; nothing of one that ended."""
    runnable, ticks = False, 0
    for stat in Path(f"/proc/{pid}/task").glob("*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        runnable |= fields[0] == "R"
        ticks += int(fields[11]) + int(fields[12])
    return runnable, ticks
