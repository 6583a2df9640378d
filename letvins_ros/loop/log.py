# SPDX-License-Identifier: Apache-2.0
"""The loop closer's results of a whole run."""

import time
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from letvins_ros.geometry import inverse
from letvins_ros.loop.closer import LoopCloser, MapSnapshot
from letvins_ros.loop.motion import exp, log
from letvins_ros.processes import peak_rss_mb
from letvins_ros.types import GnssFixes, Keyframe, LoopClosure


@dataclass(frozen=True, eq=False)
class LoopResult:
    """The loop closer's results of a whole run."""

    stamps_ns: np.ndarray  # (N,) of the keyframes with a place in the map
    T_map_odom: np.ndarray  # (N, 4, 4) at these, by the final map
    costs_ms: dict[int, float]  # processor time, by the keyframe's stamp
    closures: list[LoopClosure]
    snapshot: MapSnapshot
    cpu_s: float
    peak_rss_mb: float
    unsaved: str = ""  # why the map could not be saved
    datum: np.ndarray | None = None  # (3,) degrees and m, of which the map lies east, north, up; None where it does not

    def T_map_odom_at(self, stamps_ns: list[int]) -> list[np.ndarray] | list[None]:
        """Corrections (4, 4) at any times, interpolated between keyframes; None without a pose in the map."""
        if not len(self.stamps_ns):
            return [None] * len(stamps_ns)
        T = self.T_map_odom
        motions = [log(inverse(a) @ b) for a, b in pairwise([*T, T[-1]])]
        after = np.searchsorted(self.stamps_ns, stamps_ns, side="right") - 1
        ends = np.append(self.stamps_ns, self.stamps_ns[-1] + 1)
        share = (np.array(stamps_ns) - ends[after]) / (ends[after + 1] - ends[after])
        share[after < 0] = 0.0
        return [T[i] @ exp(s * motions[i]) for i, s in zip(after.clip(0), share.clip(0, 1), strict=True)]


class LoopLog:
    """A loop closer and the log of its answers."""

    def __init__(self, closer: LoopCloser) -> None:
        self.closer = closer
        self._nodes: list[tuple[int, int, np.ndarray]] = []  # stamp, node and T_odom_body of kept keyframes
        self._localised: list[tuple[int, np.ndarray]] = []  # stamp and T_map_odom of those that became no node
        self._costs_ms: dict[int, float] = {}
        self._closures: list[LoopClosure] = []

    def add(self, keyframe: Keyframe, image: np.ndarray | None, *fixes: GnssFixes) -> None:
        """Process a keyframe and the fixes of before it."""
        start = time.process_time()  # the clock goes on while others have the processor
        for some in fixes:
            self.closer.add_fixes(some)
        answer = self.closer.add(keyframe, image)
        self._costs_ms[keyframe.stamp_ns] = (time.process_time() - start) * 1e3
        if answer.node is not None:
            self._nodes.append((keyframe.stamp_ns, answer.node, keyframe.T_odom_body))
        if isinstance(answer.closure, LoopClosure):
            self._closures.append(answer.closure)
            if answer.node is None and answer.T_map_odom is not None:
                self._localised.append((keyframe.stamp_ns, answer.T_map_odom))

    def result(self) -> LoopResult:
        """The results, with the corrections that the final map gives to its keyframes."""
        snapshot = self.closer.snapshot()
        of_nodes = [(stamp, snapshot.T_map_body[node] @ inverse(T)) for stamp, node, T in self._nodes]
        known = [(stamp, T) for stamp, T in of_nodes + self._localised if np.isfinite(T).all()]
        known.sort(key=lambda entry: entry[0])
        return LoopResult(
            np.array([stamp for stamp, _ in known], np.int64),
            np.array([T for _, T in known]).reshape(-1, 4, 4),
            self._costs_ms,
            self._closures,
            snapshot,
            time.process_time(),
            peak_rss_mb(),
            datum=self.closer.places.graph.datum,
        )
