# SPDX-License-Identifier: Apache-2.0
import io
import json
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from letvins_ros.errors import ConfigError, DataError
from letvins_ros.evaluation import benchmark
from letvins_ros.evaluation.benchmark import benchmark_table, run_benchmark

from ..processes import children, runs, wait

# Stands for the command line: `run` takes its error from the source and from `--set ate=`, `simulate` from the seed.
FAKE = """
import json, os, pathlib, sys, time
arguments = sys.argv[1:]
option = lambda name, default="": arguments[arguments.index(name) + 1] if name in arguments else default
if arguments[0] == "simulate":
    folder = pathlib.Path(arguments[1]); folder.mkdir(parents=True)
    if option("--scenario") == "unknown":
        sys.exit("unknown scenario")
    (folder / "ate").write_text(option("--seed"))
else:
    ate = option("--set").removeprefix("ate=") or (pathlib.Path(arguments[1]) / "ate").read_text()
    if ate == "hang":
        time.sleep(60)
    if ate == "fail":
        print("working"); sys.exit("tracker.ate must be a number, got 'fail'")
    coverage = 0.0 if ate == "lost" else 1.0
    out = pathlib.Path(option("-o")); out.mkdir(parents=True, exist_ok=True)
    metrics = {"ate_rmse_m": float(ate) if coverage else None, "coverage": coverage, "total_ms": {"median": 17.0}}
    (out / "metrics.json").write_text(json.dumps(metrics))
"""


@pytest.fixture
def said() -> list[str]:
    """What was echoed."""
    return []


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: list[str]) -> Callable[..., bool]:
    """Runs a suite with the stand-in; returns whether it regressed."""
    (tmp_path / "fake.py").write_text(FAKE)
    monkeypatch.setattr(benchmark, "LETVINS", [sys.executable, str(tmp_path / "fake.py")])
    for name, ate in (("easy", "0.010"), ("hard", "0.100")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "ate").write_text(ate)

    def run(text: str, save_baseline: bool = False, ray: str | None = None) -> bool:
        (tmp_path / "suite.yaml").write_text(text)
        return run_benchmark(tmp_path / "suite.yaml", tmp_path / "out", save_baseline, ray, said.append)

    return run


def _result(tmp_path: Path) -> dict[str, Any]:
    return json.loads((tmp_path / "out" / "benchmark.json").read_text())


EASY = "sources: [{name: easy, path: easy}]\nrepeats: 1\nbaseline: b.json\n"


def test_every_source_runs_with_every_configuration_as_often_as_asked(
    bench: Callable[..., bool], said: list[str], tmp_path: Path
) -> None:
    text = """
    sources: [{name: easy, path: easy}, {name: hall, simulate: {scenario: hall, duration_s: 1, seed: [3, 5]}}]
    configurations: [{name: default}, {name: other, set: {ate: 7}}]
    repeats: 2
    """
    assert not bench(text)
    result = _result(tmp_path)
    table = {(r["source"], r["configuration"]): (r["runs"], r["statistics"]["ate_rmse_m"]) for r in result["rows"]}
    assert {key: (runs, s["median"], s["min"], s["max"]) for key, (runs, s) in table.items()} == {
        ("easy", "default"): (2, 0.010, 0.010, 0.010),
        ("easy", "other"): (2, 7, 7, 7),
        ("hall", "default"): (4, 4, 3, 5),
        ("hall", "other"): (4, 7, 7, 7),
    }
    assert (tmp_path / "out" / result["runs"][0]["folder"] / "metrics.json").exists()
    assert "numpy" in result["provenance"]
    assert sum("ATE" in line for line in said) == 12


def test_a_result_is_compared_with_the_saved_baseline(bench: Callable[..., bool], tmp_path: Path) -> None:
    assert not bench(EASY, save_baseline=True)
    assert not bench(EASY)
    (tmp_path / "easy" / "ate").write_text("0.014")
    assert not bench(EASY)  # 4 mm
    (tmp_path / "easy" / "ate").write_text("0.016")
    assert bench(EASY)
    assert _result(tmp_path)["rows"][0]["worse"] == [{"metric": "ate_rmse_m", "now": 0.016, "before": 0.010}]
    assert not bench(EASY + "tolerance: {ate_rmse_m: {absolute: 0.01}}")


