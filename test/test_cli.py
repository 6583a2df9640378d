# SPDX-License-Identifier: Apache-2.0
import os
import re
import resource
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from letvins_ros import __version__
from letvins_ros.config import Config
from letvins_ros.errors import DataError
from letvins_ros.pipeline import RunOptions

from .command import Letvins, environment, letvins_command
from .needs import needs_torch
from .some import some

METRICS: dict[str, object] = {
    "frames": 7,
    "ate_rmse_m": 0.0123,
    "total_ms": None,
    "skipped": {"right image missing": 2},
    "warnings": [],
}


@pytest.fixture
def pipeline(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Stands in for the pipeline; holds the arguments of its last run."""
    fake: Any = types.ModuleType("letvins_ros.pipeline")
    fake.RunOptions = RunOptions
    fake.metrics = METRICS
    fake.failure = None

    def run_offline(
        source: Path, out: Path, config: Config, options: RunOptions, progress: Callable[[int, int], None]
    ) -> dict[str, Any]:
        fake.called = types.SimpleNamespace(source=source, out=out, config=config, options=options)
        progress(7, 7)
        if fake.failure:
            raise fake.failure
        (out / "metrics.json").write_text("{}")
        return fake.metrics

    fake.run_offline = run_offline
    monkeypatch.setitem(sys.modules, "letvins_ros.pipeline", fake)
    return fake


def test_topics_and_cameras_are_keys_of_the_configuration(letvins: Letvins, pipeline: Any) -> None:
    code, _, _ = letvins(
        "run", "x", "-o", "out", "--topic", "cam0=/left/image", "--topic", "imu=/i", "--cameras", "1,0"
    )
    assert code == 0
    assert pipeline.called.config.input.topics == {"cam0": "/left/image", "imu": "/i"}
    assert pipeline.called.config.input.camera_numbers == (1, 0)


@pytest.mark.parametrize("text", ["cam4=/x", "/x", "cam0="])
def test_a_topic_for_no_role_is_told(letvins: Letvins, text: str) -> None:
    code, _, told = letvins("run", "x", "--topic", text)
    assert code == 1
    assert (
        told
        == f"error: --topic wants ROLE=NAME with a role of cam0, cam1, cam2, cam3, imu, gyro, accel, got '{text}'\n"
    )


def test_calibrations_are_imported_with_a_choice_of_cameras_and_exported(
    letvins: Letvins, tmp_path: Path, root: Path
) -> None:
    rows = "[1, 0, 0, {x}], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]"
    cameras = "".join(
        f"cam{i}: {{T_cam_imu: [{rows.format(x=-0.1 * i)}], camera_model: pinhole, distortion_model: none,"
        f" intrinsics: [{400 + i}, 400, 320, 240], resolution: [640, 480]}}\n"
        for i in range(4)
    )
    (tmp_path / "chain.yaml").write_text(cameras)
    code, out, told = letvins("config", "import", "chain.yaml", "--cameras", "3,1", "-o", "my.yaml")
    assert (code, out) == (0, "Written: my.yaml (stereo_imu)\n")
    assert "Note: no IMU file beside it: typical noise used" in told
    code, out, _ = letvins("config", "export", "my.yaml", "out", "--to", "basalt")
    assert (code, out) == (0, "Written: out/calib.json\n")
    assert '"fx": 403.0' in (tmp_path / "out" / "calib.json").read_text()


def test_several_trajectories_are_evaluated_in_one_table(letvins: Letvins, tmp_path: Path) -> None:
    rows = [f"{i * 0.1:.3f} {i * 0.5} {i % 3} 0 0 0 0 1\n" for i in range(40)]
    (tmp_path / "truth.tum").write_text("".join(rows))
    (tmp_path / "good.tum").write_text("".join(rows[::2]))
    (tmp_path / "late.tum").write_text(
        "".join(f"{i * 0.1 + 0.05:.3f} {i * 0.5} {i % 3} 0 0 0 0 1\n" for i in range(39))
    )
    code, out, _ = letvins("evaluate", "good.tum", "late.tum", "truth.tum", "-o", "out")
    assert code == 0
    lines = out.splitlines()
    assert lines[0].split() == ["good", "late"]
    assert next(line for line in lines if line.startswith("ATE, RMSE")).split()[2:4] == ["0.0000", "m"]
    assert lines[-1] == "Results: out/"
    code, out, _ = letvins("evaluate", "late.tum", "truth.tum", "--offset=-0.05")
    assert next(line for line in out.splitlines() if line.startswith("ATE, RMSE")).split()[2:] == ["0.0000", "m"]


def shell(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        letvins_command(*arguments), check=False, capture_output=True, text=True, timeout=60, **options
    )


def test_help_comes_within_half_a_second(root: Path) -> None:
    def cpu_seconds() -> float:  # of finished children; other work on the machine does not count
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        return usage.ru_utime + usage.ru_stime

    times = []
    for _ in range(3):
        before = cpu_seconds()
        result = shell("--help", cwd=root)
        times.append(cpu_seconds() - before)
        assert result.returncode == 0
    assert "benchmark" in result.stdout
    assert min(times) < 0.5


def test_the_version_is_told(letvins: Letvins) -> None:
    code, out, err = letvins("--version")
    assert (code, err) == (0, "")
    assert re.fullmatch(rf"letvins {re.escape(__version__)} \(commit ([0-9a-f]{{12}}(-dirty)?|unknown)\)\n", out)


def test_help_is_shown_when_nothing_is_asked(letvins: Letvins) -> None:
    assert "Usage: letvins" in letvins()[1]


COMMANDS = ["run", "evaluate", "track", "simulate", "demo", "benchmark", "selftest", "export", "config show",
            "config check", "config import", "config export", "weights list", "weights check", "up"]  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command: str, letvins: Letvins) -> None:
    code, out, err = letvins(*command.split(), "--help")
    assert (code, err) == (0, "")
    assert out.startswith(f"Usage: letvins {command}")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("nonsense", "No such command 'nonsense'."),
        ("run", "Missing argument 'SOURCE'."),
        ("run x --nonsense", "No such option: --nonsense"),
        ("run x --start -1", "Invalid value for '--start'"),
        ("run x --start inf", "Invalid value for '--start': inf is not a finite number"),
        ("run x --duration inf", "Invalid value for '--duration': inf is not a finite number"),
        ("simulate x --duration inf", "Invalid value for '--duration': inf is not a finite number"),
        ("up --rate inf", "Invalid value for '--rate': inf is not a finite number"),
        ("run x --set tracker.max_feature=9", "unknown key tracker.max_feature; known: max_features"),
        ("run x -c nowhere.yaml", "nowhere.yaml: No such file or directory"),
        ("config check .", ".: Is a directory"),
        ("config import nowhere", "nowhere"),
        ("evaluate nowhere.tum nothing.tum", "nothing.tum"),
        ("simulate new --scenario beach", "beach"),
        ("benchmark nowhere.yaml", "nowhere.yaml"),
        ("track nowhere", "nowhere: no such file or folder"),
        ("track . --tracker orb", "tracker.method"),
        pytest.param("export letnet2 new.pb", "exported files end in .onnx, .xml", marks=needs_torch),
        ("export letnet2 new.xml --size 752", "size must be WIDTHxHEIGHT"),
        ("weights check nowhere.pth", "nowhere.pth: no such weights file"),
    ],
)
def test_a_user_error_is_one_line_and_exit_code_1(arguments: str, message: str, letvins: Letvins) -> None:
    code, out, err = letvins(*arguments.split())
    assert code == 1
    assert out == ""
    assert err.startswith("error: ")
    assert message in err
    assert err.count("\n") == 1


def test_a_bug_is_not_hidden(letvins: Letvins, pipeline: Any) -> None:
    pipeline.failure = ZeroDivisionError("bug")
    with pytest.raises(ZeroDivisionError):
        letvins("run", "somewhere")


def test_without_memory_the_error_is_one_line(letvins: Letvins, pipeline: Any) -> None:
    pipeline.failure = MemoryError()
    code, _, err = letvins("run", "somewhere")
    assert (code, err.splitlines()[-1]) == (1, "error: out of memory")


def test_too_little_address_space_is_refused_before_a_native_library_crashes() -> None:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (1_500_000_000, 1_500_000_000))

    done = shell("run", "nowhere", preexec_fn=limit)
    told = "error: the address space is limited to 1.50 GB (`ulimit -v`), 2 GB are needed\n"
    assert (done.returncode, done.stderr) == (1, told)
    assert shell("config", "show", preexec_fn=limit).returncode == 0


@pytest.mark.parametrize("arguments", [("run", "data"), ("run", "/"), ("track", "data"), ("demo",)])
def test_a_working_folder_that_is_gone_is_told(arguments: tuple[str, str] | tuple[str], tmp_path: Path) -> None:
    (tmp_path / "gone").mkdir()
    done = shell(*arguments, cwd=tmp_path / "gone", env=environment(), preexec_fn=(tmp_path / "gone").rmdir)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr and done.stderr.count("\n") == 1
    assert "working folder does not exist any more" in done.stderr or "/: no recording" in done.stderr, done.stderr


def test_config_show_prints_the_default_file(letvins: Letvins, root: Path) -> None:
    assert letvins("config", "show")[1] == (root / "config" / "default.yaml").read_text()
    assert "seed: 5 " in letvins("config", "show", "--set", "seed=5")[1]


def test_config_check_accepts_what_config_import_writes(letvins: Letvins, root: Path, tmp_path: Path) -> None:
    from letvins_ros.config_io import load_config

    folder = tmp_path / "mav0" / "cam0"
    folder.mkdir(parents=True)
    (folder / "sensor.yaml").write_text(
        "camera_model: pinhole\ndistortion_model: radial-tangential\nresolution: [752, 480]\n"
        "intrinsics: [458.0, 457.0, 367.0, 248.0]\ndistortion_coefficients: [0.1, 0.0, 0.0, 0.0]\n"
        "T_BS: {cols: 4, rows: 4, data: [1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1]}\n"
    )
    assert letvins("config", "import", tmp_path, "-o", "new.yaml")[0] == 0
    assert letvins("config", "check", "new.yaml")[1] == "new.yaml: valid, with calibration\n"
    config = load_config(Path("new.yaml"))
    assert (config.mode, some(config.rig).cameras[0].camera.intrinsics) == ("mono_imu", (458.0, 457.0, 367.0, 248.0))


def test_run_hands_its_options_on_and_shows_the_figures(letvins: Letvins, pipeline: Any, tmp_path: Path) -> None:
    options = "--set tracker=letnet2 --set seed=4 --start 1.5 --duration 3 --no-loop --realtime -o out".split()
    code, out, err = letvins("run", "some/where", *options)
    assert code == 0
    assert pipeline.called.source == Path("some/where")
    assert pipeline.called.options == RunOptions(1.5, 3.0, loop=False, realtime=True)
    assert (pipeline.called.config.tracker.method, pipeline.called.config.seed) == ("letnet2", 4)
    assert pipeline.called.out == Path("out")
    assert re.search(r"ATE, RMSE +0\.0123 m\n", out)
    assert "Skipped: right image missing, 2 times\n" in out
    assert "Results: out/" in out
    assert err == "running: 7 of 7\n"
    assert not Path("results").exists()


@pytest.mark.parametrize(
    ("source", "name"), [("data/V1_01/mav0", "V1_01"), ("data/V1_01", "V1_01"), (".", "here"), ("a.bag", "a")]
)
def test_results_go_to_a_folder_named_after_the_source_and_latest_points_there(
    source: str,
    name: str,
    letvins: Letvins,
    pipeline: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    Path("a.bag").touch()
    for _ in range(2):  # the second time the link is there already
        assert letvins("run", source)[0] == 0
        folder = pipeline.called.out
        assert folder.parent == Path("results")
        assert folder.name.startswith(f"{name}-2")
        assert Path("results/latest").resolve() == folder.resolve()
    assert len(list(Path("results").iterdir())) == 3  # two runs, one link


def test_a_folder_that_cannot_be_written_is_told_before_the_run(letvins: Letvins, pipeline: Any) -> None:
    Path("file").touch()
    code, _, err = letvins("run", "somewhere", "-o", "file/out")
    assert (code, err) == (1, "error: file/out: cannot write results there: Not a directory\n")
    assert letvins("run", "somewhere", "-o", "file")[2] == "error: file: cannot write results there: File exists\n"
    code, _, err = letvins("run", "somewhere", "-o", "/proc/out")  # not even root can write there
    assert code == 1
    assert "/proc/out: cannot write results there" in err
    assert not hasattr(pipeline, "called")


def test_the_results_that_a_killed_run_was_replacing_are_put_in_place_and_told(
    letvins: Letvins, pipeline: Any, tmp_path: Path
) -> None:
    moving = tmp_path / "out" / ".metrics.json.moving"
    moving.mkdir(parents=True)
    (moving / "trajectory.tum").write_text("new")
    pipeline.failure = DataError("the next run fails")
    code, said, _ = letvins("run", tmp_path, "-o", tmp_path / "out")
    assert code == 1
    assert said.splitlines()[0].endswith("what a killed run was about to put in place is there now")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["trajectory.tum"]


def test_a_failed_run_leaves_no_empty_folder(letvins: Letvins, pipeline: Any) -> None:
    pipeline.failure = DataError("somewhere: no recording\nthat is known")
    code, _, err = letvins("run", "somewhere", "-o", "out")
    assert (code, err.splitlines()[-1]) == (1, "error: somewhere: no recording that is known")
    assert not Path("out").exists()
    Path("mine").mkdir()
    letvins("run", "somewhere", "-o", "mine")
    assert Path("mine").exists()


def test_ctrl_c_with_nothing_to_keep_is_one_line_and_exit_code_130(letvins: Letvins, pipeline: Any) -> None:
    pipeline.failure = KeyboardInterrupt()
    code, _, err = letvins("run", "somewhere")
    assert (code, err.splitlines()[-1]) == (130, "error: interrupted")
    assert list(Path("results").iterdir()) == []


def test_ctrl_c_with_results_says_what_was_kept(letvins: Letvins, pipeline: Any) -> None:
    pipeline.metrics = {**METRICS, "interrupted": True}
    code, out, _ = letvins("run", "somewhere", "-o", "out")
    assert code == 0
    assert out.startswith("Interrupted; the results cover the frames processed until then.\n")
    assert "Results: out/" in out


@pytest.mark.parametrize("unbuffered", ["", "1"])  # what is written late fails late
@pytest.mark.parametrize(("sink", "told"), [("> /dev/full", "error: No space left on device\n"), ("| true", "")])
def test_a_full_disk_and_a_closed_pipe_end_without_traceback(sink: str, told: str, unbuffered: str, root: Path) -> None:
    command = f"{sys.executable} -m letvins_ros.cli config show {sink}"
    env = os.environ | {"PYTHONUNBUFFERED": unbuffered}
    result = subprocess.run(["bash", "-c", command], check=False, stderr=subprocess.PIPE, text=True, cwd=root, env=env)
    assert result.stderr == told


def test_demo_keeps_its_simulated_sequence_for_the_next_time(
    letvins: Letvins, pipeline: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def simulate(out: Path, scenario: str, duration_s: float, seed: int, progress: Callable[[int, int], None]) -> None:
        out.mkdir(parents=True)
        calls.append(out)

    monkeypatch.setattr("letvins_ros.simulation.simulate", simulate)
    assert letvins("demo")[0] == 0
    assert letvins("demo")[0] == 0
    assert calls == [pipeline.called.source]
    assert calls[0].parent == Path("results/demo-data")
    assert Path("results/latest").resolve() == pipeline.called.out.resolve()


def test_simulate_writes_a_folder_and_evaluate_finds_no_error_in_the_truth(
    letvins: Letvins,
) -> None:
    assert letvins("simulate", "sim", "--duration", 1, "--scenario", "hall")[0] == 0
    from letvins_ros.datasets import open_dataset
    from letvins_ros.evaluation.trajectory import write_tum

    write_tum(Path("truth.tum"), some(open_dataset(Path("sim")).truth))
    code, out, _ = letvins("evaluate", "truth.tum", "sim", "-o", "out")
    assert code == 0
    assert re.search(r"ATE, RMSE +0\.0000 m\n", out)
    assert Path("out/report.html").exists()
