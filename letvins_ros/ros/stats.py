# SPDX-License-Identifier: Apache-2.0
"""What a node counts for its diagnostics; needs no ROS."""

import time
from collections import deque

import numpy as np


class Stats:
    """Counts and latencies of the last second, and those since the start."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}
        self._shown: dict[str, int] = {}
        self._latency: deque[float] = deque(maxlen=1000)
        self._since = time.monotonic()

    def count(self, what: str, n: int = 1) -> None:
        self._counts[what] = self._counts.get(what, 0) + n

    def total(self, what: str) -> int:
        return self._counts.get(what, 0)

    def latency(self, seconds: float) -> None:
        self._latency.append(seconds)

    def take(self) -> dict[str, str]:
        """Rates since the last call, with the latencies; then both begin anew."""
        now = time.monotonic()
        span, counts = max(now - self._since, 1e-3), dict(self._counts)
        values = {f"{what} per s": f"{(n - self._shown.get(what, 0)) / span:.1f}" for what, n in counts.items()}
        values |= {f"{what} in all": str(n) for what, n in counts.items()}
        if self._latency:
            late = np.array(self._latency) * 1e3
            values["latency ms, median"] = f"{np.median(late):.1f}"
            values["latency ms, p95"] = f"{np.percentile(late, 95):.1f}"
        self._shown, self._since = counts, now
        self._latency.clear()
        return values
