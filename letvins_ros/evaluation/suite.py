# SPDX-License-Identifier: Apache-2.0
"""A benchmark suite: sources, configurations, repeats, and the tolerances of a regression."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from letvins_ros.errors import ConfigError
from letvins_ros.evaluation.record import STAGES
from letvins_ros.evaluation.run_metrics import LABELS
from letvins_ros.keys import brief, check_keys
from letvins_ros.yaml_files import load_yaml

METRICS = sorted(
    (set(LABELS) - set(STAGES)) | {f"{stage}.{part}" for stage in STAGES for part in ("median", "p95", "max")}
)


@dataclass(frozen=True)
class Source:
    """A recording, or one to simulate for each seed."""

    name: str
    path: Path | None = None
    scenario: str = ""
    duration_s: float = 0.0
    seeds: tuple[int, ...] = ()


@dataclass(frozen=True)
class Configuration:
    """Options of `letvins run`."""

    name: str
    config: Path | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)  # by dotted key


@dataclass(frozen=True)
class Tolerance:
    """A median is worse when it is off by more than both, against the better direction of its metric."""

    relative: float = 0.0
    absolute: float = 0.0


@dataclass(frozen=True)
class Suite:
    """Every source runs with every configuration, `repeats` times."""

    sources: tuple[Source, ...]
    configurations: tuple[Configuration, ...]
    repeats: int
    baseline: Path | None
    tolerance: Mapping[str, Tolerance]  # by metric, dotted where nested
    timeout_s: float  # of one run
    cpus_per_run: float  # reserved on a Ray cluster


MAX_RUNS = 10_000
DEFAULT_TOLERANCE = {"ate_rmse_m": Tolerance(0.05, 0.005), "coverage": Tolerance()}


def load_suite(path: Path) -> Suite:
    """Read a suite; paths in it are relative to its folder. Raises ConfigError with the key at fault."""
    content = load_yaml(path)
    try:
        return _suite(content, path.parent)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None


def _suite(content: object, folder: Path) -> Suite:
    kinds = {
        "sources": list,
        "configurations": list,
        "repeats": int,
        "baseline": str,
        "tolerance": dict,
        "timeout_s": float,
        "cpus_per_run": float,
    }
    given = check_keys(content, "", kinds, ["sources"])
    sources = tuple(_source(item, f"sources[{i}].", folder) for i, item in enumerate(given["sources"]))
    items = given.get("configurations", [{"name": "default"}])
    configurations = tuple(_configuration(item, f"configurations[{i}].", folder) for i, item in enumerate(items))
    for where, names in (("sources", [s.name for s in sources]), ("configurations", [c.name for c in configurations])):
        _check_names(where, names)
    for key in ("timeout_s", "cpus_per_run"):
        _check_range(key, given.get(key, 1), 0.01, 1e7)
    repeats = given.get("repeats", 3)
    _check_range("repeats", repeats, 1, MAX_RUNS)
    runs = repeats * len(configurations) * sum(len(source.seeds) or 1 for source in sources)
    if runs > MAX_RUNS:
        raise ConfigError(f"{runs} runs, a suite may have {MAX_RUNS}")
    return Suite(
        sources,
        configurations,
        repeats=repeats,
        baseline=folder / given["baseline"] if "baseline" in given else None,
        tolerance=DEFAULT_TOLERANCE | _tolerance(given.get("tolerance", {})),
        timeout_s=given.get("timeout_s", 3600.0),
        cpus_per_run=given.get("cpus_per_run", 1.0),
    )


def _source(content: object, where: str, folder: Path) -> Source:
    given = check_keys(content, where, {"name": str, "path": str, "simulate": dict}, ["name"])
    if ("path" in given) == ("simulate" in given):
        raise ConfigError(f"{where}path or {where}simulate must be given, and only one of them")
    if "path" in given:
        return Source(given["name"], _existing(given["path"], f"{where}path", folder))
    kinds = {"scenario": str, "duration_s": float, "seed": (int, list)}
    simulate = check_keys(given["simulate"], f"{where}simulate.", kinds, ["scenario", "duration_s"])
    _check_range(f"{where}simulate.duration_s", simulate["duration_s"], 1, 1e5)
    seeds = simulate.get("seed", 0)
    seeds = seeds if isinstance(seeds, list) else [seeds]
    if not seeds or not all(type(seed) is int for seed in seeds):
        raise ConfigError(f"{where}simulate.seed must be an integer or a list of them, got {brief(seeds)}")
    return Source(given["name"], None, simulate["scenario"], simulate["duration_s"], tuple(seeds))


def _configuration(content: object, where: str, folder: Path) -> Configuration:
    given = check_keys(content, where, {"name": str, "config": str, "set": dict}, ["name"])
    config = _existing(given["config"], f"{where}config", folder) if "config" in given else None
    return Configuration(given["name"], config, given.get("set", {}))


def _existing(text: str, where: str, folder: Path) -> Path:
    try:
        path = (folder / Path(text).expanduser()).resolve()
        if path.exists():
            return path
    except (OSError, ValueError, RuntimeError) as error:  # too long, with a zero byte, of an unknown user
        raise ConfigError(f"{where}: {brief(text)}: {error}") from None
    raise ConfigError(f"{where}: there is no {path}")


def _tolerance(content: dict[str, Any]) -> dict[str, Tolerance]:
    check_keys(content, "tolerance.", dict.fromkeys(METRICS, dict))
    kinds = {"relative": float, "absolute": float}
    return {name: Tolerance(**check_keys(item, f"tolerance.{name}.", kinds)) for name, item in content.items()}


def _check_range(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise ConfigError(f"{name} must be from {low:g} to {high:g}, got {brief(value)}")


def _check_names(where: str, names: list[str]) -> None:
    """Names become folders and rows of the table."""
    for name in names:
        if not re.fullmatch(r"[\w.-]+", name) or name.startswith("."):
            raise ConfigError(f"{where} name {name!r} must be made of letters, digits, '_', '-' and '.'")
        if names.count(name) > 1:
            raise ConfigError(f"{where} name {name!r} is given {names.count(name)} times")
