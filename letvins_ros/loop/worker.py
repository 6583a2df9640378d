# SPDX-License-Identifier: Apache-2.0
"""The loop closer in a process of its own: GTSAM holds Python's lock while it solves, so a thread would delay odometry.

The result depends on the keyframes alone, not on when they were processed.
"""

import multiprocessing
import os
import signal
import time
import traceback
from dataclasses import dataclass
from itertools import pairwise
from multiprocessing.connection import Connection, wait
from multiprocessing.queues import Queue
from pathlib import Path
from typing import Any

import cv2
import faiss
import numpy as np
from threadpoolctl import threadpool_limits

from letvins_ros.calibration import MountedCamera
from letvins_ros.config import LoopConfig
from letvins_ros.errors import LetvinsError
from letvins_ros.geometry import inverse
from letvins_ros.loop.closer import LoopCloser, MapSnapshot
from letvins_ros.loop.map_file import MapInfo, load_map, save_map
from letvins_ros.loop.motion import exp, log
from letvins_ros.memory import peak_rss_mb
from letvins_ros.types import Keyframe, LoopClosure

NICENESS = 19  # odometry goes first where cores are few


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


class LoopWorker:
    """Queues keyframes and processes them in its own process."""

    def __init__(self, config: LoopConfig, camera: MountedCamera, info: MapInfo) -> None:
        """Raises LetvinsError where the map to start with, or the describer's network, cannot be used."""
        context = multiprocessing.get_context("spawn")
        self._keyframes: Queue[Any] = context.Queue()
        self._result, theirs = context.Pipe(duplex=False)
        arguments = (config, camera, info, self._keyframes, theirs)
        self._process = context.Process(target=_work, args=arguments, name="loop", daemon=True)
        self._process.start()
        theirs.close()
        if _may_fail_at_start(config):
            self._receive()

    def add(self, keyframe: Keyframe, image: np.ndarray) -> None:
        """Queue a keyframe with its left gray image (H, W) uint8; returns at once."""
        self._keyframes.put((keyframe, image))

    def finish(self) -> LoopResult:
        """Wait until every keyframe is processed. Raises RuntimeError where the worker has failed."""
        self._keyframes.put(None)
        result = self._receive()
        self._process.join()
        return result

    def _receive(self) -> Any:
        wait([self._result, self._process.sentinel])
        if not self._result.poll():
            raise RuntimeError(f"the loop closer's process has ended with code {self._process.exitcode}")
        answer = self._result.recv()
        if isinstance(answer, LetvinsError):
            raise answer
        if isinstance(answer, str):
            raise RuntimeError(f"the loop closer has failed:\n{answer}")
        return answer


def _may_fail_at_start(config: LoopConfig) -> bool:
    """Whether it needs a file or package that may be missing, so that the start waits until it is ready."""
    return bool(config.load_map) or config.describer != "orb"


def _work(config: LoopConfig, camera: MountedCamera, info: MapInfo, keyframes: "Queue[Any]", out: Connection) -> None:
    """Run in the child."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends the run
    _lower_priority()
    cv2.setNumThreads(1)
    faiss.omp_set_num_threads(1)
    try:
        with threadpool_limits(1):
            out.send(_close_loops(config, camera, info, keyframes, out))
    except LetvinsError as error:
        out.send(error)
    except Exception:
        out.send(traceback.format_exc())


def _lower_priority() -> None:
    """Run only on an idle core: with a high nice value alone, others would still wait for its time slice."""
    os.nice(NICENESS)
    if hasattr(os, "SCHED_IDLE"):
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))


def _close_loops(
    config: LoopConfig, camera: MountedCamera, info: MapInfo, keyframes: "Queue[Any]", out: Connection
) -> LoopResult:
    places = load_map(Path(config.load_map), info)[0] if config.load_map else None
    closer = LoopCloser(config, camera, info.gravity_aligned, places)
    if _may_fail_at_start(config):
        out.send(None)
    records = LoopLog(closer)
    while (item := keyframes.get()) is not None:
        records.add(*item)
    final = closer.optimised_map()
    if config.save_map:
        save_map(Path(config.save_map), final, info)
    return records.result()


class LoopLog:
    """A loop closer and the log of its answers."""

    def __init__(self, closer: LoopCloser) -> None:
        self._closer = closer
        self._nodes: list[tuple[int, int, np.ndarray]] = []  # stamp, node and T_odom_body of kept keyframes
        self._localised: list[tuple[int, np.ndarray]] = []  # stamp and T_map_odom of those that became no node
        self._costs_ms: dict[int, float] = {}
        self._closures: list[LoopClosure] = []

    def add(self, keyframe: Keyframe, image: np.ndarray) -> None:
        """Process a keyframe."""
        start = time.process_time()  # the clock goes on while others have the processor
        answer = self._closer.add(keyframe, image)
        self._costs_ms[keyframe.stamp_ns] = (time.process_time() - start) * 1e3
        if answer.node is not None:
            self._nodes.append((keyframe.stamp_ns, answer.node, keyframe.T_odom_body))
        if isinstance(answer.closure, LoopClosure):
            self._closures.append(answer.closure)
            if answer.node is None and answer.T_map_odom is not None:
                self._localised.append((keyframe.stamp_ns, answer.T_map_odom))

    def result(self) -> LoopResult:
        """The results, with the corrections that the final map gives to its keyframes."""
        snapshot = self._closer.snapshot()
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
        )
