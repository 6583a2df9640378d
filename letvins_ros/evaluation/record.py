# SPDX-License-Identifier: Apache-2.0
"""The record of a run, filled frame by frame."""

import time
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np

from letvins_ros.datasets.base import ReadReport
from letvins_ros.evaluation.trajectory import SECOND_NS, from_poses
from letvins_ros.types import Trajectory, VioState, VioStatus

STAGES = ("tracker_ms", "estimator_ms", "loop_ms", "total_ms")


@dataclass(frozen=True, eq=False, slots=True)
class Estimate:
    """What the results need of a VioState; a long run keeps it for every frame, so no more than that."""

    status: VioStatus
    reason: str
    T_odom_body: np.ndarray  # (4, 4)
    velocity_odom: np.ndarray  # (3,) m/s
    covariances: np.ndarray  # (3, 3, 3) float32: position in odom, m^2, rotation in the body, velocity in odom
    resets: int

    @staticmethod
    def of(state: VioState) -> "Estimate":
        """The part of a state, without a reference to the rest."""
        P = state.covariance
        blocks = np.stack([P[i : i + 3, i : i + 3] for i in (0, 3, 6)], dtype=np.float32)
        pose, velocity = state.T_odom_body.copy(), state.velocity_odom.copy()
        return Estimate(state.status, state.reason, pose, velocity, blocks, state.resets)


@dataclass(frozen=True, eq=False, slots=True)
class FrameResult:
    """The result of one frame and its processing times."""

    stamp_ns: int
    state: Estimate | None  # None: nothing yet
    T_map_odom: np.ndarray | None  # (4, 4), None: no map
    tracker_ms: float
    estimator_ms: float
    loop_ms: float
    total_ms: float
    features: int

    @property
    def status(self) -> VioStatus:
        """Status of the estimator."""
        return self.state.status if self.state else VioStatus.INITIALISING


def _clocks() -> tuple[float, float]:
    return time.perf_counter(), time.process_time()


@dataclass
class RunRecord:
    """What metrics and plots are made of. Wall and CPU time count from its creation to the last `add` or `end`."""

    frames_total: int  # that the source was expected to give
    source: str = ""
    report: ReadReport = field(default_factory=ReadReport)
    frames_dropped: int = 0  # not processed: too late in real time, or unreadable
    loops: int = 0
    loop_stamps_ns: np.ndarray = field(default_factory=lambda: np.zeros((0, 2), np.int64))  # the two ends of each
    loop_process: tuple[float, float] = (0.0, 0.0)  # CPU seconds and peak MB of the loop closer's process
    interrupted: bool = False
    warnings: list[dict[str, str | float]] = field(default_factory=list)  # code, message, since_s, remedy of each
    missing: str = ""  # which results there are not, and why
    calibration: dict[str, Any] = field(default_factory=dict)  # what was refined of it, as it is at the end
    frames: list[FrameResult] = field(default_factory=list)
    _started: tuple[float, float] = field(default_factory=_clocks)
    _ended: tuple[float, float] = field(default_factory=_clocks)

    def add(self, frame: FrameResult) -> None:
        """Append a processed frame."""
        self.frames.append(frame)
        self.end()

    def end(self) -> None:
        """Count wall and CPU time up to now."""
        self._ended = _clocks()

    @property
    def wall_s(self) -> float:
        """Seconds the run took."""
        return self._ended[0] - self._started[0]

    @property
    def cpu_s(self) -> float:
        """Processor seconds that all threads of the process and the loop closer's used."""
        return self._ended[1] - self._started[1] + self.loop_process[0]

    @property
    def duration_s(self) -> float:
        """Sensor seconds from the first frame to the last."""
        return self.seconds(self.frames[-1].stamp_ns) if self.frames else 0.0

    def seconds(self, stamp_ns: int) -> float:
        """Time since the first frame."""
        return (stamp_ns - self.frames[0].stamp_ns) / SECOND_NS

    def posed(self) -> list[tuple[FrameResult, Estimate]]:
        """Frames with a pose, and the states that hold it."""
        return [(f, f.state) for f in self.frames if f.state and f.status is not VioStatus.INITIALISING]

    def trajectory(self) -> Trajectory:
        """T_odom_body of each frame with a pose, as estimated at that frame (causal)."""
        posed = self.posed()
        return _trajectory([f for f, _ in posed], [s.T_odom_body for _, s in posed])

    def map_trajectory(self) -> Trajectory:
        """T_map_body of the same frames."""
        posed = self.posed()
        T = [s.T_odom_body if f.T_map_odom is None else f.T_map_odom @ s.T_odom_body for f, s in posed]
        return _trajectory([f for f, _ in posed], T)

    def resets(self) -> list[tuple[float, str]]:
        """Time (s since the first frame) and reason of each reset of the odom frame."""
        known = [(f, f.state) for f in self.frames if f.state]
        pairs = pairwise(known)
        return [(self.seconds(f.stamp_ns), now.reason) for (_, before), (f, now) in pairs if now.resets > before.resets]


def _trajectory(frames: list[FrameResult], T: list[np.ndarray]) -> Trajectory:
    return from_poses([f.stamp_ns for f in frames], np.stack(T) if T else np.empty((0, 4, 4)))
