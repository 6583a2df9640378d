# SPDX-License-Identifier: Apache-2.0
"""A real Ray cluster on the loopback, a head and two workers; runs where ray is: `pip install -e '.[cluster]'`."""

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from letvins_ros.evaluation import benchmark
from letvins_ros.evaluation.benchmark import run_benchmark

Cluster = pytest.importorskip("ray.cluster_utils").Cluster

# Stands for `letvins run`: its error is a digest of the source's bytes. It tells in which process it runs, and waits
# for a file beside the source, so that a worker can be killed meanwhile.
RUN = """
import hashlib, json, os, pathlib, sys, time
source, out = pathlib.Path(sys.argv[2]), pathlib.Path(sys.argv[4])
(source.parent / f"pid-{os.getpid()}").touch()
until = time.monotonic() + 100
while not (source.parent / "go").exists() and time.monotonic() < until:
    time.sleep(0.05)
out.mkdir(parents=True, exist_ok=True)
error = int(hashlib.sha256(source.read_bytes()).hexdigest()[:6], 16) / 1e9
(out / "metrics.json").write_text(json.dumps({"ate_rmse_m": error, "coverage": 1.0}))
"""
NAMES = "abcdef"


def processes_of(node: Any) -> set[int]:
    """The raylet of a node and all processes below it."""
    below: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            below.setdefault(int(stat.read_text().rpartition(")")[2].split()[1]), []).append(int(stat.parent.name))
        except OSError:  # it has ended
            continue
    found = [node.all_processes["raylet"][0].process.pid]
    for one in found:
        found += below.get(one, [])
    return set(found)


def started() -> Any:
    """A head that runs nothing itself, and two workers of one run at a time."""
    options = {"object_store_memory": 80_000_000, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, **options})
    try:
        for _ in range(2):
            cluster.add_node(num_cpus=1, object_store_memory=80_000_000)
    except BaseException:
        cluster.shutdown()
        raise
    return cluster


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch, root: Path) -> Iterator[Any]:
    """Started anew where Ray gives a node up: it waits for 30 s, which a loaded machine may need."""
    monkeypatch.setenv("PYTHONPATH", str(root))  # as installed on every node
    for attempts_left in (2, 1, 0):
        try:
            cluster = started()
            break
        except Exception:  # it has no kind of its own
            if not attempts_left:
                raise
    yield cluster
    cluster.shutdown()


def results(out: Path) -> list[tuple[Any, ...]]:
    runs = json.loads((out / "benchmark.json").read_text())["runs"]
    return [(run["source"], run.get("error"), run.get("metrics")) for run in runs]


def test_a_cluster_that_loses_a_worker_gives_the_results_of_one_machine(
    tmp_path: Path, cluster: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "run.py").write_text(RUN)
    monkeypatch.setattr(benchmark, "LETVINS", [sys.executable, str(tmp_path / "run.py")])
    for name in NAMES:
        (tmp_path / name).write_text(name)
    suite = tmp_path / "suite.yaml"
    suite.write_text("sources: [" + ", ".join(f"{{name: {n}, path: {n}}}" for n in NAMES) + "]\nrepeats: 1\n")
    killed: list[Any] = []

    def lose_a_worker() -> None:
        """Once both workers are at a run, kill the first of them; then let all runs go on."""
        until = time.monotonic() + 120
        while time.monotonic() < until and len(killed) == 0:
            running = {int(path.name[4:]) for path in tmp_path.glob("pid-*")}
            busy = [worker for worker in cluster.worker_nodes if running & processes_of(worker)]
            if len(busy) == 2:
                its_processes = processes_of(busy[0])
                cluster.remove_node(busy[0], allow_graceful=False)
                for pid in its_processes:  # as when the machine is lost: or its run might end, and be told, after all
                    with suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                killed.append(busy[0])
            time.sleep(0.1)
        (tmp_path / "go").touch()

    thread = threading.Thread(target=lose_a_worker, daemon=True)
    thread.start()
    said: list[object] = []
    regressed = run_benchmark(suite, tmp_path / "out", False, cluster.address, said.append)
    thread.join()
    assert len(killed) == 1
    assert not regressed, said
    assert len(list(tmp_path.glob("pid-*"))) == len(NAMES) + 1  # one was started again
    assert not run_benchmark(suite, tmp_path / "local", False, None, said.append)
    assert results(tmp_path / "out") == results(tmp_path / "local")
