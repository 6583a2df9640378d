# SPDX-License-Identifier: Apache-2.0
"""What a training run is told: a yaml file of these keys, and `key=value` after it on the command line."""

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

from letvins_ros.errors import ConfigError
from letvins_ros.keys import check_keys
from letvins_ros.yaml_files import load_yaml, parse_yaml
from training.recipes.base import Recipe


@dataclass(frozen=True)
class TrainConfig:
    """One run."""

    recipe: str  # module of training.recipes
    out: str  # folder for log.csv, pictures, last.ckpt, best.safetensors and last.safetensors
    steps: int  # optimiser steps
    batch: int = 2  # samples per device and pass
    accumulate: int = 1  # passes per step
    optimizer: Literal["adam", "adamw"] = "adam"
    weight_decay: float = 0.0
    lr: float = 1e-3  # the highest
    schedule: Literal["one_cycle", "constant", "decay", "restarts"] = "one_cycle"  # see training.schedules
    warmup: int = 0  # steps from lr / 10 to lr, except in one_cycle
    decay_from: int = 0  # decay: the first step
    decay_every: int = 1000  # steps between decays, or between restarts
    decay_factor: float = 0.5
    decay_smooth: bool = False  # the same decay in every step instead of at once
    clip_norm: float = 1.0  # of the gradient, 0: off
    clip_value: float = 0.0  # of each of its numbers, 0: off
    validate_every: int = 100  # steps; checkpoints are written then
    log_every: int = 20  # steps
    seed: int = 0
    accelerator: str = "auto"  # Lightning Fabric's, as the next four
    devices: int = 1
    nodes: int = 1
    strategy: str = "auto"
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "32-true"
    threads: int = 0  # of the CPU, 0: torch's own choice
    workers: int = 0  # processes that read data
    stop_after: int = 0  # steps, to go on later; 0: run to the end
    resume: str = ""  # last.ckpt to go on from
    tensorboard: bool = True  # log into out/tensorboard
    wandb: str = ""  # project to log to at Weights & Biases, if any
    progress: bool = True  # bar
    options: dict[str, Any] = field(default_factory=dict)  # of the recipe


def read_config(path: Path, overrides: Sequence[str]) -> TrainConfig:
    """Read the yaml and lay `key=value`, `options.key=value` over it; ConfigError names what is wrong."""
    values = load_yaml(path)
    values.setdefault("options", {})
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals:
            raise ConfigError(f"{override}: give overrides as key=value")
        section, _, option = key.rpartition("options.")
        (values["options"] if option != key else values)[option or section] = parse_yaml(text, override)
    config: TrainConfig = make(TrainConfig, values, str(path))
    return config


def open_recipe(config: TrainConfig) -> Recipe:
    """Make the recipe that the configuration names, with its options."""
    name = f"training.recipes.{config.recipe}"
    try:
        module = import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        raise ConfigError(f"unknown recipe {config.recipe}") from error
    recipe: Recipe = make(module.RECIPE, config.options, f"options of {config.recipe}")
    return recipe


def make(kind: Any, values: Mapping[str, Any], where: str) -> Any:
    """Make a dataclass of a mapping; ConfigError for unknown and missing keys, and wrong types."""
    known = [item for item in fields(kind) if item.init]
    required = [item.name for item in known if item.default is MISSING and item.default_factory is MISSING]
    try:
        return kind(**check_keys(values, "", {item.name: item.type for item in known}, required))
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from None
