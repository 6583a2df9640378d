# SPDX-License-Identifier: Apache-2.0
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from letvins_ros.config import LoopConfig
from letvins_ros.errors import DataError, Rejected
from letvins_ros.loop.closer import LoopCloser, MapSnapshot
from letvins_ros.loop.log import LoopResult
from letvins_ros.loop.map_file import MapInfo
from letvins_ros.loop.motion import exp
from letvins_ros.loop.serving import DONE, GOING_ON, serve
from letvins_ros.loop.worker import LoopWorker
from letvins_ros.simulation.rigs import EUROC_RIG
from letvins_ros.types import Keyframe

from ..command import ROOT
from ..processes import wait
from ..some import some

CAMERA = EUROC_RIG.cameras[0]
INFO = MapInfo.of(CAMERA, True)


def keyframes(count: int) -> list[Keyframe]:
    uv = np.random.default_rng(0).uniform(50, 400, (40, 2)).astype(np.float32)
    made = []
    for i in range(count):
        T = exp(np.r_[0, 0, 0, 0.5 * i, 0, 0])
        before = np.stack([exp(np.r_[0, 0, 0, 0.5 * j, 0, 0]) for j in range(i)]) if i else np.zeros((0, 4, 4))
        tight = np.eye(6) * 1e-6
        made.append(Keyframe(i, i * 10**9, T, tight, before, tight, np.arange(40), uv, np.ones((40, 3))))
    return made


def test_a_worker_looks_at_every_keyframe_and_gives_its_map() -> None:
    worker = LoopWorker(LoopConfig(), CAMERA, INFO)
    for keyframe in keyframes(4):
        worker.add(keyframe, np.zeros((480, 752), np.uint8))
    result = worker.finish()
    assert isinstance(result, LoopResult)
    assert list(result.costs_ms) == [0, 10**9, 2 * 10**9, 3 * 10**9]
    assert len(result.snapshot.stamps_ns) == 4 and not result.closures
    np.testing.assert_allclose(result.T_map_odom, np.broadcast_to(np.eye(4), (4, 4, 4)), atol=1e-12)


def test_the_memory_told_is_that_of_the_worker_alone() -> None:
    held = np.ones(40_000_000)  # by the parent, when the worker starts
    result = LoopWorker(LoopConfig(), CAMERA, INFO).finish()
    assert isinstance(result, LoopResult)
    assert 10 < result.peak_rss_mb < held.nbytes / 1e6


def test_a_run_without_keyframes_has_an_empty_map() -> None:
    result = LoopWorker(LoopConfig(), CAMERA, INFO).finish()
    assert isinstance(result, LoopResult)
    assert len(result.snapshot.T_map_body) == 0 and result.T_map_odom_at([1]) == [None]


def test_a_map_that_cannot_be_loaded_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot read the map"):
        LoopWorker(replace(LoopConfig(), load_map=str(tmp_path / "none")), CAMERA, INFO)


def test_a_failure_in_the_worker_is_told() -> None:
    worker, image = LoopWorker(LoopConfig(), CAMERA, INFO), cast(np.ndarray, "no image")
    worker.add(keyframes(1)[0], image)
    answer = worker.finish()
    assert isinstance(answer, Rejected) and "Error: " in answer.reason


@pytest.mark.skipif(sys.platform != "linux", reason="priorities of threads are Linux's")
@pytest.mark.parametrize("privileged", [False, True])
def test_keyframes_that_a_run_waits_for_are_processed_at_normal_priority(
    privileged: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before, on an idle core only. Without privileges, the one that is being processed then keeps its priority."""
    policies, begun, given = [], threading.Event(), threading.Event()
    set_policy = os.sched_setscheduler

    def add(self: LoopCloser, keyframe: Keyframe, image: np.ndarray) -> None:
        policies.append([os.sched_getscheduler(0)])
        begun.set()
        assert given.wait(60)
        time.sleep(0.2)
        policies[-1].append(os.sched_getscheduler(0))

    def limited(thread: int, policy: int, parameters: os.sched_param) -> None:
        if policy == os.SCHED_OTHER and not privileged:
            raise PermissionError
        set_policy(thread, policy, parameters)

    class Pipe(Any):
        def __init__(self) -> None:
            self.messages = [(LoopConfig(), CAMERA, INFO, False), *((one, None) for one in keyframes(3)), None]
            self.answers = list[Any]()

        def recv(self) -> object:
            message = self.messages.pop(0)
            if message is None:
                assert begun.wait(60)
                given.set()
            return message

        def send(self, answer: Any) -> None:
            self.answers.append(answer)

    monkeypatch.setattr("letvins_ros.loop.log.LoopLog.add", add)
    monkeypatch.setattr("os.sched_setscheduler", limited)
    pipe = Pipe()
    serve(pipe)
    assert policies[0] == [os.SCHED_IDLE, os.SCHED_OTHER if privileged else os.SCHED_IDLE]
    assert policies[1:] == [[os.SCHED_OTHER, os.SCHED_OTHER]] * 2
    assert pipe.answers[:-1] == [GOING_ON, DONE, DONE, DONE, GOING_ON]
    assert isinstance(pipe.answers[-1], LoopResult)


def test_a_killed_worker_is_told_and_holds_nobody_up() -> None:
    """The pipe to it takes 64 kB: a run that hands over more must neither wait for it nor at its own end."""
    code = """
import numpy as np, os, signal
from test.loop.test_loop_worker import CAMERA, INFO, keyframes
from letvins_ros.config import LoopConfig
from letvins_ros.loop.worker import LoopWorker
if __name__ == "__main__":
    worker = LoopWorker(LoopConfig(), CAMERA, INFO)
    os.kill(worker._process.pid, signal.SIGSTOP)  # so that it reads nothing
    for keyframe in keyframes(20):
        worker.add(keyframe, np.zeros((480, 752), np.uint8))
    os.kill(worker._process.pid, signal.SIGKILL)
    for keyframe in keyframes(20):
        worker.add(keyframe, np.zeros((480, 752), np.uint8))
    print(worker.finish())
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True, timeout=60
    )
    assert done.stdout == "Rejected(reason='its process ended with SIGKILL')\n"
    assert not done.stderr


