# SPDX-License-Identifier: Apache-2.0
"""Reads damaged files in a process of its own: whatever they do to it, the test goes on and says what happened.

A reader may read a damaged file or refuse it by a LetvinsError; it may not raise anything else, die, take more than
10 s or more than 1 GB. FUZZ says how many files each reader gets; `make fuzz` takes many.
"""

import multiprocessing
import os
import resource
import time
import traceback
from collections import Counter
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from random import Random
from typing import NamedTuple

from letvins_ros.errors import LetvinsError

from ..processes import cpu_s, resident_mb
from ..some import some

FILES = int(os.environ.get("FUZZ", "60"))
LIMIT_S, LIMIT_MB = 10.0, 1000.0
PATIENCE = 6  # on a busy machine the same work takes longer
START_S = 300.0  # a reader's imports, those of torch too, on a busy machine
CEILING = 8 << 30  # bytes of address space, so that a reader that takes all takes not the machine's

Damage = Callable[[Path, Random], Path]  # writes a damaged input into an empty folder, and says what to read
Reader = Callable[[Path], object]


class Outcome(NamedTuple):
    """What became of one file: read, refused, uncaught, hang, died or memory."""

    seed: int
    kind: str
    told: str = ""


def survives(damage: Damage, read: Reader, folder: Path, files: int = FILES, limit_s: float = LIMIT_S) -> Counter[str]:
    """How many damaged files were read and refused; an AssertionError tells those that did anything else.

    Both functions must be those of a module, as a new process takes them.
    """
    outcomes: list[Outcome] = []
    while len(outcomes) < files:
        outcomes += _batch(damage, read, folder, range(len(outcomes), files), limit_s)
    bad = [outcome for outcome in outcomes if outcome.kind not in ("read", "refused")]
    counts = Counter(outcome.kind for outcome in outcomes)
    assert not bad, f"{dict(counts)}; " + "\n".join(f"seed {o.seed}: {o.kind} {o.told}" for o in bad[:20])
    return counts


def _batch(damage: Damage, read: Reader, folder: Path, seeds: range, limit_s: float) -> list[Outcome]:
    """Outcomes up to the first that ends the process."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    child = context.Process(target=_child, args=(damage, read, folder, seeds, theirs), daemon=True)
    child.start()
    theirs.close()
    outcomes: list[Outcome] = []
    try:
        assert ours.poll(START_S) and ours.recv() == "ready"
        while len(outcomes) < len(seeds):
            if not _answers(ours, some(child.pid), limit_s):
                return [*outcomes, Outcome(seeds[len(outcomes)], "hang")]
            outcomes.append(ours.recv())
    except EOFError:
        child.join()
        return [*outcomes, Outcome(seeds[len(outcomes)], "died", f"code {child.exitcode}")]
    finally:
        child.kill()
        child.join()
    return outcomes


def _answers(pipe: Connection, pid: int, limit_s: float) -> bool:
    """Whether an answer comes in so many seconds of the process; it may wait for the processor some times as long."""
    had_s, wall_s = cpu_s(pid), time.monotonic()
    while not pipe.poll(0.1):
        if cpu_s(pid) - had_s > limit_s or time.monotonic() - wall_s > PATIENCE * limit_s:
            return False
    return True


def _child(damage: Damage, read: Reader, folder: Path, seeds: range, out: Connection) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (CEILING, CEILING))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    out.send("ready")
    for seed in seeds:
        place = folder / f"{seed}"
        place.mkdir(parents=True)
        path = damage(place, Random(seed))
        Path("/proc/self/clear_refs").write_text("5")  # the peak is from now on
        before_mb = resident_mb(os.getpid())
        kind, told = _try(read, path)
        taken_mb = resident_mb(os.getpid(), "VmHWM") - before_mb
        out.send(Outcome(seed, "memory", f"{taken_mb:.0f} MB") if taken_mb > LIMIT_MB else Outcome(seed, kind, told))


def _try(read: Reader, path: Path) -> tuple[str, str]:
    try:
        read(path)
    except LetvinsError:
        return "refused", ""
    except MemoryError:
        return "memory", traceback.format_exc(limit=-2)
    except BaseException:
        return "uncaught", traceback.format_exc(limit=-4)
    return "read", ""
