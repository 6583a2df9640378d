# SPDX-License-Identifier: Apache-2.0
"""The check of readers must see what it is there for."""

import os
import signal
import time
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest

from letvins_ros.errors import DataError

from . import mutations
from .survival_check import Reader, survives

TEXT = b"a: 1.5\nb: [2, -3e4]\nname: left camera\n"
ALL: list[Any] = sorted({*mutations.BINARY, *mutations.YAML}, key=lambda way: way.__name__)


def damage(folder: Path, rng: Random) -> Path:
    (folder / "file").write_bytes(bytes([rng.randrange(256)]))
    return folder / "file"


def read_some(path: Path) -> None:
    if path.read_bytes()[0] % 2:
        raise DataError(f"{path}: odd")


def raise_other(path: Path) -> None:
    raise KeyError(path.name)


def hang(path: Path) -> None:
    time.sleep(20)


def die(path: Path) -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def take_memory(path: Path) -> None:
    assert np.ones(150_000_000).sum() > 0


def test_reading_and_refusing_are_counted(tmp_path: Path) -> None:
    counts = survives(damage, read_some, tmp_path, files=40)
    assert counts.total() == 40 and min(counts["read"], counts["refused"]) > 5


@pytest.mark.parametrize(
    ("reader", "told"),
    [
        (raise_other, r"seed 0: uncaught [\s\S]*KeyError: 'file'"),
        (hang, "seed 0: hang"),
        (die, "seed 0: died code -11"),
        (take_memory, r"seed 0: memory 1\d\d\d MB"),
    ],
)
def test_what_no_reader_may_do_is_told(reader: Reader, told: str, tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match=told):
        survives(damage, reader, tmp_path, files=1, limit_s=0.5 if reader is hang else 10.0)


@pytest.mark.parametrize("way", ALL, ids=lambda way: way.__name__)
def test_every_mutation_changes_a_file_and_can_be_repeated(way: mutations.Mutation) -> None:
    made = [way(TEXT, Random(seed)) for seed in range(50)]
    assert made == [way(TEXT, Random(seed)) for seed in range(50)]
    assert sum(one != TEXT for one in made) > 25
    for seed in range(20):
        way(b"", Random(seed))  # nothing is too short
