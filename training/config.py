# SPDX-License-Identifier: Apache-2.0
"""What a training run is told: a yaml file of these keys, and `key=value` after it on the command line."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

from letvins_ros.errors import ConfigError
from letvins_ros.keys import check_keys
from letvins_ros.yaml_files import load_yaml, parse_yaml
from training.recipes.base import Recipe

_AT_LEAST_1 = ("steps", "batch", "accumulate", "decay_every", "validate_every", "log_every", "devices", "nodes")
_OPTIONS_AT_LEAST_1 = (
    "height", "width", "classes", "top_k", "points", "layers", "heads", "levels", "steps", "negatives", "pool",
    "cached", "cluster_images", "validation_pairs", "validation_shapes", "validation_queries",
)  # fmt: skip


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
    validate_every: int = 100  # steps; last.ckpt is written then
    checkpoint_minutes: float = 15.0  # and when so long has passed
    log_every: int = 20  # steps
    seed: int = 0
    accelerator: str = "auto"  # Lightning Fabric's, as precision
    devices: int = 1
    nodes: int = 1
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "32-true"
    tf32: bool = True  # on a GPU: faster products of a little less precision
    channels_last: bool = False  # layout of images, which halves the time of convolutions on many devices
    compile: bool = False  # by torch.compile: slow to begin, then faster
    pin_memory: bool = True  # batches go to a GPU from memory that is never swapped
    threads: int = 0  # of the CPU, 0: torch's own choice
    workers: int = 0  # processes that read data
    stop_after: int = 0  # steps, to go on later; 0: run to the end
    resume: str = ""  # last.ckpt to go on from
    tensorboard: bool = True  # log into out/tensorboard
    wandb: str = ""  # project to log to at Weights & Biases, if any
    progress: bool = True  # bar
    options: dict[str, Any] = field(default_factory=dict)  # of the recipe

    def __post_init__(self) -> None:
        check_numbers(self, "", _AT_LEAST_1)
        if self.lr <= 0:
            raise ConfigError(f"lr must be above 0, got {self.lr}")


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
    check_numbers(recipe, "options.", _OPTIONS_AT_LEAST_1)
    return recipe


def check_numbers(settings: Any, where: str, at_least_1: Sequence[str]) -> None:
    """Raise ConfigError for a number that is not finite or below 0, or below 1 where it is named."""
    for item in fields(settings):
        value = getattr(settings, item.name)
        if isinstance(value, bool) or not isinstance(value, int | float):
            continue
        least = 1 if item.name in at_least_1 else 0
        if not math.isfinite(value) or value < least:
            raise ConfigError(f"{where}{item.name} must be at least {least}, got {value}")


def make(kind: Any, values: Mapping[str, Any], where: str) -> Any:
    """Make a dataclass of a mapping; ConfigError for unknown and missing keys, and wrong types."""
    known = [item for item in fields(kind) if item.init]
    required = [item.name for item in known if item.default is MISSING and item.default_factory is MISSING]
    try:
        return kind(**check_keys(values, "", {item.name: item.type for item in known}, required))
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from None
