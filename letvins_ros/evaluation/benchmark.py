# SPDX-License-Identifier: Apache-2.0
"""Runs sources x configurations x repeats in separate processes and compares the medians with a baseline."""

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from letvins_ros.errors import ConfigError, DataError
from letvins_ros.evaluation.provenance import provenance
from letvins_ros.evaluation.regression import Rows, benchmark_table, read_rows, summarise
from letvins_ros.evaluation.suite import Configuration, Source, Suite, load_suite
from letvins_ros.processes import PARENT
from letvins_ros.writing import to_json, write_atomic

__all__ = ["benchmark_table", "run_benchmark"]

LETVINS = [sys.executable, "-m", "letvins_ros.cli"]


@dataclass(frozen=True)
class Job:
    """One run of one source with one configuration."""

    source: str
    configuration: str
    command: tuple[str, ...]
    folder: Path
    timeout_s: float


def run_benchmark(
    suite: Path, out: Path, save_baseline: bool, ray_address: str | None, echo: Callable[[str], None]
) -> bool:
    """Run a suite, write benchmark.json and return whether anything failed or is worse than the baseline.

    With ray_address the runs are spread over that cluster, whose nodes need the same Python environment and the same
    paths. With save_baseline the result becomes the baseline, unless a run failed. Raises ConfigError, DataError.
    """
    plan = load_suite(suite)
    if save_baseline and plan.baseline is None:
        raise ConfigError(f"{suite}: key baseline is missing: it names the file to save the baseline in")
    baseline = read_rows(plan.baseline) if plan.baseline and plan.baseline.exists() and not save_baseline else None
    if baseline is None and not save_baseline:
        echo("no baseline to compare with: --save-baseline makes the file that the suite names as baseline")
    out = out.resolve()
    write_atomic(out / "suite.yaml", suite.read_bytes())
    ray = _connect(ray_address) if ray_address else None
    jobs = _jobs(plan, out, _inputs(plan.sources, out, echo))
    runs: Rows = []
    done = _run_on_ray(ray, jobs, plan.cpus_per_run) if ray else map(run_job, jobs)
    for i, (job, run) in enumerate(zip(jobs, done, strict=True), 1):
        echo(f"[{i}/{len(jobs)}] {job.source} {job.configuration}: {_outcome(run)}")
        names = {"source": job.source, "configuration": job.configuration}
        runs.append({**names, "folder": str(job.folder.relative_to(out)), **run})
    rows = summarise(plan, runs, baseline)
    regressed = any(row["failed"] or row["worse"] for row in rows)
    result = to_json({"regressed": regressed, "rows": rows, "runs": runs, "provenance": provenance()})
    write_atomic(out / "benchmark.json", result)
    if save_baseline and plan.baseline and not regressed:
        write_atomic(plan.baseline, result)
        echo(f"baseline saved: {plan.baseline}")
    return regressed


def run_job(job: Job) -> dict[str, Any]:
    """Run a job; {"metrics": ...} or {"error": why}. Its output goes into run.log."""
    path = job.folder / "metrics.json"
    path.unlink(missing_ok=True)  # of an earlier benchmark in the same folder
    error = _call(job.command, job.timeout_s, job.folder / "run.log")
    if error or not path.exists():
        return {"error": error or "wrote no metrics.json"}
    metrics = json.loads(path.read_text())
    return {"metrics": metrics} if metrics["coverage"] else {"error": "no pose was estimated"}


def _inputs(sources: Sequence[Source], out: Path, echo: Callable[[str], None]) -> dict[str, list[Path]]:
    """Folders or files to run on, by source; simulates those that are to be simulated."""
    inputs: dict[str, list[Path]] = {}
    for source in sources:
        inputs[source.name] = [source.path] if source.path else []
        for seed in source.seeds:
            folder = out / "sources" / f"{source.name}-{seed}"
            echo(f"simulating {folder.name}")
            shutil.rmtree(folder, ignore_errors=True)  # of an earlier benchmark, perhaps by another version
            options = ("--scenario", source.scenario, "--duration", str(source.duration_s), "--seed", str(seed))
            command = (*LETVINS, "simulate", str(folder), *options)
            error = _call(command, 3600, out / "sources" / f"{source.name}-{seed}.log")
            if error:
                raise DataError(f"cannot simulate {folder.name}: {error}")
            inputs[source.name].append(folder)
    return inputs


def _jobs(plan: Suite, out: Path, inputs: dict[str, list[Path]]) -> list[Job]:
    jobs = []
    for name, paths in inputs.items():
        for configuration in plan.configurations:
            for i, path in enumerate(path for path in paths for _ in range(plan.repeats)):
                folder = out / "runs" / name / configuration.name / str(i)
                command = (*LETVINS, "run", str(path), "-o", str(folder), *_options(configuration))
                jobs.append(Job(name, configuration.name, command, folder, plan.timeout_s))
    return jobs


def _options(configuration: Configuration) -> Iterator[str]:
    if configuration.config is not None:
        yield from ("-c", str(configuration.config))
    for key, value in configuration.settings.items():
        yield from ("--set", f"{key}={value if isinstance(value, str) else json.dumps(value)}")


def _call(command: Sequence[str], timeout_s: float, log: Path) -> str | None:
    """Run a command; None on success, else the error in one line."""
    log.parent.mkdir(parents=True, exist_ok=True)
    try:
        with log.open("wb") as stream:
            done = subprocess.run(  # noqa: S603  the suite's author may run what they like
                command, stdin=subprocess.DEVNULL, stdout=stream, stderr=stream, timeout=timeout_s, check=False,
                env={**os.environ, PARENT: str(os.getpid())},
            )  # fmt: skip
    except subprocess.TimeoutExpired:
        return f"no end within {timeout_s:g} s"
    lines = log.read_text(errors="replace").strip().splitlines() or ["no message"]
    return f"exit {done.returncode}: {lines[-1]}" if done.returncode else None


def _connect(address: str) -> Any:
    """The ray module, connected to a cluster: host:port, ray://host:port, or what Ray knows, such as auto."""
    try:
        import ray
    except ImportError as error:
        raise ConfigError("--ray needs the ray package on this machine: pip install 'letvins_ros[cluster]'") from error
    host, _, port = address.removeprefix("ray://").partition(":")
    try:
        if port:  # Ray itself tries for many minutes
            socket.create_connection((host, int(port)), timeout=10).close()
        ray.init(address=address)
    except (OSError, ValueError) as error:
        raise ConfigError(f"no Ray cluster answers at {address}: {error}") from error
    return ray


def _run_on_ray(ray: Any, jobs: list[Job], cpus: float) -> Iterator[dict[str, Any]]:
    try:
        remote = ray.remote(num_cpus=cpus)(run_job)
        for run in [remote.remote(job) for job in jobs]:
            try:
                yield ray.get(run)
            except ray.exceptions.RayError as error:  # such as a node that died
                yield {"error": str(error).strip().splitlines()[-1]}
    finally:
        ray.shutdown()


def _outcome(run: dict[str, Any]) -> str:
    if "error" in run:
        return f"FAILED, {run['error']}"
    ate, total = run["metrics"].get("ate_rmse_m"), run["metrics"].get("total_ms")
    accuracy = "no truth" if ate is None else f"ATE {ate:.4f} m"
    return accuracy + (f", {total['median']:.1f} ms a frame" if total else "")
