# SPDX-License-Identifier: Apache-2.0
"""`python -m training.train training/configs/NAME.yaml [key=value ...]`: the one training loop, for every recipe."""

import signal
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
from letvins_ros.writing import atomic_path
from training.checkpoints import resume, save_last
from training.config import TrainConfig, open_recipe, read_config
from training.data.inputs import Skipping, check_inputs
from training.guards import InterruptedRunError, NotFiniteError, Signals, Timer, finite, finite_layers
from training.logs import open_logs
from training.parallel import any_of, average_buffers, average_gradients, open_fabric, share_state
from training.recipes.base import Batch, Recipe
from training.schedules import make_schedule
from training.weights import save_network

_OPTIMIZERS = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}


def train(config: TrainConfig) -> dict[str, float]:
    """Run to the end and return the best validation's figures; best.safetensors holds its weights.

    Raises InterruptedRunError after Ctrl-C or SIGTERM, when the step is done and saved, and NotFiniteError.
    """
    if config.threads:
        torch.set_num_threads(config.threads)
    torch.set_float32_matmul_precision("high" if config.tf32 else "highest")
    torch.backends.cudnn.allow_tf32 = config.tf32
    recipe = open_recipe(config)
    check_inputs(recipe.inputs())
    fabric = open_fabric(config.accelerator, config.devices, config.nodes, config.precision)
    fabric.launch()
    fabric.seed_everything(config.seed, verbose=False)
    state = _start(fabric, config, recipe)
    run = _Run(fabric, config, recipe, state)
    try:
        with Signals() as signals:
            run.go(signals)
    finally:
        run.close()
    best: dict[str, float] = state["best"]
    return best


def _start(fabric: Fabric, config: TrainConfig, recipe: Recipe) -> dict[str, Any]:
    network = recipe.build()
    if config.channels_last:
        network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    optimizer = _OPTIMIZERS[config.optimizer](trained, lr=config.lr, weight_decay=config.weight_decay)
    schedule = make_schedule(optimizer, config)
    if config.compile:
        network.compile()
    network, optimizer = fabric.setup(network, optimizer)
    share_state(network)
    state: dict[str, Any] = {"network": network, "optimizer": optimizer, "schedule": schedule, "step": 0, "best": {}}
    if config.resume:
        resume(fabric, config.resume, state, asdict(config))
    return state


