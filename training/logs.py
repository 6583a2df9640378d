# SPDX-License-Identifier: Apache-2.0
"""Where a training run's figures and pictures go."""

import csv
from collections.abc import Mapping
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
from rich.console import Console

from letvins_ros.errors import ConfigError
from letvins_ros.writing import write_atomic
from training.config import TrainConfig

Pictures = Mapping[str, np.ndarray]  # (H, W, 3) RGB uint8


class Log(Protocol):
    """One place."""

    def losses(self, step: int, figures: Mapping[str, float]) -> None:
        """Add what is known every few steps."""
        ...

    def validation(self, step: int, figures: Mapping[str, float], pictures: Pictures) -> None:
        """Add what is known after a validation."""
        ...

    def close(self) -> None:
        """Write what is still to be written."""
        ...


def open_logs(config: TrainConfig) -> list[Log]:
    """Open those that the configuration asks for; ConfigError where a package is missing."""
    logs: list[Log] = [_FolderLog(Path(config.out))]
    if config.tensorboard:
        logs.append(_TensorBoardLog(Path(config.out) / "tensorboard"))
    if config.wandb:
        logs.append(_WandbLog(config))
    return logs


class _FolderLog:
    """log.csv has a row per validation, pictures/ the latest pictures."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def losses(self, step: int, figures: Mapping[str, float]) -> None:
        return

    def validation(self, step: int, figures: Mapping[str, float], pictures: Pictures) -> None:
        row = {"step": step, **{name: round(value, 5) for name, value in figures.items()}}
        path = self._folder / "log.csv"
        new = not path.exists()
        with path.open("a", newline="") as file:
            writer = csv.DictWriter(file, list(row))
            if new:
                writer.writeheader()
            writer.writerow(row)
        for name, picture in pictures.items():
            encoded = cv2.imencode(".png", picture[..., ::-1])[1]
            write_atomic(self._folder / "pictures" / f"{name}.png", encoded.tobytes())
        Console().print("  ".join(f"{name} {value}" for name, value in row.items()))

    def close(self) -> None:
        return


class _TensorBoardLog:
    def __init__(self, folder: Path) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise ConfigError("tensorboard: true needs `pip install tensorboard`") from error
        self._writer: Any = SummaryWriter(str(folder))

    def losses(self, step: int, figures: Mapping[str, float]) -> None:
        for name, value in figures.items():
            self._writer.add_scalar(f"train/{name}", value, step)

    def validation(self, step: int, figures: Mapping[str, float], pictures: Pictures) -> None:
        for name, value in figures.items():
            self._writer.add_scalar(f"validation/{name}", value, step)
        for name, picture in pictures.items():
            self._writer.add_image(name, picture, step, dataformats="HWC")

    def close(self) -> None:
        self._writer.close()


class _WandbLog:
    def __init__(self, config: TrainConfig) -> None:
        try:
            wandb: Any = import_module("wandb")
        except ImportError as error:
            raise ConfigError(f"wandb: {config.wandb} needs `pip install wandb`") from error
        self._wandb = wandb
        self._run: Any = wandb.init(project=config.wandb, config=asdict(config), dir=config.out, resume="allow")

    def losses(self, step: int, figures: Mapping[str, float]) -> None:
        self._run.log({f"train/{name}": value for name, value in figures.items()}, step=step)

    def validation(self, step: int, figures: Mapping[str, float], pictures: Pictures) -> None:
        images = {name: self._wandb.Image(picture) for name, picture in pictures.items()}
        self._run.log({**{f"validation/{name}": value for name, value in figures.items()}, **images}, step=step)

    def close(self) -> None:
        self._run.finish()
