# SPDX-License-Identifier: Apache-2.0
import fcntl
import os
import subprocess
import sys
import time

from letvins_ros.ros.shared_memory import remove_abandoned

HOLD = "import fcntl, sys, time; f = open(sys.argv[1]); fcntl.flock(f, 2); print(flush=True); time.sleep(20)"


def segment(folder, number, age_s=60.0):
    files = [folder / f"fastrtps_{number:016x}{end}" for end in ("", "_el")]
    for path in files:
        path.touch()
        os.utime(path, (time.time() - age_s,) * 2)
    return files


def test_segments_that_no_process_holds_are_removed_and_no_others(tmp_path):
    held, left, young = segment(tmp_path, 1), segment(tmp_path, 2), segment(tmp_path, 3, age_s=1.0)
    strange = tmp_path / "fastrtps_port7412_el"
    strange.touch()
    with subprocess.Popen([sys.executable, "-c", HOLD, str(held[1])], stdout=subprocess.PIPE) as holder:
        holder.stdout.readline()
        assert remove_abandoned(tmp_path) == 1
        assert set(tmp_path.iterdir()) == {*held, *young, strange}
        holder.kill()
    assert remove_abandoned(tmp_path) == 1  # kill -9 gives the lock back
    assert set(tmp_path.iterdir()) == {*young, strange}
    assert not any(path.exists() for path in left)


def test_a_segment_being_removed_by_another_process_is_left_to_it(tmp_path):
    files = segment(tmp_path, 1)
    with files[1].open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert remove_abandoned(tmp_path) == 0
    assert all(path.exists() for path in files)