def test_a_worker_that_does_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("letvins_ros.loop.worker.PATIENCE_S", 2.0)
    monkeypatch.setattr("letvins_ros.loop.worker.MAX_QUEUED", 2)
    worker = LoopWorker(LoopConfig(), CAMERA, INFO)
    os.kill(worker._process.pid, signal.SIGSTOP)
    for keyframe in keyframes(3):
        worker.add(keyframe, np.zeros((480, 752), np.uint8))
    assert worker.finish() == Rejected("no progress for 2 s, 2 keyframes are queued")
    assert worker._process.poll() == -signal.SIGKILL


def test_ctrl_c_while_loops_are_closed_ends_the_waiting() -> None:
    code = """
import os, signal, threading
from test.loop.test_loop_worker import CAMERA, INFO
from letvins_ros.config import LoopConfig
from letvins_ros.loop.worker import LoopWorker
if __name__ == "__main__":
    worker = LoopWorker(LoopConfig(), CAMERA, INFO)
    os.kill(worker._process.pid, signal.SIGSTOP)
    threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
    print(worker.finish().reason, worker._process.poll())
"""
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, check=False, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.returncode) == ("interrupted -9\n", 0), done.stderr


def test_the_worker_ends_with_its_parent() -> None:
    code = """
import time
from test.loop.test_loop_worker import CAMERA, INFO
from letvins_ros.config import LoopConfig
from letvins_ros.loop.worker import LoopWorker
if __name__ == "__main__":
    worker = LoopWorker(LoopConfig(), CAMERA, INFO)
    print(worker._process.pid, flush=True)
    time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True) as parent:
        worker = Path(f"/proc/{int(some(parent.stdout).readline())}")
        time.sleep(3.0)  # until it imports what it needs, or later
        assert worker.exists()
        parent.kill()
    wait(lambda: not worker.exists(), 3.0)


def test_a_map_that_cannot_be_saved_costs_only_itself(tmp_path: Path) -> None:
    file = tmp_path / "maps" / "a.map"
    worker = LoopWorker(replace(LoopConfig(), save_map=str(file)), CAMERA, INFO)
    for keyframe in keyframes(2):
        worker.add(keyframe, np.zeros((480, 752), np.uint8))
    file.mkdir()
    (file / "full").touch()
    result = worker.finish()
    assert isinstance(result, LoopResult) and result.unsaved
    assert len(result.costs_ms) == 2
    assert result.unsaved.startswith(f"cannot write {file}: ")


def test_a_map_that_can_never_be_saved_stops_the_start(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path, problem in ((tmp_path / "file" / "a.map", "Not a directory|File exists"), (tmp_path, "it is a folder")):
        with pytest.raises(DataError, match=f"cannot write .*: ({problem})"):
            LoopWorker(replace(LoopConfig(), save_map=str(path)), CAMERA, INFO)


def result_of(stamps: list[int], T: list[np.ndarray]) -> LoopResult:
    snapshot = MapSnapshot(np.zeros(0, int), np.zeros(0, int), np.zeros((0, 4, 4)), np.zeros((0, 2), int))
    return LoopResult(np.array(stamps, np.int64), np.array(T).reshape(-1, 4, 4), {}, [], snapshot, 0.0, 0.0)


def test_corrections_run_smoothly_between_keyframes() -> None:
    last = exp(np.r_[0, 0, 0.2, 1.0, 0, 0])
    result = result_of([100, 200], [np.eye(4), last])
    before, start, middle, end, after = result.T_map_odom_at([0, 100, 150, 200, 900])
    np.testing.assert_allclose(some(before), np.eye(4), atol=1e-12)
    np.testing.assert_allclose(some(start), np.eye(4), atol=1e-12)
    np.testing.assert_allclose(some(middle), exp(np.r_[0, 0, 0.1, 0.5, 0, 0]), atol=1e-9)
    np.testing.assert_allclose(some(end), last, atol=1e-9)
    np.testing.assert_allclose(some(after), last, atol=1e-9)


def test_without_a_place_in_the_map_there_is_no_correction() -> None:
    assert result_of([], []).T_map_odom_at([1, 2]) == [None, None]
