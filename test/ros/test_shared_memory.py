# SPDX-License-Identifier: Apache-2.0
import fcntl
import os
import subprocess
import sys
import time
from pathlib import Path

from letvins_ros.ros.shared_memory import fresh_ports, remove_abandoned

from ..some import some

HOLD = "import fcntl, sys, time; f = open(sys.argv[1]); fcntl.flock(f, 2); print(flush=True); time.sleep(20)"


def segment(folder: Path, number: int, age_s: float = 60.0) -> list[Path]:
    files = [folder / f"fastrtps_{number:016x}{end}" for end in ("", "_el")]
    for path in files:
        path.touch()
        os.utime(path, (time.time() - age_s,) * 2)
    return files


def test_segments_that_no_process_holds_are_removed_and_no_others(tmp_path: Path) -> None:
    held, left, young = segment(tmp_path, 1), segment(tmp_path, 2), segment(tmp_path, 3, age_s=1.0)
    strange = tmp_path / "fastrtps_port7412_el"
    strange.touch()
    with subprocess.Popen([sys.executable, "-c", HOLD, str(held[1])], stdout=subprocess.PIPE) as holder:
        some(holder.stdout).readline()
        assert remove_abandoned(tmp_path) == 1
        assert set(tmp_path.iterdir()) == {*held, *young, strange}
        holder.kill()
    assert remove_abandoned(tmp_path) == 1  # kill -9 gives the lock back
    assert set(tmp_path.iterdir()) == {*young, strange}
    assert not any(path.exists() for path in left)


def test_a_segment_being_removed_by_another_process_is_left_to_it(tmp_path: Path) -> None:
    files = segment(tmp_path, 1)
    with files[1].open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert remove_abandoned(tmp_path) == 0
    assert all(path.exists() for path in files)


def port(folder: Path, number: int, age_s: float) -> Path:
    files = [folder / f"fastrtps_port{number}{end}" for end in ("", "_el")]
    for path in files:
        path.touch()
    os.utime(files[0], (time.time() - age_s,) * 2)
    return files[1]


def is_free(lock: Path) -> bool:
    with lock.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        return True


def test_ports_of_killed_processes_of_the_domain_are_taken_until_the_participant_is_made(tmp_path: Path) -> None:
    dead, live, other = port(tmp_path, 7911, 1.0), port(tmp_path, 7913, 1.0), port(tmp_path, 8161, 1.0)
    without_memory = tmp_path / "fastrtps_port7003_el"
    without_memory.touch()
    with live.open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with fresh_ports(2, tmp_path) as avoided:
            assert avoided == 2
            assert not is_free(dead) and not is_free(without_memory)
            assert is_free(other)
    assert is_free(dead) and is_free(without_memory) and is_free(live)


def test_of_many_dead_ports_the_youngest_are_avoided_as_fast_dds_tries_a_hundred(tmp_path: Path) -> None:
    locks = [port(tmp_path, 7400 + i, age_s=i) for i in range(90)]
    with fresh_ports(0, tmp_path) as avoided:
        assert avoided == 60
        assert [is_free(lock) for lock in locks] == [False] * 60 + [True] * 30
