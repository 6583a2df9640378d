# SPDX-License-Identifier: Apache-2.0
"""Starts the nodes as processes, shows what they say, restarts those that were killed, ends them together."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from letvins_ros.errors import LetvinsError
from letvins_ros.processes import PARENT
from letvins_ros.ros.resolve import resolve
from letvins_ros.ros.shared_memory import remove_abandoned
from letvins_ros.ros.start import SIGNALS, signals_noted
from letvins_ros.ros.system import System, environment, programs
from letvins_ros.writing import check_writable

PATIENCE_S = 5.0  # a node has so long to end after SIGINT, then after SIGTERM
RESTARTS, RESTART_DELAY_S = 10, 0.1
NO_FILES = ["--ros-args", "--disable-external-lib-logs"]  # what is shown here, ROS would keep in the home folder too
SETTLE_S = 1.5  # what the nodes still publish when the recording has ended


class Process:
    """One node, whose output comes out with its name before each line."""

    def __init__(self, name: str, arguments: list[str], env: Mapping[str, str]) -> None:
        """Start it."""
        self.name, self._env = name, env
        self._command = [sys.executable, "-m", "letvins_ros.ros.start", name, *arguments, *NO_FILES]
        self.restarts, self.last = 0, ""  # the line that it wrote last
        self.start()

    def start(self) -> None:
        """Start, or start again."""
        before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)  # for the child, until it can answer them
        self.popen = subprocess.Popen(  # noqa: S603  (our own nodes)  its own session, so that Ctrl-C reaches it through us only
            self._command, env={**self._env, PARENT: str(os.getpid())}, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, errors="replace", start_new_session=True,
        )  # fmt: skip
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        self._relaying = threading.Thread(target=self._relay, args=(self.popen,), daemon=True)
        self._relaying.start()

    def _relay(self, popen: "subprocess.Popen[str]") -> None:
        for line in popen.stdout or ():
            self.last = line.strip() or self.last
            say(self.name, line.rstrip())

    def ended(self) -> int | None:
        """The exit code, None while it runs."""
        return self.popen.poll()

    def last_words(self) -> str:
        """What an ended process wrote last."""
        self._relaying.join(timeout=1.0)
        return self.last


def say(name: str, text: str) -> None:
    """A line of output, at once; lost where nobody takes it, as the nodes must go on."""
    with suppress(OSError):
        sys.stdout.write(f"[{name}] {text}\n")
        sys.stdout.flush()


def run_system(system: System, record: Path | None = None, view: Path | None = None) -> int:
    """Run until Ctrl-C, SIGTERM or the end of the recording (0), or until a node fails (its exit code)."""
    env = environment(system.fastdds)
    env["PYTHONUNBUFFERED"] = "1"
    for file in (record, view):
        if file is not None and file.exists():
            raise LetvinsError(f"{file}: exists already")
        if file is not None:
            check_writable(file)
    nodes = programs(system)
    resolve(nodes[0].parameters)  # errors now, not from each node
    wanted = {program.executable: program.arguments() for program in nodes}
    if record is not None:
        wanted["record"] = [str(record), system.namespace]
    if view is not None:
        wanted["view"] = [str(view), *nodes[0].arguments()]
    saved = Path(system.save_map) if system.save_map and "loop_closure" in wanted else None
    before = _version(saved)
    remove_abandoned()  # of nodes that were killed with the program that started them
    with signals_noted() as ended:
        running = [Process(name, arguments, env) for name, arguments in wanted.items()]
        failed = _watch(running, ended)
        stopped = stop(running, failed)
        remove_abandoned()
    if not stopped and saved is not None and _version(saved) == before:  # a node that was just started anew
        say("loop_closure", f"error: no map was saved to {saved}")
        return 1
    return stopped


def _version(file: Path | None) -> tuple[int, int] | None:
    """What differs once a file has been written anew; None where there is none."""
    if file is None or not file.exists():
        return None
    status = file.stat()
    return status.st_ino, status.st_mtime_ns


def _watch(running: list[Process], ended: threading.Event) -> Process | None:
    """Restart those that a signal has killed, until the end; the one that failed."""
    while not ended.wait(0.05):
        for process in running:
            code = process.ended()
            if code is None:
                continue
            if code < 0 and process.restarts < RESTARTS:
                process.restarts += 1
                say(process.name, f"ended by {_how(code)}, started again ({process.restarts} of {RESTARTS})")
                ended.wait(RESTART_DELAY_S)
                process.start()
            elif code == 0 and process.name == "dataset_player":
                ended.wait(SETTLE_S)
                return None
            else:
                return process
    return None


def _how(code: int) -> str:
    return f"exit code {code}" if code >= 0 else signal.Signals(-code).name


def stop(running: list[Process], failed: Process | None = None) -> int:
    """End all processes, last of all tell why `failed` has ended; its exit code, 1 where another did not end well."""
    alive = running
    for sign in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        alive = [process for process in alive if process.ended() is None]
        for process in alive:
            process.popen.send_signal(sign)
        until = time.monotonic() + PATIENCE_S
        while time.monotonic() < until and any(process.ended() is None for process in alive):
            time.sleep(0.02)
    for process in alive:
        say(process.name, "did not end and was killed")
    for process in running:
        words = process.last_words()  # all of its output is out
        if (code := process.ended()) and process not in alive and process is not failed:
            say(process.name, f"ended with {_how(code)} when all were stopped; {words}")
    if failed is None:
        return int(any(process.ended() for process in running))
    code = failed.ended() or 0
    say(failed.name, f"ended with {_how(code)}, the others are stopped; {failed.last_words()}")
    return max(code, 1)