class _Run:
    """The rest of a run: rounds of steps, a validation after each."""

    def __init__(self, fabric: Fabric, config: TrainConfig, recipe: Recipe, state: dict[str, Any]) -> None:
        self._fabric, self._config, self._recipe, self._state = fabric, config, recipe, state
        self._trained = [p for p in state["network"].parameters() if p.requires_grad]
        self._logs = open_logs(config) if fabric.is_global_zero else []
        self._progress = Progress(disable=not (config.progress and fabric.is_global_zero), transient=True)
        self._timer = Timer(config.checkpoint_minutes)
        self._skipped = 0
        self._batches: Iterator[Batch] | None = None

    def go(self, signals: Signals) -> None:
        """Train until the steps are done or the run is to stop."""
        config, state = self._config, self._state
        end = min(config.stop_after or config.steps, config.steps)
        with self._progress as progress:
            task = progress.add_task(config.recipe, total=config.steps, completed=state["step"])
            while state["step"] < end:
                self._recipe.prepare(state["network"])
                for passes in self._rounds(min(end, _next_validation(state["step"], config))):
                    losses = self._step(passes)
                    progress.update(task, completed=state["step"])
                    if state["step"] % config.log_every == 0:
                        self._log(losses)
                    self._save_if_needed(signals)
                if state["step"] % config.validate_every == 0 or state["step"] == config.steps:
                    self._validate(losses)
                self._save()

    def close(self) -> None:
        """Close the logs, and end the processes that read data."""
        self._batches = None
        for log in self._logs:
            log.close()

    def _rounds(self, until: int) -> Iterator[list[Batch]]:
        """Give the passes of each step up to `until`; samples follow the step, whatever was before it."""
        prepared = type(self._recipe).prepare is not Recipe.prepare  # for each round other samples
        if self._batches is None or prepared:
            self._batches = self._load()
        for _ in range(self._state["step"], until):
            yield [next(self._batches) for _ in range(self._config.accumulate)]

    def _load(self) -> Iterator[Batch]:
        """Start the processes that read data; they go on while others validate."""
        config, fabric = self._config, self._fabric
        per_step = config.batch * config.accumulate * fabric.world_size
        samples = Skipping(self._recipe.samples(config.steps * per_step, config.seed))
        own = torch.Generator()  # else starting the loader would draw from the state that a resumed run has restored
        loader = DataLoader(
            Subset(samples, range(self._state["step"] * per_step, config.steps * per_step)),
            config.batch,
            generator=own,
            num_workers=config.workers,
            pin_memory=config.pin_memory and fabric.device.type == "cuda",
            multiprocessing_context="spawn" if config.workers else None,  # a fork takes over locks that threads held
            worker_init_fn=_leave_signals_to_the_run,
        )
        batches: Iterator[Batch] = iter(fabric.setup_dataloaders(loader))  # type: ignore[arg-type]
        return batches

    def _step(self, passes: list[Batch]) -> dict[str, Tensor]:
        fabric, config = self._fabric, self._config
        network, optimizer = self._state["network"], self._state["optimizer"]
        optimizer.zero_grad()
        for batch in passes:
            losses = self._recipe.loss(network, batch)
            if any_of([not losses["total"].isfinite().item()], fabric.device)[0]:
                raise self._not_finite(losses, batch)
            fabric.backward(losses["total"] / len(passes))
        average_gradients(self._trained)
        if config.precision != "16-mixed" and not finite(losses, (p.grad for p in self._trained if p.grad is not None)):
            raise self._not_finite(losses, passes[-1])
        if config.clip_norm:
            fabric.clip_gradients(network, optimizer, max_norm=config.clip_norm, error_if_nonfinite=False)
        if config.clip_value:
            fabric.clip_gradients(network, optimizer, clip_val=config.clip_value)
        optimizer.step()
        self._state["schedule"].step()
        self._state["step"] += 1
        self._skipped += sum(int(batch["skipped"].sum()) for batch in passes)
        return losses

    def _not_finite(self, losses: dict[str, Tensor], batch: Batch) -> NotFiniteError:
        path = Path(self._config.out) / f"not_finite_{self._fabric.global_rank}.pt"
        with atomic_path(path) as part:
            torch.save({key: value.cpu() for key, value in batch.items()}, part)
        told = ", ".join(f"{name} {value:g}" for name, value in _values(losses).items())
        return NotFiniteError(
            f"step {self._state['step'] + 1}: loss or gradient is not finite ({told}); its batch is in {path}; lower lr"
        )

    def _log(self, losses: dict[str, Tensor]) -> None:
        figures = {**_values(losses), "lr": self._state["schedule"].get_last_lr()[0], "skipped": float(self._skipped)}
        for log in self._logs:
            log.losses(self._state["step"], figures)

    def _save_if_needed(self, signals: Signals) -> None:
        stop, late = any_of([bool(signals.number), self._timer.due()], self._fabric.device)
        if stop or late:
            self._save()
        if stop:
            name = signal.Signals(signals.number or signal.SIGTERM).name
            raise InterruptedRunError(
                f"{name}: stopped after step {self._state['step']}; go on with resume={self._config.out}/last.ckpt",
                signals.number or signal.SIGTERM,
            )

    def _save(self) -> None:
        average_buffers(self._state["network"])
        save_last(self._fabric, Path(self._config.out), {**self._state, "config": asdict(self._config)})
        self._timer.restart()

    def _validate(self, losses: dict[str, Tensor]) -> None:
        state, folder = self._state, Path(self._config.out)
        average_buffers(state["network"])
        kept = self._recipe.deployed(_plain(state["network"]))
        try:
            with finite_layers(kept):
                figures = self._recipe.validate(kept)
                pictures = self._recipe.pictures(kept) if self._fabric.is_global_zero else {}
        except NotFiniteError as error:
            raise NotFiniteError(f"validation after step {state['step']}: {error}; lower lr") from error
        for name, tensor in {**kept.state_dict(), "score": torch.tensor(figures["score"])}.items():
            if not tensor.isfinite().all():
                kind = "the score" if name == "score" else f"weight {name}"
                raise NotFiniteError(f"validation after step {state['step']}: {kind} is not finite; lower lr")
        for log in self._logs:
            log.validation(state["step"], {**_values(losses), **figures, "skipped": float(self._skipped)}, pictures)
        better = figures["score"] > state["best"].get("score", float("-inf"))
        if better:
            state["best"] = {"step": state["step"], **figures}
        if self._fabric.is_global_zero:
            for name in ("last", "best") if better else ("last",):
                save_network(folder / f"{name}.safetensors", kept)


def _leave_signals_to_the_run(worker: int) -> None:
    """Ctrl-C reaches every process of the terminal; the run asks its workers to end when it has saved."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _next_validation(step: int, config: TrainConfig) -> int:
    return min(config.steps, (step // config.validate_every + 1) * config.validate_every)


def _values(losses: dict[str, Tensor]) -> dict[str, float]:
    return {name: loss.item() for name, loss in losses.items()}


def _plain(network: Any) -> torch.nn.Module:
    plain: torch.nn.Module = network.module
    return plain


def main() -> None:
    """Train as the command line says."""
    if len(sys.argv) < 2:
        sys.exit("usage: python -m training.train CONFIG.yaml [key=value ...]")
    try:
        train(read_config(Path(sys.argv[1]), sys.argv[2:]))
    except InterruptedRunError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(error.exit_code)
    except LetvinsError as error:
        sys.exit(str(error))
    except OSError as error:  # a full disk under the logs
        sys.exit(f"{error.filename or 'a file'}: {error.strerror or error}")


if __name__ == "__main__":
    main()
