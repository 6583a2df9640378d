# SPDX-License-Identifier: Apache-2.0
"""What stamps tell: units, gaps, rows of one stamp, and a clock that was set back."""

from letvins_ros.examination.finding import Finding

SHORTEST_S = 5e-4  # between frames: 2 kHz, beyond every camera that this is made for
LEAST_GAP_S, GAP_PERIODS = 0.5, 5  # nothing is followed over so long a gap; slow cameras have long periods
MANY_REPEATED = 0.2  # share of rows: a driver that sends bursts, and no single glitch
MANY_LATE = 10  # rows: a clock set back, and no single row in the wrong place


class FrameStamps:
    """Watches the stamps of frames."""

    def __init__(self) -> None:
        self._last_ns: int | None = None
        self._period_s = 0.0  # a running mean
        self._frames, self._longest = 0, (0.0, 0.0)  # and when it began, s

    def add(self, stamp_ns: int, now_s: float) -> None:
        """Take a frame's stamp, which is so many seconds after the first."""
        if self._last_ns is not None:
            step = (stamp_ns - self._last_ns) * 1e-9
            if self._frames > GAP_PERIODS and step > max(LEAST_GAP_S, GAP_PERIODS * self._period_s, self._longest[0]):
                self._longest = (step, now_s - step)
            self._period_s = step if self._frames == 1 else 0.9 * self._period_s + 0.1 * step
        self._last_ns, self._frames = stamp_ns, self._frames + 1

    def findings(self) -> list[Finding]:
        """What is wrong with them."""
        if self._frames > 2 * GAP_PERIODS and self._period_s < SHORTEST_S:
            text = f"frames are {self._period_s * 1e6:.3g} us apart by their stamps: are these in nanoseconds?"
            return [Finding("stamp_units", text, 0.0, {"period_s": self._period_s})]
        gap, since_s = self._longest
        if gap:
            return [Finding("frame_gap", f"no images for {gap:.2f} s", since_s, {"gap_s": gap})]
        return []


def row_findings(what: str, rows: int, repeated: int, late: int, old: int = 0) -> list[Finding]:
    """Of a table (what) of so many rows, in which some repeat a stamp and some are earlier than the one before.

    old: those that were dropped because their clock surely was set back.
    """
    found = []
    if repeated > MANY_REPEATED * rows:
        text = f"{what}: {repeated} of {rows} rows have a stamp seen before: they come in bursts"
        found.append(Finding("stamps_repeated", text, 0.0, {"share": repeated / rows}))
    if old or late > MANY_LATE:
        text = f"{what}: {late + old} of {rows} rows are earlier than one before: the clock was set back"
        found.append(Finding("stamps_back", text, 0.0, {"rows": float(late + old)}))
    return found
