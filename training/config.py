# SPDX-License-Identifier: Apache-2.0
"""What a training run is told: a yaml file of these keys, and `key=value` after it on the command line."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

import yaml

from letvins_ros.errors import ConfigError
from training.recipes.base import Recipe


@dataclass(frozen=True)
class TrainConfig:
    """One run."""

    recipe: str  # module of training.recipes
    out: str  # folder for log.csv, last.ckpt and best.safetensors
    steps: int  # optimiser steps
    batch: int = 2  # samples per step and device
    lr: float = 1e-3  # peak; up in the first tenth of the steps, then down to 0 along a cosine
    clip_norm: float = 1.0  # of the gradient
    validate_every: int = 100  # steps; checkpoints are written then
    seed: int = 0
    accelerator: str = "auto"  # Lightning Fabric's
    devices: int = 1
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "32-true"
    threads: int = 0  # of the CPU, 0: torch's own choice
    stop_after: int = 0  # steps, to go on later; 0: run to the end
    resume: str = ""  # last.ckpt to go on from
    options: dict[str, Any] = field(default_factory=dict)  # of the recipe


def read_config(path: Path, overrides: Sequence[str]) -> TrainConfig:
    """Read the yaml and lay `key=value`, `options.key=value` over it; ConfigError names what is wrong."""
    try:
        values = yaml.safe_load(path.read_text())
    except (OSError, yaml.YAMLError) as error:
        raise ConfigError(f"{path}: not a readable yaml ({str(error).splitlines()[0]})") from error
    values.setdefault("options", {})
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals:
            raise ConfigError(f"{override}: give overrides as key=value")
        section, _, option = key.rpartition("options.")
        (values["options"] if option != key else values)[option or section] = yaml.safe_load(text)
    config: TrainConfig = _make(TrainConfig, values, str(path))
    return config


def open_recipe(config: TrainConfig) -> Recipe:
    """Make the recipe that the configuration names, with its options."""
    try:
        module = import_module(f"training.recipes.{config.recipe}")
    except ModuleNotFoundError as error:
        raise ConfigError(f"unknown recipe {config.recipe}") from error
    recipe: Recipe = _make(module.RECIPE, config.options, f"options of {config.recipe}")
    return recipe


def _make(kind: Any, values: Mapping[str, Any], where: str) -> Any:
    known = {item.name: item for item in fields(kind)}
    for key, value in values.items():
        if key not in known:
            raise ConfigError(f"{where}: unknown key {key}; known: {', '.join(known)}")
        wanted = known[key].type
        if wanted is float and isinstance(value, int | float):
            continue
        if isinstance(wanted, type) and not isinstance(value, wanted):
            raise ConfigError(f"{where}: {key} must be {wanted.__name__}, got {value!r}")
    try:
        return kind(**values)
    except TypeError as error:  # a key without default is missing
        raise ConfigError(f"{where}: {str(error).partition(') ')[2] or error}") from error
