# SPDX-License-Identifier: Apache-2.0
"""What can be wrong with live input, found out and named once; needs no ROS."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

CURRENT_S = 3.0  # a problem not seen for so long is past
AGAIN_S = 30.0  # one that comes back after so long is told on the log again
LASTING_S = 0.5  # a lost image spoils nothing
HARMLESS = {"tf", "/tf_static", "wheel", "images", "tracks", "imu_rate", "imu_gap", "frame_gap", "stamps_repeated"}
MENDED = " mended"  # how the kind of a problem ends that the nodes have mended
JUMP_S = 1.0  # stamps that leap so far while little time has passed are doubted


@dataclass
class _Problem:
    """What there is of one kind."""

    text: str
    count: int
    began: float  # the present spell
    last: float
    sure: bool


class Problems:
    """Names each kind of problem once on the log, counts the others."""

    def __init__(self, tell: Callable[[str], object], clock: Callable[[], float] = time.monotonic) -> None:
        self._tell, self._clock = tell, clock
        self._seen: dict[str, _Problem] = {}  # by kind

    def note(self, kind: str, text: str, *, sure: bool = False) -> None:
        """Count a problem of this kind, and tell it when it is new; sure: it is no matter of a moment."""
        now = self._clock()
        known = self._seen.get(kind, _Problem(text, 0, now, -np.inf, sure))
        if now - known.last > AGAIN_S:
            self._tell(f"{kind}: {text}")
        began = known.began if now - known.last < CURRENT_S else now
        self._seen[kind] = _Problem(text, known.count + 1, began, now, sure)

    def _current(self) -> dict[str, _Problem]:
        now = self._clock()
        return {kind: one for kind, one in list(self._seen.items()) if now - one.last < CURRENT_S}

    def current(self) -> list[str]:
        """Those seen lately, in words."""
        return [f"{kind}: {one.text}" for kind, one in self._current().items()]

    def may_spoil_motion(self) -> bool:
        """Whether one of them, if it lasts, makes the motion wrong beyond the estimator's own covariance."""
        lasting = [kind for kind, one in self._current().items() if one.sure or one.last - one.began >= LASTING_S]
        return any(kind not in HARMLESS and not kind.endswith(MENDED) for kind in lasting)

    def counts(self) -> dict[str, str]:
        """All there ever were, with how often."""
        return {kind: f"{one.text} ({one.count} times)" for kind, one in list(self._seen.items())}


@dataclass(frozen=True)
class Verdict:
    """What a stamp tells."""

    passes: bool
    kind: str = ""  # of problem; empty when there is none
    problem: str = ""
    restarted: bool = False  # time has gone back and stays there


GOOD = Verdict(True)


class StampGate:
    """Lets stamps through that go on in time; a jump that lasts is taken as the new time."""

    def __init__(self, needed: int) -> None:
        """needed: how many stamps in a row must agree before a jump is believed."""
        self._needed = needed
        self._last: tuple[int, int] | None = None  # stamp, arrival, ns
        self._doubted, self._count = 0, 0  # the newest stamp after a jump, and how many agree with it

    def check(self, stamp_ns: int, arrival_ns: int) -> Verdict:
        """Judge a stamp that came at this time of a clock that never jumps."""
        if stamp_ns <= 0:
            return Verdict(False, "zero stamp", "the driver does not fill header.stamp")
        if self._last is None:
            return self._accept(stamp_ns, arrival_ns, GOOD)
        ahead_s, waited_s = (stamp_ns - self._last[0]) * 1e-9, (arrival_ns - self._last[1]) * 1e-9
        if 0 < ahead_s < JUMP_S + 3 * waited_s:
            return self._accept(stamp_ns, arrival_ns, GOOD)
        follows = 0 < (stamp_ns - self._doubted) * 1e-9 < JUMP_S
        self._doubted, self._count = stamp_ns, self._count + 1 if follows else 1
        kind = "stamp repeated" if ahead_s == 0 else "stamp ahead" if ahead_s > 0 else "stamp back"
        text = f"stamps jump by {ahead_s:+.3f} s"
        if self._count < self._needed:
            return Verdict(False, kind, text)
        return self._accept(stamp_ns, arrival_ns, Verdict(True, kind, f"{text}, and go on from there", ahead_s < 0))

    def _accept(self, stamp_ns: int, arrival_ns: int, verdict: Verdict) -> Verdict:
        self._last, self._count = (stamp_ns, arrival_ns), 0
        return verdict
