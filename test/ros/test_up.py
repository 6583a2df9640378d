# SPDX-License-Identifier: Apache-2.0
"""How processes are started, watched and ended together; with stand-ins for the nodes, so no ROS is needed."""

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from letvins_ros.errors import LetvinsError
from letvins_ros.processes import PARENT
from letvins_ros.ros import up
from letvins_ros.ros.system import System
from letvins_ros.ros.up import Process

from ..command import ROOT
from ..processes import runs, wait
from ..some import some

Start = Callable[..., list[Process]]

READY = "print('ready', flush=True)"
WAIT = """
import signal, sys, threading
from letvins_ros.ros.start import signals_noted
def main():
    with signals_noted() as ended:
        print("ready", *sys.argv[1:], flush=True)
        ended.wait()
"""
NODES = {
    "steady": WAIT,
    "unsaved": WAIT + "    sys.exit(1)\n",
    "failing": "import sys\ndef main():\n    print('error: no such file', flush=True)\n    sys.exit(3)\n",
    "dataset_player": "import time\ndef main():\n    time.sleep(0.3)\n",
    "talking": WAIT.replace("ended.wait()", "[print(i, 'x' * 100) for i in range(5000)]"),
    "wordy": WAIT + "        for i in range(5000):\n            print(i, 'x' * 100)\n",
    "deaf": f"import signal, time\ndef main():\n    signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
    f"    signal.signal(signal.SIGTERM, signal.SIG_IGN)\n    {READY}\n    time.sleep(600)\n",
    "environment": "import os\ndef main():\n    print(sorted(os.environ), flush=True)\n",
}


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """Starts stand-ins for nodes by name; none of them is left at the end."""
    (tmp_path / "nodes").mkdir()
    for name, code in NODES.items():
        (tmp_path / "nodes" / f"{name}.py").write_text(code)
    ours = f"import letvins_ros.ros\nletvins_ros.ros.__path__.insert(0, {str(tmp_path / 'nodes')!r})\n"
    (tmp_path / "sitecustomize.py").write_text(ours)
    monkeypatch.setattr(up, "PATIENCE_S", 1.0)
    monkeypatch.setattr(up, "RESTART_DELAY_S", 0.01)
    monkeypatch.setattr(up, "SETTLE_S", 0.01)
    started = []
    env = {**os.environ, "PYTHONPATH": f"{tmp_path}:{ROOT}"}

    def settled(process: Process, ready: bool) -> bool:
        return not ready or bool(process.last) or process.ended() is not None

    def of(*names: str, ready: bool = True) -> list[Process]:
        made = [up.Process(name, [], env) for name in names]
        started.extend(made)
        for process in made:
            wait(partial(settled, process, ready))
        return made

    yield of
    for process in started:
        process.popen.kill()
        process.popen.wait()


def watch(processes: list[Process]) -> Process | None:
    return up._watch(processes, threading.Event())


def test_what_a_process_says_has_its_name_before_it(start: Start, capfd: pytest.CaptureFixture[str]) -> None:
    (node,) = start("steady")
    wait(lambda: "ready" in node.last)
    assert "[steady] ready --ros-args --disable-external-lib-logs\n" in capfd.readouterr().out
    assert up.stop([node]) == 0
    assert node.ended() == 0


