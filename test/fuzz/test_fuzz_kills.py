# SPDX-License-Identifier: Apache-2.0
"""kill -9 of each process of a run and of `letvins up`, at moments from its start to its end.

One moment of some in the suite (test_robustness has those of a run's two main processes); `make fuzz` takes ten of all.
"""

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Collection
from importlib.util import find_spec
from pathlib import Path

import cv2
import pytest

from letvins_ros.loop.map_file import load_map

from ..command import RESULTS, environment, letvins_command
from ..domains import own_domain
from ..processes import left_after
from .survival_check import FILES

MANY = FILES >= 1000
MOMENTS = [(i + 0.5) / 10 for i in range(10)] if MANY else [0.5]  # share of the whole time
NODES = ("feature_tracker", "vio", "loop_closure", "dataset_player", "record")
NOT_WHOLE = "ended with SIGKILL when all were stopped|no map was saved to|did not end and was killed"
LONGEST_S = 60.0
needs_ros = pytest.mark.skipif(
    find_spec("rclpy") is None or find_spec("letvins_ros.msg") is None, reason="no ROS, or messages are not built"
)


class Started:
    """A `letvins` command, known with all its children by a word in their environment."""

    def __init__(self, folder: Path, *arguments: object, **env: str) -> None:
        self._word = f"KILLED_TEST={os.getpid()}-{time.monotonic_ns()}"
        name, value = self._word.split("=")
        own = environment(OPENBLAS_NUM_THREADS="1", **env) | {name: value}
        self._log, self.began = folder / "log", time.monotonic()
        with self._log.open("w") as log:
            self.process = subprocess.Popen(letvins_command(*arguments), env=own, stdout=log, stderr=log)

    def family(self) -> dict[str, int]:
        """Ids of the processes that have not ended, by a word of their command line."""
        found = {}
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                if self._word.encode() not in (folder / "environ").read_bytes().split(b"\0"):
                    continue
                words = (folder / "cmdline").read_bytes().decode().replace("\0", " ").split()
            except OSError:
                continue
            if int(folder.name) == self.process.pid:
                found["letvins"] = self.process.pid
            elif words:  # of one that has ended there are none
                names = [name for name in NODES if name in words]
                names += ["loops"] * ("letvins_ros.loop.serving" in words)
                found[names[0] if names else "other"] = int(folder.name)
        return found

    def wait(self) -> int:
        """The exit code."""
        left_after(LONGEST_S, lambda: [self.process.pid] * (self.process.poll() is None))
        return self.process.wait(timeout=0)

    def said(self) -> str:
        return self._log.read_text()

    def kill(self, victim: str, after_s: float) -> bool:
        """Kill one once it is there and so much time has passed; whether there was anything to kill."""
        time.sleep(max(self.began + after_s - time.monotonic(), 0))
        while victim not in self.family():
            if self.process.poll() is not None:
                return False
            time.sleep(0.02)
        os.kill(self.family()[victim], signal.SIGKILL)
        return True

    def left_after(self, seconds: float) -> Collection[int]:
        """Who is still there."""
        return left_after(seconds, lambda: self.family().values())


@pytest.fixture(scope="module")
def whole(recording: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[float, Path]:
    """Seconds that a run takes, and the map it saves."""
    folder = tmp_path_factory.mktemp("whole")
    run = Started(folder, *run_into(recording, folder))
    assert run.wait() == 0, run.said()
    return time.monotonic() - run.began, folder / "a.map"


def run_into(recording: Path, folder: Path) -> tuple[object, ...]:
    return "run", recording, "--duration", 1, "-o", folder / "out", "--set", f"loop.save_map={folder / 'a.map'}"


def check_complete(folder: Path) -> set[str]:
    """Every file that is there can be read to its end."""
    for path in folder.glob("[!.]*"):
        if path.suffix == ".json":
            json.loads(path.read_text())
        elif path.suffix == ".png":
            assert cv2.imread(str(path)) is not None, path
        else:
            assert (
                path.read_text().rstrip("\n").endswith("</html>")
                if path.suffix == ".html"
                else path.read_text()[-1] == "\n"
            )
    return {path.name for path in folder.glob("[!.]*")}


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("victim", ["letvins", "loops"] if MANY else ["loops"])
def test_a_killed_process_of_a_run_is_told_and_leaves_whole_files(
    victim: str, moment: float, recording: Path, whole: tuple[float, Path], tmp_path: Path
) -> None:
    seconds, old = whole
    (tmp_path / "a.map").write_bytes(old.read_bytes())
    run = Started(tmp_path, *run_into(recording, tmp_path))
    killed = run.kill(victim, moment * seconds)
    code = run.wait()
    assert not run.left_after(3.0)
    assert "Traceback" not in run.said()
    load_map(tmp_path / "a.map")
    files = check_complete(tmp_path / "out")
    if victim == "letvins":
        assert code == (-9 if killed else 0)
    else:
        assert files == RESULTS
        assert code == 0 or run.said().splitlines()[-1].startswith("error: the results lack "), run.said()


@needs_ros
@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("victim", ["letvins", *NODES] if MANY else ["letvins", "record"])
def test_a_killed_process_of_a_system_is_told_and_leaves_nobody_behind(
    victim: str, moment: float, recording: Path, tmp_path: Path
) -> None:
    out = ("--record", tmp_path / "bag", "--save-map", tmp_path / "a.map")
    up = Started(tmp_path, "up", "--dataset", recording, *out, ROS_DOMAIN_ID=str(own_domain()))
    while victim not in up.family():
        assert up.process.poll() is None, up.said()
        time.sleep(0.02)
    killed = up.kill(victim, time.monotonic() - up.began + 10 * moment)
    if victim == "letvins":
        up.process.wait()
        assert not up.left_after(3.0)
        return
    code, said = up.wait(), up.said()
    assert not up.left_after(3.0)
    assert "Traceback" not in said
    ways = ("ended by SIGKILL, started again", "ended with SIGKILL when all were stopped")
    assert any(f"[{victim}] {way}" in said for way in ways) == killed
    lost = [line for line in said.splitlines() if re.search(NOT_WHOLE, line)]
    assert code == bool(lost), said
    if not any(re.match(r"\[loop_closure\]", line) for line in lost):
        load_map(tmp_path / "a.map")
