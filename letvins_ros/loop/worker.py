# SPDX-License-Identifier: Apache-2.0
"""The loop closer in a process of its own.

The result depends on the keyframes alone, not on when they were processed.
"""

import pickle
import queue
import signal
import subprocess
import threading
from contextlib import suppress
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from typing import Any

import numpy as np

from letvins_ros.calibration import MountedCamera
from letvins_ros.config import LoopConfig
from letvins_ros.errors import LetvinsError, Rejected
from letvins_ros.helper_process import start_helper
from letvins_ros.inference.places import NETWORK
from letvins_ros.loop.log import LoopResult
from letvins_ros.loop.map_file import MapInfo
from letvins_ros.loop.serving import DONE, serve
from letvins_ros.types import GnssFixes, Keyframe
from letvins_ros.writing import check_writable

PATIENCE_S = 300.0  # without a keyframe processed, also on a loaded machine
MAX_QUEUED = 1000  # keyframes, some 400 MB of images
_END_S = 10.0  # between a signal that no process can refuse and its end


class LoopWorker:
    """Queues keyframes and processes them in its own process, whose end or failure harms nobody else.

    Two threads speak to it, so that no call waits longer than it is patient whatever the process does.
    """

    def __init__(self, config: LoopConfig, camera: MountedCamera, info: MapInfo, *, described: bool = False) -> None:
        """Raises LetvinsError where the map to start with, or the describer's network, cannot be used.

        So it does where the map cannot be saved at the end. Must be made in a thread that lasts until `finish`.
        described: the tracker describes the keyframes.
        """
        if config.save_map:
            check_writable(Path(config.save_map))
        ours, theirs = Pipe()
        self._process = start_helper(serve, theirs)
        theirs.close()
        self._to_send: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._received: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._fixes: list[GnssFixes] = []
        self._open = 0  # keyframes that are not processed yet
        self._result: Any = None  # LoopResult, or why there is none
        for task, messages in ((_send, self._to_send), (_receive, self._received)):
            threading.Thread(target=task, args=(ours, messages), name="loop", daemon=True).start()
        self._to_send.put((config, camera, info, described))
        if _may_fail_at_start(config):
            self._wait()
        if self._result is not None:
            self.abandon()
            failed = isinstance(self._result, Rejected)
            raise LetvinsError(f"loop closure: {self._result.reason}") if failed else self._result

    def add(self, keyframe: Keyframe, image: np.ndarray | None) -> None:
        """Queue a keyframe with its left gray image (H, W) uint8, None where a description must do.

        Returns at once unless very many are queued.
        """
        while not self._received.empty() or (self._open >= MAX_QUEUED and self._result is None):
            self._wait()
        if self._result is None:
            self._open += 1
            self._to_send.put((keyframe, image, *self._fixes))
        self._fixes = []

    def add_fixes(self, fixes: GnssFixes) -> None:
        """Fixes of before the next keyframe, which is queued with them."""
        if len(fixes):
            self._fixes.append(fixes)

    def abandon(self) -> None:
        """End the process without a result."""
        self._process.kill()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_END_S)
        self._to_send.put(None)

    def finish(self) -> LoopResult | Rejected:
        """Wait until every keyframe is processed; Rejected where the process has failed, hangs or is interrupted."""
        self._to_send.put(None)
        try:
            while self._result is None:
                self._wait()
            result = self._result
        except KeyboardInterrupt:
            result = Rejected("interrupted")
        self.abandon()
        return Rejected(str(result)) if isinstance(result, LetvinsError) else result

    def _wait(self) -> None:
        """Take the next message of the process; where it ends without a result or says nothing for too long, say so."""
        try:
            message = self._received.get(timeout=PATIENCE_S)
        except queue.Empty:
            message = Rejected(f"no progress for {PATIENCE_S:.0f} s, {self._open} keyframes are queued")
            self.abandon()
        if message is None:  # the connection is closed
            message = Rejected(f"its process ended with {self._how_it_ended()}")
        if self._result is None and not isinstance(message, str):
            self._result = message
        self._open -= message == DONE

    def _how_it_ended(self) -> str:
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_END_S)
        code = self._process.returncode or 0
        return f"exit code {code}" if code >= 0 else signal.Signals(-code).name


def _send(pipe: Connection, messages: "queue.SimpleQueue[Any]") -> None:
    """Send everything up to None, which is the end."""
    with suppress(OSError):  # the process has ended, which `_receive` says
        message: Any = ...
        while message is not None:
            message = messages.get()
            pipe.send(message)


def _receive(pipe: Connection, messages: "queue.SimpleQueue[Any]") -> None:
    """Receive everything, and None at the end of the process, which may come while it sends."""
    with suppress(EOFError, OSError, pickle.UnpicklingError):
        while True:
            messages.put(pipe.recv())
    messages.put(None)


def _may_fail_at_start(config: LoopConfig) -> bool:
    """Whether it needs a file or package that may be missing, so that the start waits until it is ready."""
    return bool(config.load_map) or config.describer == NETWORK