def test_a_killed_process_is_started_again_until_it_is_too_often(
    start: Start, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(up, "RESTARTS", 2)
    node, other = start("steady", "steady")
    pids, over = set(), threading.Event()

    def kill_all() -> None:
        while not over.wait(0.02):
            pids.add(node.popen.pid)
            node.popen.kill()

    killer = threading.Thread(target=kill_all)
    killer.start()
    assert some(watch([node, other])) is node
    over.set()
    killer.join()
    said = capfd.readouterr().out
    assert [f"({i} of 2)" in said for i in (1, 2, 3)] == [True, True, False]
    assert other.ended() is None
    assert len(pids) == 3
    assert up.stop([node, other], node) == 1
    assert "[steady] ended with SIGKILL, the others are stopped; " in capfd.readouterr().out


def test_a_failed_process_ends_the_others_with_its_code_and_its_last_words_are_the_last(
    start: Start, capfd: pytest.CaptureFixture[str]
) -> None:
    nodes = start("wordy", "failing", ready=False)
    failed = some(watch(nodes))
    assert failed is nodes[1]
    assert up.stop(nodes, failed) == 3
    last = capfd.readouterr().out.splitlines()[-1]
    assert last == "[failing] ended with exit code 3, the others are stopped; error: no such file"


def test_the_end_of_the_recording_is_no_failure(start: Start) -> None:
    nodes = start("steady")
    nodes += start("dataset_player", ready=False)
    assert watch(nodes) is None
    assert up.stop(nodes) == 0


def test_a_process_that_does_not_end_is_killed_and_that_is_told(
    start: Start, capfd: pytest.CaptureFixture[str]
) -> None:
    nodes = start("steady", "deaf")
    assert up.stop(nodes) == 1
    assert [node.ended() for node in nodes] == [0, -9]
    assert "[deaf] did not end and was killed\n" in capfd.readouterr().out


def test_a_process_that_could_not_do_what_it_does_at_its_end_is_a_failure_and_told(
    start: Start, capfd: pytest.CaptureFixture[str]
) -> None:
    nodes = start("steady", "unsaved")
    assert up.stop(nodes) == 1
    assert [node.ended() for node in nodes] == [0, 1]
    said = capfd.readouterr().out
    assert "[unsaved] ended with exit code 1 when all were stopped; ready" in said
    assert "[steady] ended" not in said


def test_a_full_disk_under_the_output_holds_no_process_up(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    with open("/dev/full", "w") as full:  # noqa: PTH123
        monkeypatch.setattr(sys, "stdout", full)
        (node,) = start("talking")
        assert node.popen.wait(20) == 0
        node.last_words()
        monkeypatch.undo()
        with pytest.raises(OSError, match="No space left"):
            full.close()
    assert node.last.startswith("4999 ")


def test_a_process_hides_from_its_own_children_whose_child_it_is(start: Start) -> None:
    (node,) = start("environment")
    node.popen.wait(20)
    assert "PATH" in node.last_words() and PARENT not in node.last_words()


PARENT_PROCESS = """
import os, sys, time
from letvins_ros.ros import up
made = [up.Process(name, [], dict(os.environ)) for name in sys.argv[1:]]
while not all(process.last for process in made):
    time.sleep(0.01)
print("children", *(process.popen.pid for process in made), flush=True)
time.sleep(600)
"""


def test_children_end_with_a_parent_that_was_killed_also_those_that_ignore_signals(
    start: Start, tmp_path: Path
) -> None:
    command = [sys.executable, "-c", PARENT_PROCESS, "steady", "deaf"]
    env = {**os.environ, "PYTHONPATH": f"{tmp_path}:{ROOT}"}
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True) as parent:
        told = next(line for line in some(parent.stdout) if line.startswith("children"))
        pids = list(map(int, told.split()[1:]))
        assert all(map(runs, pids))
        parent.kill()
    wait(lambda: not any(map(runs, pids)), 3.0)


def test_a_child_whose_parent_is_gone_before_it_can_ask_ends_at_once(start: Start, tmp_path: Path) -> None:
    env = {**os.environ, "PYTHONPATH": f"{tmp_path}:{ROOT}", PARENT: "1"}
    command = [sys.executable, "-m", "letvins_ros.ros.start", "steady"]
    assert subprocess.run(command, env=env, check=False, timeout=20, capture_output=True).returncode in (0, 1)


def test_a_bag_that_exists_or_cannot_be_written_is_named_before_anything_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(up, "environment", lambda fastdds: dict(os.environ))
    (tmp_path / "file").touch()
    for path, why in ((tmp_path, "exists already"), (tmp_path / "file" / "bag", "cannot write .*file/bag")):
        with pytest.raises(LetvinsError, match=why):
            up.run_system(System(), path)


def test_a_process_that_was_killed_before_all_were_stopped_is_told_too(
    start: Start, capfd: pytest.CaptureFixture[str]
) -> None:
    nodes = start("steady", "unsaved")
    nodes[1].popen.kill()
    wait(lambda: nodes[1].ended() is not None)
    assert up.stop(nodes) == 1
    assert "[unsaved] ended with SIGKILL when all were stopped; ready" in capfd.readouterr().out


@pytest.mark.parametrize("old", [False, True])
def test_a_map_that_nobody_has_saved_is_told(
    old: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Such as by a node that had just been started again when the recording ended."""
    path = tmp_path / "a.map"
    if old:
        path.write_text("of another day")
    for name, value in (
        ("environment", lambda fastdds: {}),
        ("resolve", lambda parameters: None),
        ("stop", lambda *_: 0),
    ):
        monkeypatch.setattr(up, name, value)
    monkeypatch.setattr(up, "Process", lambda *_: None)
    monkeypatch.setattr(up, "_watch", lambda *_: None)
    assert up.run_system(System(save_map=str(path))) == 1
    assert capfd.readouterr().out == f"[loop_closure] error: no map was saved to {path}\n"
    monkeypatch.setattr(up, "_watch", lambda *_: path.write_text("new") and None)
    assert up.run_system(System(save_map=str(path))) == 0