@pytest.mark.parametrize(
    ("ate", "message"),
    [("fail", "exit 1: tracker.ate must be"), ("hang", "no end within 1 s"), ("lost", "no pose was estimated")],
)
def test_a_failed_run_is_a_regression_and_says_why(
    bench: Callable[..., bool], said: list[str], tmp_path: Path, ate: str, message: str
) -> None:
    (tmp_path / "easy" / "ate").write_text("0.01")
    bench(EASY)  # leaves a metrics.json that must not be taken for the failed run's
    (tmp_path / "easy" / "ate").write_text(ate)
    assert bench(EASY + "timeout_s: 1", save_baseline=True)
    assert message in _result(tmp_path)["runs"][0]["error"]
    assert message in said[-1]
    assert not (tmp_path / "b.json").exists()


def test_the_table_shows_median_spread_and_verdict(bench: Callable[..., bool], tmp_path: Path) -> None:
    sources = "sources: [{name: sim, simulate: {scenario: hall, duration_s: 1, seed: [1, 2, 4]}}]\nbaseline: b.json\n"
    bench(sources + "repeats: 1", save_baseline=True)
    bench(sources + "repeats: 1\nconfigurations: [{name: default, set: {ate: 9}}, {name: new}]")
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(benchmark_table(tmp_path / "out"))
    text = console.export_text()
    assert "worse: ate_rmse_m 2 -> 9" in text
    assert "2.0000 (1.0000, 4.0000)" in text
    assert "median (min, max)" in text
    assert "no baseline" in text


def test_a_simulation_that_fails_is_named(bench: Callable[..., bool]) -> None:
    text = "sources: [{name: sim, simulate: {scenario: unknown, duration_s: 1}}]"
    with pytest.raises(DataError, match="cannot simulate sim-0: exit 1: unknown scenario"):
        bench(text)


def test_a_baseline_can_only_be_saved_where_the_suite_names_it(bench: Callable[..., bool]) -> None:
    with pytest.raises(ConfigError, match="key baseline is missing"):
        bench("sources: [{name: easy, path: easy}]", save_baseline=True)


def test_ray_is_asked_for_only_when_missing(bench: Callable[..., bool], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ConfigError, match=r"pip install 'letvins_ros\[cluster\]'"):
        bench(EASY, ray="auto")


def test_jobs_go_to_the_ray_cluster_and_a_lost_node_is_a_failed_run(
    bench: Callable[..., bool], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    class LostError(Exception):
        pass

    def init(*, address: str) -> None:
        calls.append(address)

    def get(job: benchmark.Job) -> Any:
        if "hard" in job.command[3]:
            raise LostError("first line\nthe node died")
        return benchmark.run_job(job)

    ray = types.SimpleNamespace(
        init=init,
        shutdown=lambda: calls.append("shutdown"),
        remote=lambda num_cpus: lambda function: types.SimpleNamespace(remote=lambda job: job),
        get=get,
        exceptions=types.SimpleNamespace(RayError=LostError),
    )
    monkeypatch.setitem(sys.modules, "ray", ray)
    assert bench("sources: [{name: easy, path: easy}, {name: hard, path: hard}]\nrepeats: 1", ray="auto")
    easy, hard = _result(tmp_path)["runs"]
    assert easy["metrics"]["ate_rmse_m"] == 0.010
    assert hard["error"] == "the node died"
    assert calls == ["auto", "shutdown"]


@pytest.mark.parametrize("address", ["127.0.0.1:1", "ray://127.0.0.1:1", "127.0.0.1:x"])
def test_a_cluster_that_does_not_answer_is_named_at_once(
    bench: Callable[..., bool], monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    monkeypatch.setitem(sys.modules, "ray", types.SimpleNamespace())
    with pytest.raises(ConfigError, match=f"no Ray cluster answers at {address}: "):
        bench(EASY, ray=address)


def test_a_run_ends_with_the_benchmark_that_was_killed(tmp_path: Path) -> None:
    log = tmp_path / "run.log"
    code = f"""
from pathlib import Path
from letvins_ros.evaluation.benchmark import LETVINS, _call
_call([*LETVINS, "simulate", {str(tmp_path / "hall")!r}, "--duration", "6"], 100, Path({str(log)!r}))
"""
    with subprocess.Popen([sys.executable, "-c", code]) as parent:
        wait(lambda: log.exists() and log.read_text(), 60)  # it tells of its progress
        child = children(parent.pid)[0]
        parent.kill()
    wait(lambda: not runs(child), 3)
