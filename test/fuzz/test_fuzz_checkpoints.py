# SPDX-License-Identifier: Apache-2.0
"""torch's checkpoints: published weights, and the state of a training run."""

import io
import zipfile
from functools import cache
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import pytest

from . import mutations
from .survival_check import FILES, Damage, Reader, survives

torch = pytest.importorskip("torch")
fabric_library = pytest.importorskip("lightning_fabric")

from letvins_ros.weights import load_weights  # noqa: E402
from training.checkpoints import resume, save_last  # noqa: E402

if TYPE_CHECKING:
    from lightning_fabric import Fabric

CONFIG = {"recipe": "a", "optimizer": "sgd", "weight_decay": 0.0, "schedule": "none", "lr": 0.1, "steps": 9}


@cache
def fabric() -> "Fabric":
    return fabric_library.Fabric(accelerator="cpu")


def state() -> dict[str, Any]:
    """The objects of a run, as they are before its first step."""
    model = torch.nn.Linear(3, 2)
    return {"model": model, "optimizer": torch.optim.SGD(model.parameters(), 0.1), "step": 3, "config": CONFIG}


@cache
def published() -> bytes:
    stream = io.BytesIO()
    torch.save({"epoch": 3, "state_dict": torch.nn.Linear(3, 2).state_dict()}, stream)
    return stream.getvalue()


def damaged(data: bytes, rng: Random) -> bytes:
    """The file as bytes, or what is pickled in it, in a sound archive."""
    if rng.random() < 0.3:
        return mutations.mutate(data, rng, mutations.BINARY)
    stream = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(stream, "w") as new:
        chosen = rng.choice([name for name in old.namelist() if name.endswith(("data.pkl", "data/0", "version"))])
        for name in old.namelist():
            content = old.read(name)
            new.writestr(name, mutations.mutate(content, rng, mutations.BINARY) if name == chosen else content)
    return stream.getvalue()


def damage_published(folder: Path, rng: Random) -> Path:
    (folder / "a.pth").write_bytes(damaged(published(), rng))
    return folder / "a.pth"


def damage_run(folder: Path, rng: Random) -> Path:
    save_last(fabric(), folder, state())
    (folder / "last.ckpt").write_bytes(damaged((folder / "last.ckpt").read_bytes(), rng))
    return folder / "last.ckpt"


def resume_run(path: Path) -> None:
    resume(fabric(), str(path), state(), CONFIG)


@pytest.mark.parametrize(("damage", "use"), [(damage_published, load_weights), (damage_run, resume_run)])
def test_damaged_checkpoints_are_refused_or_can_be_used(damage: Damage, use: Reader, tmp_path: Path) -> None:
    counts = survives(damage, use, tmp_path, files=max(FILES // 2, 20))  # torch takes its time
    assert counts["read"] and counts["refused"]
