# SPDX-License-Identifier: Apache-2.0
"""The state of a training run on disk: last.ckpt to go on from."""

from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric

from letvins_ros.errors import ConfigError, DataError
from letvins_ros.writing import atomic_path

_FIXED = ("recipe", "optimizer", "weight_decay", "schedule", "lr")  # of which the saved state holds a part


def save_last(fabric: Fabric, folder: Path, state: Mapping[str, Any]) -> None:
    """Write last.ckpt, complete or not at all, with the state of the random numbers."""
    path = folder / "last.ckpt"
    try:
        with atomic_path(path) if fabric.is_global_zero else nullcontext(path) as part:  # only the first process writes
            fabric.save(part, {**state, "random": _random_state()})
    except RuntimeError as error:  # torch's, of a full disk
        raise DataError(f"cannot write {path}: {str(error).splitlines()[0]}") from error


def resume(fabric: Fabric, path: str, state: dict[str, Any], config: Mapping[str, Any]) -> None:
    """Load a last.ckpt into the objects of `state`, random numbers included; no code in it is run.

    Raises ConfigError where a run of this configuration cannot go on from there, DataError where the file is damaged.
    """
    if Path(path).suffix != ".ckpt":
        raise ConfigError(f"resume: {path} is no last.ckpt; weights alone are begun with by options.start={path}")
    state["random"] = _random_state()
    try:
        saved = fabric.load(path, weights_only=True)
        _check_resumed(saved["config"], config, saved["step"])
        fabric.load(path, state, weights_only=True)
        random = state.pop("random")
        torch.set_rng_state(random["cpu"])
        if random["cuda"] is not None and torch.cuda.is_available():
            torch.cuda.set_rng_state(random["cuda"])
    except ConfigError:
        raise
    except Exception as error:  # torch raises many kinds for a file that is damaged or holds code
        first = (str(error) or type(error).__name__).splitlines()[0]
        raise DataError(f"{path}: not a checkpoint of this recipe ({first})") from error


def _check_resumed(before: Mapping[str, Any], now: Mapping[str, Any], step: int) -> None:
    fixed = [*_FIXED, "steps"] if now["schedule"] == "one_cycle" else _FIXED
    for key in fixed:
        if before[key] != now[key]:
            reason = " (one_cycle ends with a rate of 0)" if key == "steps" else ""
            raise ConfigError(
                f"resume: the run began with {key} {before[key]}, not {now[key]}{reason}; begin another from its"
                " last.safetensors"
            )
    if step >= now["steps"]:
        raise ConfigError(f"resume: all {step} steps are done; give more steps")


def _random_state() -> dict[str, torch.Tensor | None]:
    cuda = torch.cuda.get_rng_state() if torch.cuda.is_available() else None
    return {"cpu": torch.get_rng_state(), "cuda": cuda}
