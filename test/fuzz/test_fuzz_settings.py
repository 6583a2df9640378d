# SPDX-License-Identifier: Apache-2.0
"""Configurations, suites and baselines."""

import json
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import pytest
import yaml

from letvins_ros.config import Config
from letvins_ros.config_io import load_config, to_yaml
from letvins_ros.evaluation.regression import benchmark_table, read_rows, summarise
from letvins_ros.evaluation.suite import load_suite

from ..command import ROOT
from . import mutations
from .survival_check import Damage, Reader, survives

JSON = (*mutations.TEXT, mutations.renumber, mutations.nest)


@cache
def configurations() -> list[bytes]:
    files = [*(ROOT / "config").glob("*/*.yaml"), *(ROOT / "training" / "configs").glob("*.yaml")]
    return [to_yaml(Config()).encode(), *(path.read_bytes() for path in files if path.parent.name != "benchmark")]


@cache
def suite() -> bytes:
    return (ROOT / "config" / "benchmark" / "simulation.yaml").read_bytes()


@cache
def baseline() -> bytes:
    plan = load_suite(ROOT / "config" / "benchmark" / "simulation.yaml")
    metrics = {"ate_rmse_m": 0.03, "coverage": 1.0, "resets": 0, "total_ms": {"median": 9.0, "p95": 12.0}}
    runs: list[dict[str, Any]] = [
        {"source": s.name, "configuration": "default", "metrics": {k: v for k, v in metrics.items() if k != drop}}
        for s in plan.sources for drop in ("", "resets")
    ]  # fmt: skip
    old = summarise(plan, [{**run, "metrics": {**run["metrics"], "ate_rmse_m": 0.01}} for run in runs], None)
    return json.dumps({"rows": summarise(plan, runs, old)}, indent=1).encode()


def damage_configuration(folder: Path, rng: Random) -> Path:
    (folder / "a.yaml").write_bytes(mutations.mutate(rng.choice(configurations()), rng, mutations.YAML))
    return folder / "a.yaml"


def use_configuration(path: Path) -> None:
    config = load_config(path)
    assert yaml.safe_load(to_yaml(config))


def damage_suite(folder: Path, rng: Random) -> Path:
    (folder / "suite.yaml").write_bytes(mutations.mutate(suite(), rng, mutations.YAML))
    return folder / "suite.yaml"


def use_suite(path: Path) -> None:
    plan = load_suite(path)
    summarise(plan, [], None)


def damage_baseline(folder: Path, rng: Random) -> Path:
    (folder / "benchmark.json").write_bytes(mutations.mutate(baseline(), rng, JSON))
    return folder / "benchmark.json"


def use_baseline(path: Path) -> None:
    """Shown, and compared with."""
    benchmark_table(path.parent)
    runs = [{"source": "hall", "configuration": "default", "metrics": {"ate_rmse_m": 0.03, "coverage": 1.0}}]
    summarise(load_suite(ROOT / "config" / "benchmark" / "simulation.yaml"), runs, read_rows(path))


@pytest.mark.parametrize(
    ("damage", "use"),
    [
        (damage_configuration, use_configuration),
        (damage_suite, use_suite),
        (damage_baseline, use_baseline),
    ],
)
def test_damaged_settings_are_refused_or_can_be_used(damage: Damage, use: Reader, tmp_path: Path) -> None:
    counts = survives(damage, use, tmp_path)
    assert counts["read"] and counts["refused"]
