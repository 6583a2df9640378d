# SPDX-License-Identifier: Apache-2.0
"""The loop closer in a process of its own: GTSAM holds Python's lock while it solves, so a thread would delay odometry.

The result depends on the keyframes alone, not on when they were processed.
"""

import multiprocessing
import os
import pickle
import signal
import time
import traceback
from dataclasses import dataclass, replace
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
from letvins_ros.errors import DataError, LetvinsError, Rejected
from letvins_ros.geometry import inverse
from letvins_ros.loop.closer import LoopCloser, MapSnapshot
from letvins_ros.loop.map_file import MapInfo, load_map, save_map
from letvins_ros.loop.motion import exp, log
from letvins_ros.loop.place_map import PlaceMap
from letvins_ros.memory import peak_rss_mb
from letvins_ros.processes import end_with_parent
from letvins_ros.types import Keyframe, LoopClosure
from letvins_ros.writing import check_writable

NICENESS = 19  # odometry goes first where cores are few
PATIENCE_S = 600.0  # without a keyframe processed; the process gets only what time others leave
MAX_QUEUED = 1000  # keyframes, some 400 MB of images


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
    """Queues keyframes and processes them in its own process, whose end or failure harms nobody else."""

    def __init__(self, config: LoopConfig, camera: MountedCamera, info: MapInfo) -> None:
        """Raises LetvinsError where the map to start with, or the describer's network, cannot be used.

        So it does where the map cannot be saved at the end. Must be made in a thread that lasts until `finish`.
        """
        if config.save_map:
            check_writable(Path(config.save_map))
        context = multiprocessing.get_context("spawn")
        self._keyframes: Queue[Any] = context.Queue()
        self._keyframes.cancel_join_thread()  # nobody may wait for a pipe that a dead process was to read
        self._result, theirs = context.Pipe(duplex=False)
        arguments = (os.getpid(), config, camera, info, self._keyframes, theirs)
        self._process = context.Process(target=_work, args=arguments, name="loop", daemon=True)
        self._process.start()
        theirs.close()
        if _may_fail_at_start(config):
            started = self._receive()
            if started is not None:
                raise started if isinstance(started, LetvinsError) else LetvinsError(f"loop closure: {started.reason}")

    def add(self, keyframe: Keyframe, image: np.ndarray) -> None:
        """Queue a keyframe with its left gray image (H, W) uint8; returns at once unless very many are queued."""
        until = time.monotonic() + PATIENCE_S
        while self._keyframes.qsize() >= MAX_QUEUED and self._process.is_alive() and time.monotonic() < until:
            time.sleep(0.01)
        if self._process.is_alive():
            self._keyframes.put((keyframe, image))

    def abandon(self) -> None:
        """End the process without a result."""
        self._process.kill()
        self._process.join()

    def finish(self) -> LoopResult | Rejected:
        """Wait until every keyframe is processed; Rejected where the process has failed, hangs or is interrupted."""
        try:
            if self._process.is_alive():
                self._keyframes.put(None)
            result = self._receive()
        except KeyboardInterrupt:
            result = Rejected("interrupted")
        self._process.join(0 if isinstance(result, Rejected) else PATIENCE_S)
        self.abandon()
        return Rejected(str(result)) if isinstance(result, LetvinsError) else result

    def _receive(self) -> Any:
        """What the process sends; Rejected where it ends without, or does nothing for too long."""
        queued, since = -1, time.monotonic()
        while not wait([self._result, self._process.sentinel], timeout=1.0):
            if self._keyframes.qsize() != queued:
                queued, since = self._keyframes.qsize(), time.monotonic()
            if time.monotonic() - since > PATIENCE_S:
                return Rejected(f"no progress for {PATIENCE_S:.0f} s, {queued} keyframes are queued")
        try:
            if self._result.poll():
                return self._result.recv()
        except (EOFError, OSError, pickle.UnpicklingError):  # it ended while it sent
            pass
        self._process.join(PATIENCE_S)
        code = self._process.exitcode or 0
        return Rejected(f"its process ended with {f'exit code {code}' if code >= 0 else signal.Signals(-code).name}")


def _may_fail_at_start(config: LoopConfig) -> bool:
    """Whether it needs a file or package that may be missing, so that the start waits until it is ready."""
    return bool(config.load_map) or config.describer != "orb"


def _work(  # noqa: PLR0913  (all that the process is given)
    parent: int, config: LoopConfig, camera: MountedCamera, info: MapInfo, keyframes: "Queue[Any]", out: Connection
) -> None:
    """Run in the child."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends the run
    end_with_parent(parent)
    _lower_priority()
    cv2.setNumThreads(1)
    faiss.omp_set_num_threads(1)
    try:
        with threadpool_limits(1):
            out.send(_close_loops(config, camera, info, keyframes, out))
    except LetvinsError as error:
        out.send(error)
    except Exception as error:
        traceback.print_exc()
        out.send(Rejected(f"{type(error).__name__}: {error}"))


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
    return replace(records.result(), unsaved=_save(config.save_map, final, info))


def _save(path: str, places: PlaceMap, info: MapInfo) -> str:
    """Write the map if it is wanted; why it could not be."""
    try:
        if path:
            save_map(Path(path), places, info)
    except DataError as error:
        return str(error)
    return ""


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
