# SPDX-License-Identifier: Apache-2.0
"""Starts the nodes as processes, shows what they say, restarts those that were killed, ends them together."""

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path

from letvins_ros.errors import LetvinsError
from letvins_ros.ros.resolve import resolve
from letvins_ros.ros.system import System, environment, programs

PATIENCE_S = 5.0  # a node has so long to end after SIGINT, then after SIGTERM
RESTARTS = 10
SETTLE_S = 1.5  # what the nodes still publish when the recording has ended


class Process:
    """One node, whose output comes out with its name before each line."""

    def __init__(self, name: str, command: list[str], env: Mapping[str, str]) -> None:
        self.name, self._command, self._env = name, command, env
        self.restarts = 0
        self.start()

    def start(self) -> None:
        """Start, or start again."""
        self.popen = subprocess.Popen(  # noqa: S603  (our own nodes)  its own session, so that Ctrl-C reaches it through us only
            self._command, env=dict(self._env), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            errors="replace", start_new_session=True,
        )  # fmt: skip
        threading.Thread(target=self._relay, args=(self.popen,), daemon=True).start()

    def _relay(self, popen: "subprocess.Popen[str]") -> None:
        for line in popen.stdout or ():
            say(self.name, line.rstrip())

    def ended(self) -> int | None:
        """The exit code, None while it runs."""
        return self.popen.poll()


def say(name: str, text: str) -> None:
    """A line of output, at once."""
    sys.stdout.write(f"[{name}] {text}\n")
    sys.stdout.flush()


def run_system(system: System, record: Path | None = None) -> int:
    """Run until Ctrl-C, SIGTERM or the end of the recording (0), or until a node fails (1)."""
    env = environment(system.fastdds)
    env["PYTHONUNBUFFERED"] = "1"
    if record is not None and record.exists():
        raise LetvinsError(f"{record}: exists already")
    nodes = programs(system)
    resolve(nodes[0].parameters)  # errors now, not from each node
    running = [
        Process(p.executable, [sys.executable, "-m", f"letvins_ros.ros.{p.executable}", *p.arguments()], env)
        for p in nodes
    ]
    if record is not None:
        running.append(Process("record", _recorder(record, system), env))
    try:
        code = _watch(running)
    except KeyboardInterrupt:
        code = 0
    finally:
        code = stop(running) or code
    return code


def _recorder(record: Path, system: System) -> list[str]:
    return [sys.executable, "-m", "letvins_ros.ros.record", str(record), system.namespace]


def _watch(running: list[Process]) -> int:
    while True:
        for process in running:
            code = process.ended()
            if code is None:
                continue
            if code < 0 and process.restarts < RESTARTS:
                process.restarts += 1
                say(
                    process.name,
                    f"ended by {signal.Signals(-code).name}, started again ({process.restarts} of {RESTARTS})",
                )
                process.start()
            elif code == 0 and process.name == "dataset_player":
                time.sleep(SETTLE_S)
                return 0
            else:
                say(process.name, f"ended with code {code}; the others are stopped")
                return 1
        time.sleep(0.05)


def stop(running: list[Process]) -> int:
    """End all processes; 1 where one had to be killed."""
    before = signal.getsignal(signal.SIGINT)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C must leave no orphans
    alive = [process for process in running if process.ended() is None]
    for sign in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        alive = [process for process in alive if process.ended() is None]
        for process in alive:
            process.popen.send_signal(sign)
        until = time.monotonic() + PATIENCE_S
        while time.monotonic() < until and any(process.ended() is None for process in alive):
            time.sleep(0.02)
    signal.signal(signal.SIGINT, before)
    for process in alive:
        say(process.name, "did not end and was killed")
    return int(bool(alive))
