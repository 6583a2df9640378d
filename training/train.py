# SPDX-License-Identifier: Apache-2.0
"""`python -m training.train training/configs/NAME.yaml [key=value ...]`: the one training loop, for every recipe."""

import csv
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from rich.console import Console
from torch import nn
from torch.utils.data import DataLoader, Subset

from letvins_ros.errors import LetvinsError
from letvins_ros.weights import save_weights
from training.config import TrainConfig, open_recipe, read_config


def train(config: TrainConfig) -> dict[str, float]:
    """Run to the end and return the best validation's figures; best.safetensors holds its weights."""
    if config.threads:
        torch.set_num_threads(config.threads)
    fabric = Fabric(accelerator=config.accelerator, devices=config.devices, precision=config.precision)
    fabric.launch()
    fabric.seed_everything(config.seed)
    recipe = open_recipe(config)
    network = recipe.build()
    optimizer = torch.optim.Adam(network.parameters(), lr=config.lr)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, config.lr, config.steps, pct_start=0.1)
    network, optimizer = fabric.setup(network, optimizer)
    state: dict[str, Any] = {"network": network, "optimizer": optimizer, "schedule": schedule, "step": 0, "best": {}}
    if config.resume:
        state["rng"] = torch.get_rng_state()
        fabric.load(config.resume, state)
        torch.set_rng_state(state["rng"])
    todo = range(state["step"] * config.batch, config.steps * config.batch)
    samples = Subset(recipe.samples(config.steps * config.batch, config.seed), todo)
    own = torch.Generator()  # else starting the loader would draw from the state that a resumed run has restored
    batches: Any = fabric.setup_dataloaders(DataLoader(samples, config.batch, generator=own))
    for batch in batches:
        losses = recipe.loss(network, batch)
        optimizer.zero_grad()
        fabric.backward(losses["total"])
        fabric.clip_gradients(network, optimizer, max_norm=config.clip_norm)
        optimizer.step()
        schedule.step()
        state["step"] += 1
        if state["step"] % config.validate_every == 0 or state["step"] == config.steps:
            figures = recipe.validate(network)
            _report(fabric, config, state["step"], {**{k: v.item() for k, v in losses.items()}, **figures})
            _keep(fabric, config, state, figures)
        if state["step"] == config.stop_after:
            break
    best: dict[str, float] = state["best"]
    return best


def _report(fabric: Fabric, config: TrainConfig, step: int, figures: Mapping[str, float]) -> None:
    if not fabric.is_global_zero:
        return
    path = Path(config.out) / "log.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    row = {"step": step, **{name: round(value, 5) for name, value in figures.items()}}
    new = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, list(row))
        if new:
            writer.writeheader()
        writer.writerow(row)
    Console().print("  ".join(f"{name} {value}" for name, value in row.items()))


def _keep(fabric: Fabric, config: TrainConfig, state: dict[str, Any], figures: dict[str, float]) -> None:
    """Write last.ckpt, and best.safetensors where the score is the highest so far."""
    better = figures["score"] > state["best"].get("score", float("-inf"))
    if better:
        state["best"] = {"step": state["step"], **figures}
        weights = {key: value.cpu().numpy() for key, value in _plain(state["network"]).state_dict().items()}
        if fabric.is_global_zero:
            save_weights(Path(config.out) / "best.safetensors", weights)
    part = Path(config.out) / ".last.ckpt.part"
    fabric.save(part, {**state, "rng": torch.get_rng_state(), "config": asdict(config)})
    if fabric.is_global_zero:
        part.replace(Path(config.out) / "last.ckpt")


def _plain(network: Any) -> nn.Module:
    """Give the module that Fabric wrapped."""
    module: nn.Module = network.module
    return module


if __name__ == "__main__":
    try:
        train(read_config(Path(sys.argv[1]), sys.argv[2:]))
    except LetvinsError as error:
        sys.exit(str(error))
