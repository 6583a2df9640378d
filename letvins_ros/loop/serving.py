# SPDX-License-Identifier: Apache-2.0
"""What the loop closer's process does: keyframes in, an answer for each, the results of the run at the end.

While the run goes on, it works on an idle core only. When the run waits for it, the rest is done at normal priority: by
another thread, as the system lets nobody without privileges raise the priority of a thread.
"""

import os
import sys
import traceback
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import cv2
from threadpoolctl import threadpool_limits

from letvins_ros.calibration import MountedCamera
from letvins_ros.config import LoopConfig
from letvins_ros.errors import DataError, LetvinsError, Rejected
from letvins_ros.loop.closer import LoopCloser
from letvins_ros.loop.describers import open_describer
from letvins_ros.loop.log import LoopLog, LoopResult
from letvins_ros.loop.map_file import MapInfo, load_map, save_map
from letvins_ros.loop.place_map import PlaceMap

DONE, GOING_ON = "done", "going on"  # answers: a keyframe is processed; something else is
NICENESS = 19  # odometry goes first where cores are few


def serve(pipe: Connection) -> None:
    """Receive what LoopWorker is made of, then keyframes with images, then None.

    Each keyframe is answered by DONE, None by a LoopResult; GOING_ON comes after what else takes time. A LetvinsError
    or Rejected is the last answer.
    """
    try:
        pipe.send(_close_loops(pipe, *pipe.recv()))
    except LetvinsError as error:
        pipe.send(error)
    except Exception as error:
        traceback.print_exc()
        pipe.send(Rejected(f"{type(error).__name__}: {error}"))


def _close_loops(
    pipe: Connection, config: LoopConfig, camera: MountedCamera, info: MapInfo, described: bool
) -> LoopResult:
    _one_core()
    idle = ThreadPoolExecutor(1, "idle", _step_back)
    try:
        log = idle.submit(_open, config, camera, info, described).result()
        pipe.send(GOING_ON)
        left = _while_running(pipe, idle, log)
    finally:
        idle.shutdown(wait=False, cancel_futures=True)
    for item in left:
        log.add(*item)
        pipe.send(DONE)
    final = log.closer.optimised_map()
    pipe.send(GOING_ON)
    return replace(log.result(), unsaved=_save(config.save_map, final, info))


def _open(config: LoopConfig, camera: MountedCamera, info: MapInfo, described: bool) -> LoopLog:
    places = load_map(Path(config.load_map), info)[0] if config.load_map else None
    describer = open_describer(config, camera, info.gravity_aligned, described=described)
    return LoopLog(LoopCloser(config, camera, info.gravity_aligned, places, describer))


def _while_running(pipe: Connection, idle: ThreadPoolExecutor, log: LoopLog) -> list[Any]:
    """Process keyframes until None comes, finish the one at hand; those that are left then."""

    def process(item: Any) -> None:
        log.add(*item)
        pipe.send(DONE)

    waiting: deque[tuple[Any, Future[None]]] = deque()
    while (item := pipe.recv()) is not None:
        waiting.append((item, idle.submit(process, item)))
        while waiting and waiting[0][1].done():
            waiting.popleft()[1].result()
    left = [item for item, task in waiting if task.cancel()]
    _step_forward()
    for _, task in waiting:
        if not task.cancelled():
            task.result()
    return left


def _one_core() -> None:
    cv2.setNumThreads(1)
    threadpool_limits(1)


def _step_back() -> None:
    """Run only on an idle core: with a high nice value alone, others would still wait for its time slice."""
    _one_core()
    if sys.platform == "linux":  # of this thread and those that it starts
        os.nice(NICENESS)
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))


def _step_forward() -> None:
    """Normal priority for all threads where that is allowed, so that also what they are at goes on."""
    if sys.platform == "linux":
        for thread in Path("/proc/self/task").iterdir():
            with suppress(OSError):
                os.sched_setscheduler(int(thread.name), os.SCHED_OTHER, os.sched_param(0))
                os.setpriority(os.PRIO_PROCESS, int(thread.name), 0)


def _save(path: str, places: PlaceMap, info: MapInfo) -> str:
    """Write the map if it is wanted; why it could not be."""
    try:
        if path:
            save_map(Path(path), places, info)
    except DataError as error:
        return str(error)
    return ""
