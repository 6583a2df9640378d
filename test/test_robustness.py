# SPDX-License-Identifier: Apache-2.0
"""What `letvins run` makes of damaged recordings, as its user sees it: a process, its exit code, its files."""

import json
import os
import random
import re
import resource
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from letvins_ros.selftest.recording import flight
from letvins_ros.simulation.files import new_folder
from letvins_ros.simulation.write_euroc import write_euroc

from .command import RESULTS, environment, letvins_command
from .conftest import Once
from .processes import children, left_after, wait
from .some import some

SECONDS, FRAMES, MIDDLE = 4.0, 81, 40
ENVIRONMENT = environment(OPENBLAS_NUM_THREADS="1")


def command(*arguments: object) -> list[str]:
    return letvins_command("run", *arguments)


def started(*arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command(*arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT
    )


def run(*arguments: object) -> tuple[int, str, str]:
    """Exit code, stdout, stderr; fails where the command hangs. Loops are left to the runs that are interrupted."""
    done = subprocess.run(
        command("--no-loop", *arguments), check=False, capture_output=True, text=True, timeout=200, env=ENVIRONMENT
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stdout, done.stderr


def metrics_of(source: Path, out: Path, *options: object) -> dict[str, Any]:
    """metrics.json of a run that must succeed; what it skipped must have been said too."""
    code, said, err = run(source, "-o", out, *options)
    assert code == 0, err
    assert "Warning" not in err, err
    metrics = json.loads((out / "metrics.json").read_text())
    for kind, count in metrics["skipped"].items():
        assert f"Skipped: {kind}, {count} times\n" in said
    rows = np.array([line.split() for line in (out / "trajectory.tum").read_text().splitlines()], float)
    assert np.isfinite(rows).all()
    assert (np.diff(rows[:, :1], axis=0) > 0).all() if len(rows) else metrics["coverage"] == 0
    return metrics


def error_of(*arguments: object) -> str:
    """The one line that a run ends in which cannot do its work."""
    code, said, err = run(*arguments)
    assert code == 1
    assert said == ""
    *progress, line = err.splitlines()
    assert all(other.startswith("running: ") for other in progress)
    assert line.startswith("error: ")
    return line


# -- recordings -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def hall(once: Once) -> Path:
    """A sound recording of small images."""

    def make(out: Path) -> None:
        with new_folder(out) as folder:
            write_euroc(folder / "mav0", flight(SECONDS, 3))

    return once("hall", make)


@pytest.fixture
def source(hall: Path, tmp_path: Path) -> Path:
    """A copy of the recording, to damage; its images are links, so they may be replaced but not written to."""
    copy = tmp_path / "source"
    shutil.copytree(hall, copy, copy_function=lambda a, b: os.link(a, b) if a.endswith(".png") else shutil.copy(a, b))
    return copy


def rows_of(source: Path, sensor: str) -> tuple[str, list[str]]:
    """Heading and rows of a sensor's table."""
    heading, *rows = (source / "mav0" / sensor / "data.csv").read_text().splitlines(keepends=True)
    return heading, rows


def write_rows(source: Path, sensor: str, heading: str, rows: list[str]) -> None:
    (source / "mav0" / sensor / "data.csv").write_text(heading + "".join(rows))


def images_of(source: Path, camera: str) -> list[Path]:
    return sorted((source / "mav0" / camera / "data").iterdir())


def replace_image(path: Path, content: bytes | np.ndarray) -> None:
    """Put other content in an image's place: an array, or bytes that are no image."""
    path.unlink()
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        cv2.imwrite(str(path), content)


def blacken(source: Path, begin: int, end: int) -> None:
    for camera in ("cam0", "cam1"):
        paths = images_of(source, camera)
        black = np.zeros_like(cv2.imread(str(paths[0]), cv2.IMREAD_GRAYSCALE))
        for path in paths[begin:end]:
            replace_image(path, black)


# -- runs that go on --------------------------------------------------------------------------------------------------


def test_torn_shuffled_doubled_and_not_finite_rows_are_mended(source: Path, tmp_path: Path) -> None:
    shuffler = random.Random(0)
    for sensor in ("imu0", "cam0", "cam1"):
        heading, rows = rows_of(source, sensor)
        if sensor == "imu0":
            for i in range(100, 800, 70):
                rows[i] = rows[i].split(",")[0] + ",nan,0,0,inf,0,0\n"
        torn = rows.pop()[:10]
        rows += rows[40:43]
        shuffler.shuffle(rows)
        write_rows(source, sensor, heading, [*rows, torn])
    metrics = metrics_of(source, tmp_path / "out")
    skipped = metrics["skipped"]
    for sensor in ("imu0", "cam0", "cam1"):
        assert skipped[f"{sensor}/data.csv: rows that are torn or not numbers, skipped"] == 1
        assert skipped[f"{sensor}/data.csv: rows with a stamp seen before, dropped"] == 3
        assert skipped[f"{sensor}/data.csv: rows out of time order, sorted"] > 50
    assert skipped["imu0/data.csv: rows with NaN or inf, skipped"] == 10
    assert (metrics["frames"], metrics["coverage"], metrics["resets"]) == (FRAMES - 1, 1.0, 0)
    assert metrics["ate_rmse_m"] < 0.1


def test_half_of_the_right_images_may_be_missing(source: Path, tmp_path: Path) -> None:
    for path in images_of(source, "cam1")[1::2]:
        path.unlink()
    metrics = metrics_of(source, tmp_path / "out")
    assert metrics["skipped"] == {"cam1: image files missing": MIDDLE, "left images without right, used alone": MIDDLE}
    assert (metrics["frames"], metrics["coverage"], metrics["resets"]) == (FRAMES, 1.0, 0)
    assert metrics["ate_rmse_m"] < 0.1


def test_half_of_the_left_images_may_be_missing(source: Path, tmp_path: Path) -> None:
    for path in images_of(source, "cam0")[1::2]:
        path.unlink()
    metrics = metrics_of(source, tmp_path / "out")
    assert metrics["skipped"] == {"cam0: image files missing": MIDDLE, "right images without left, dropped": MIDDLE}
    assert (metrics["frames"], metrics["coverage"], metrics["resets"]) == (MIDDLE + 1, 1.0, 0)
    assert metrics["ate_rmse_m"] < 0.1


def test_images_that_are_broken_or_of_another_size_are_left_out(source: Path, tmp_path: Path) -> None:
    left, right = images_of(source, "cam0"), images_of(source, "cam1")
    replace_image(left[MIDDLE], b"\x89PNG\r\n and then nothing")
    replace_image(left[MIDDLE + 5], b"")
    replace_image(right[MIDDLE + 10], b"no image")
    replace_image(left[MIDDLE + 15], np.zeros((100, 200), np.uint8))
    metrics = metrics_of(source, tmp_path / "out")
    assert metrics["skipped"] == {
        "cam0: images that cannot be decoded, skipped": 2,
        "cam1: images that cannot be decoded, skipped": 1,
        "cam0: images of another size, skipped": 1,
    }
    assert (metrics["frames"], metrics["frames_dropped"]) == (FRAMES - 3, 3)
    assert (metrics["coverage"], metrics["resets"]) == (1.0, 0)
    assert metrics["ate_rmse_m"] < 0.1


def test_three_seconds_of_black_images_are_bridged_by_the_imu(source: Path, tmp_path: Path) -> None:
    blacken(source, 10, 70)
    metrics = metrics_of(source, tmp_path / "out")
    assert (metrics["frames"], metrics["coverage"]) == (FRAMES, 1.0)
    assert metrics["status"]["degraded"] >= 50
    assert metrics["ate_rmse_m"] < 1.0
    assert len(metrics["reset_reasons"]) == metrics["resets"]  # at best none; else each says why


def test_a_camera_stuck_for_a_second_is_bridged_by_the_imu(source: Path, tmp_path: Path) -> None:
    for camera in ("cam0", "cam1"):
        paths = images_of(source, camera)
        stuck = paths[29].read_bytes()
        for path in paths[30:50]:
            replace_image(path, stuck)
    metrics = metrics_of(source, tmp_path / "out")
    assert metrics["skipped"] == {"cam0: images as the one before while turning, not used": 20}
    assert (metrics["frames"], metrics["coverage"], metrics["resets"]) == (FRAMES, 1.0, 0)
    assert metrics["ate_rmse_m"] < 0.1


def test_a_run_that_never_starts_says_why(source: Path, tmp_path: Path) -> None:
    blacken(source, 0, 21)
    metrics = metrics_of(source, tmp_path / "out", "--duration", 1)
    assert (metrics["frames"], metrics["coverage"]) == (20, 0.0)
    (kind,) = metrics["skipped"]
    assert kind.startswith("frames without pose: ")
    assert "features" in kind
    assert metrics["skipped"][kind] == 20


def test_an_imu_gap_of_half_a_second_is_bridged_by_the_images(source: Path, tmp_path: Path) -> None:
    heading, rows = rows_of(source, "imu0")
    del rows[400:500]
    write_rows(source, "imu0", heading, rows)
    metrics = metrics_of(source, tmp_path / "out")
    assert metrics["skipped"] == {"imu: gaps over 3 periods": 1}
    assert (metrics["frames"], metrics["coverage"], metrics["resets"]) == (FRAMES, 1.0, 0)
    assert metrics["ate_rmse_m"] < 0.1


def test_images_before_the_imu_begins_wait_for_it(source: Path, tmp_path: Path) -> None:
    heading, rows = rows_of(source, "imu0")
    write_rows(source, "imu0", heading, rows[200:])
    metrics = metrics_of(source, tmp_path / "out")
    assert (metrics["frames"], metrics["coverage"]) == (FRAMES, 1.0)
    assert 1.0 <= metrics["initialised_after_s"] < 2.0
    assert metrics["ate_rmse_m"] < 0.1


def test_an_imu_of_another_time_is_left_out(source: Path, tmp_path: Path) -> None:
    heading, rows = rows_of(source, "imu0")
    write_rows(source, "imu0", heading, [f"15{row[2:]}" for row in rows])  # years before the images
    metrics = metrics_of(source, tmp_path / "out", "--duration", 2)
    assert metrics["skipped"] == {"imu: no reading while the frames were taken, mode stereo used": 1}
    assert "mode: stereo " in (tmp_path / "out" / "config.yaml").read_text()
    assert (metrics["coverage"], metrics["resets"]) == (1.0, 0)
    assert metrics["ate_rmse_m"] < 0.1


def test_without_right_camera_the_left_one_and_the_imu_are_enough(source: Path, tmp_path: Path) -> None:
    shutil.rmtree(source / "mav0" / "cam1")
    metrics = metrics_of(source, tmp_path / "out")
    assert metrics["skipped"] == {"cam1: none in the recording, mode mono_imu used": 1}
    assert (metrics["coverage"], metrics["resets"]) == (1.0, 0)
    assert metrics["ate_rmse_m"] < 0.3


def test_a_kitti_sequence_runs_in_stereo_mode(source: Path, tmp_path: Path) -> None:
    kitti = tmp_path / "00"
    for i in range(2):
        folder = kitti / f"image_{i}"
        folder.mkdir(parents=True)
        for number, path in enumerate(images_of(source, f"cam{i}")):
            path.rename(folder / f"{number:06}.png")
    (kitti / "times.txt").write_text("".join(f"{i / 20:e}\n" for i in range(FRAMES)))
    (kitti / "calib.txt").write_text("P0: 229 0 184 0 0 229 124 0 0 0 1 0\nP1: 229 0 190 -25.2 0 228 128 0 0 0 1 0\n")
    metrics = metrics_of(kitti, tmp_path / "out", "--duration", 2)
    assert metrics["skipped"] == {"imu: none in the recording, mode stereo used": 1}
    assert (metrics["frames"], metrics["ate_rmse_m"]) == (40, None)


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Ctrl-C reaches what is started here, even where the tests themselves run in the background and ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_in_the_middle_keeps_what_is_done(sent: signal.Signals, hall: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with started(hall, "-o", out) as process:
        first = some(process.stderr).readline()
        process.send_signal(sent)
        said, err = process.communicate(timeout=60)
    assert process.returncode == 0, first + err
    assert "Traceback" not in err
    assert said.startswith("Interrupted; the results cover the frames processed until then.\n")
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["interrupted"]
    assert 5 <= metrics["frames"] < FRAMES
    assert metrics["frames_total"] == FRAMES
    assert (out / "report.html").exists()


# -- parts that are killed, disks that are full -----------------------------------------------------------------------


def family(pid: int) -> dict[str, int]:
    """A process and its children, by the name of what they do."""
    return {"run": pid} | {
        name: child for child in children(pid) for name in ("loop.serving",)
        if name.encode() in Path(f"/proc/{child}/cmdline").read_bytes()
    }  # fmt: skip


@pytest.mark.parametrize("delay_s", [0.5, 3.0])
def test_a_killed_loop_closer_costs_only_loops_and_map(delay_s: float, hall: Path, tmp_path: Path) -> None:
    arguments = ("-o", tmp_path / "out", "--set", f"loop.save_map={tmp_path / 'a.map'}")
    with started(hall, *arguments, "--realtime") as process:
        wait(lambda: "loop.serving" in family(process.pid), 60)
        time.sleep(delay_s)
        os.kill(family(process.pid)["loop.serving"], signal.SIGKILL)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 1
    message = "the results lack loops and map: loop closure failed: its process ended with SIGKILL"
    assert err.splitlines()[-1] == f"error: {message}"
    assert "Traceback" not in err and "Results:" in out
    assert {path.name for path in (tmp_path / "out").iterdir()} == RESULTS
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert f"the results lack {metrics['missing']}" == message
    assert len((tmp_path / "out" / "trajectory.tum").read_text().splitlines()) > 0
    assert not (tmp_path / "a.map").exists()


def test_a_killed_run_leaves_no_process(hall: Path, tmp_path: Path) -> None:
    with subprocess.Popen(command(hall, "-o", tmp_path / "out"), stderr=subprocess.DEVNULL, env=ENVIRONMENT) as process:
        wait(lambda: "loop.serving" in family(process.pid), 60)
        pids = family(process.pid).values()
        process.kill()
    assert not left_after(3.0, lambda: [pid for pid in pids if Path(f"/proc/{pid}").exists()])


@pytest.mark.parametrize("kilobytes", [1, 20, 100])
def test_a_full_disk_costs_only_what_does_not_fit(kilobytes: int, hall: Path, tmp_path: Path) -> None:
    """Files may not grow beyond a size, which fails in every writer as a full disk does."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (kilobytes * 1024, kilobytes * 1024))

    arguments = command(hall, "-o", tmp_path / "out", "--duration", 2, "--no-loop")
    done = subprocess.run(arguments, check=False, capture_output=True, text=True, env=ENVIRONMENT, preexec_fn=limit)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr, done.stderr
    assert re.fullmatch(r"error: cannot write .*/out/\S+: File too large", done.stderr.splitlines()[-1])
    left = {path.name: path.stat().st_size for path in (tmp_path / "out").glob("*")}
    assert left.keys() < RESULTS
    assert not left or {"trajectory.tum", "trajectory_map.tum"} <= left.keys()
    assert all(left.values())


@pytest.mark.parametrize("redirection", [">&-", "| true", ">/dev/full"])
def test_a_closed_output_costs_no_results(redirection: str, hall: Path, tmp_path: Path) -> None:
    words = shlex.join(command(hall, "-o", tmp_path / "out", "--duration", 2, "--no-loop"))
    shell = ["bash", "-c", f"{words} {redirection}"]
    done = subprocess.run(shell, check=False, capture_output=True, text=True, env=ENVIRONMENT)
    assert "Traceback" not in done.stderr and "Exception ignored" not in done.stderr, done.stderr
    assert {path.name for path in (tmp_path / "out").iterdir()} == RESULTS


def test_an_output_folder_may_have_any_name_in_any_locale(hall: Path, tmp_path: Path) -> None:
    plain = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    few = tmp_path / "few"
    few.mkdir()
    for path in images_of(hall, "cam0")[:5]:
        os.link(path, few / path.name)
    run_wanted, track_wanted = RESULTS, {"tracks.mp4", "tracks.png", "survival.png", "tracks.json"}
    for words, wanted in (("run", hall, "--duration", 0.5, "--no-loop"), run_wanted), (("track", few), track_wanted):
        out = tmp_path / "\u00fcber \u9053 \udcff" / words[0]
        command_line: list[str | bytes] = [
            sys.executable,
            "-m",
            "letvins_ros.cli",
            *map(str, words),
            "-o",
            os.fsencode(out),
        ]
        done = subprocess.run(command_line, check=False, capture_output=True, env=ENVIRONMENT | plain)
        assert done.returncode == 0, done.stderr
        assert wanted <= {path.name for path in out.iterdir()}


# -- errors -----------------------------------------------------------------------------------------------------------


def _nothing(mav0: Path) -> None:
    shutil.rmtree(mav0)


def _no_left(mav0: Path) -> None:
    shutil.rmtree(mav0 / "cam0" / "data")


def _no_calibration(mav0: Path) -> None:
    for camera in ("cam0", "cam1"):
        (mav0 / camera / "sensor.yaml").unlink()


def _calibration_torn(mav0: Path) -> None:
    (mav0 / "cam0" / "sensor.yaml").write_text("T_BS: {data: [1, 0\n")


def _calibration_of_another_size(mav0: Path) -> None:
    path = mav0 / "cam0" / "sensor.yaml"
    path.write_text(path.read_text().replace("[376, 240]", "[752, 480]"))


def _no_reading(mav0: Path) -> None:
    (mav0 / "imu0" / "data.csv").write_text("#timestamp [ns]\n")


def _one_camera_only(mav0: Path) -> None:
    shutil.rmtree(mav0 / "imu0")
    shutil.rmtree(mav0 / "cam1")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_nothing, "no recording that is known; looked for mav0/cam0"),
        (_no_left, "no image of the left camera can be found"),
        (_no_calibration, "the recording has no calibration; name a file that has with -c"),
        (_calibration_torn, "cam0/sensor.yaml line 2: not valid YAML"),
        (_calibration_of_another_size, "is 376x240, not 752x480 as calibrated"),
        (_no_reading, "imu0/data.csv: no usable row in 0"),
        (_one_camera_only, "imu: none in the recording; two cameras, or one and an IMU, are needed"),
    ],
)
def test_a_recording_that_cannot_be_run_ends_in_one_line(
    damage: Callable[[Path], None], message: str, source: Path, tmp_path: Path
) -> None:
    damage(source / "mav0")
    assert message in error_of(source, "-o", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--start 60", "no frame from 60.0 s on"),
        ("--set seed", "--set wants dotted.key=value, got 'seed'"),
        ("--set tracker.max_featurs=3", "unknown key tracker.max_featurs; known: max_features"),
        ("-c {tmp}/torn.yaml", "torn.yaml line 2: not valid YAML"),
        ("-c {tmp}/unknown.yaml", "unknown.yaml: unknown key colour"),
        ("-o {tmp}/torn.yaml", "torn.yaml: cannot write results there: File exists"),
        ("-o {tmp}/torn.yaml/out", "torn.yaml/out: cannot write results there: Not a directory"),
        ("-o /dev/full/out", "/dev/full/out: cannot write results there: Not a directory"),
        ("-o /proc/out", "/proc/out: cannot write results there: No such file or directory"),
    ],
)
def test_options_that_cannot_be_met_end_in_one_line(options: str, message: str, hall: Path, tmp_path: Path) -> None:
    (tmp_path / "torn.yaml").write_text("tracker: {method: lk\n")
    (tmp_path / "unknown.yaml").write_text("colour: blue\n")
    assert message in error_of(hall, "-o", tmp_path / "out", *options.format(tmp=tmp_path).split())


def test_a_file_of_unknown_type_ends_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "film.xyz").write_bytes(bytes(range(256)))
    assert "film.xyz: no recording that is known" in error_of(tmp_path / "film.xyz", "-o", tmp_path / "out")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder_ends_in_one_line(hall: Path, tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    assert "cannot write results there: Permission denied" in error_of(hall, "-o", tmp_path / "out")
    tmp_path.chmod(0o700)
