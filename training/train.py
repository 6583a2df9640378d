# SPDX-License-Identifier: Apache-2.0
"""`python -m training.train training/configs/NAME.yaml [key=value ...]`: the one training loop, for every recipe."""

import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from rich.progress import Progress
from torch import Tensor
from torch.utils.data import DataLoader, Subset

from letvins_ros.errors import LetvinsError
from training.checkpoints import resume, save_last, save_network
from training.config import TrainConfig, open_recipe, read_config
from training.data.inputs import check_inputs
from training.logs import open_logs
from training.recipes.base import Batch, Recipe
from training.schedules import make_schedule

_OPTIMIZERS = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}


def train(config: TrainConfig) -> dict[str, float]:
    """Run to the end and return the best validation's figures; best.safetensors holds its weights."""
    if config.threads:
        torch.set_num_threads(config.threads)
    fabric = Fabric(
        accelerator=config.accelerator,
        devices=config.devices,
        num_nodes=config.nodes,
        strategy=config.strategy,
        precision=config.precision,
    )
    fabric.launch()
    fabric.seed_everything(config.seed, verbose=False)
    recipe = open_recipe(config)
    check_inputs(recipe.inputs())
    network = recipe.build()
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    optimizer = _OPTIMIZERS[config.optimizer](trained, lr=config.lr, weight_decay=config.weight_decay)
    schedule = make_schedule(optimizer, config)
    network, optimizer = fabric.setup(network, optimizer)
    state: dict[str, Any] = {"network": network, "optimizer": optimizer, "schedule": schedule, "step": 0, "best": {}}
    if config.resume:
        resume(fabric, config.resume, state)
    run = _Run(fabric, config, recipe, state)
    try:
        run.go()
    finally:
        run.close()
    best: dict[str, float] = state["best"]
    return best


class _Run:
    """The rest of a run: rounds of steps, a validation after each."""

    def __init__(self, fabric: Fabric, config: TrainConfig, recipe: Recipe, state: dict[str, Any]) -> None:
        self._fabric, self._config, self._recipe, self._state = fabric, config, recipe, state
        self._logs = open_logs(config) if fabric.is_global_zero else []
        self._progress = Progress(disable=not (config.progress and fabric.is_global_zero), transient=True)

    def go(self) -> None:
        """Train until the steps are done or the run is to stop."""
        config, state = self._config, self._state
        end = min(config.stop_after or config.steps, config.steps)
        with self._progress as progress:
            task = progress.add_task(config.recipe, total=config.steps, completed=state["step"])
            while state["step"] < end:
                self._recipe.prepare(state["network"])
                for passes in self._rounds(min(end, _next_validation(state["step"], config))):
                    losses = self._step(passes)
                    state["step"] += 1
                    progress.update(task, completed=state["step"])
                    if state["step"] % config.log_every == 0:
                        self._log(losses)
                if state["step"] % config.validate_every == 0 or state["step"] == config.steps:
                    self._validate(losses)

    def close(self) -> None:
        """Close the logs."""
        for log in self._logs:
            log.close()

    def _rounds(self, until: int) -> Iterator[list[Batch]]:
        """Give the passes of each step up to `until`; samples follow the step, whatever was before it."""
        config, fabric = self._config, self._fabric
        per_step = config.batch * config.accumulate * fabric.world_size
        samples = self._recipe.samples(config.steps * per_step, config.seed)
        todo = Subset(samples, range(self._state["step"] * per_step, until * per_step))
        own = torch.Generator()  # else starting the loader would draw from the state that a resumed run has restored
        loader = DataLoader(todo, config.batch, generator=own, num_workers=config.workers)
        batches: Iterator[Batch] = iter(fabric.setup_dataloaders(loader))  # type: ignore[arg-type]
        for _ in range(self._state["step"], until):
            yield [next(batches) for _ in range(config.accumulate)]

    def _step(self, passes: list[Batch]) -> dict[str, Tensor]:
        fabric, config = self._fabric, self._config
        network, optimizer = self._state["network"], self._state["optimizer"]
        optimizer.zero_grad()
        for i, batch in enumerate(passes):
            with fabric.no_backward_sync(network, enabled=i + 1 < len(passes)):
                losses = self._recipe.loss(network, batch)
                fabric.backward(losses["total"] / len(passes))
        if config.clip_norm:
            fabric.clip_gradients(network, optimizer, max_norm=config.clip_norm)
        if config.clip_value:
            fabric.clip_gradients(network, optimizer, clip_val=config.clip_value)
        optimizer.step()
        self._state["schedule"].step()
        return losses

    def _log(self, losses: dict[str, Tensor]) -> None:
        figures = {**_values(losses), "lr": self._state["schedule"].get_last_lr()[0]}
        for log in self._logs:
            log.losses(self._state["step"], figures)

    def _validate(self, losses: dict[str, Tensor]) -> None:
        state, folder = self._state, Path(self._config.out)
        kept = self._recipe.deployed(_plain(state["network"]))
        figures = self._recipe.validate(kept)
        pictures = self._recipe.pictures(kept)
        for log in self._logs:
            log.validation(state["step"], {**_values(losses), **figures}, pictures)
        better = figures["score"] > state["best"].get("score", float("-inf"))
        if better:
            state["best"] = {"step": state["step"], **figures}
        if self._fabric.is_global_zero:
            for name in ("last", "best") if better else ("last",):
                save_network(folder / f"{name}.safetensors", kept)
        save_last(self._fabric, folder, {**state, "config": asdict(self._config)})


def _next_validation(step: int, config: TrainConfig) -> int:
    return min(config.steps, (step // config.validate_every + 1) * config.validate_every)


def _values(losses: dict[str, Tensor]) -> dict[str, float]:
    return {name: loss.item() for name, loss in losses.items()}


def _plain(network: Any) -> torch.nn.Module:
    plain: torch.nn.Module = network.module
    return plain


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit("usage: python -m training.train CONFIG.yaml [key=value ...]")
    try:
        train(read_config(Path(sys.argv[1]), sys.argv[2:]))
    except LetvinsError as error:
        sys.exit(str(error))
