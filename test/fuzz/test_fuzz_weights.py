# SPDX-License-Identifier: Apache-2.0
from functools import cache
from pathlib import Path
from random import Random

import numpy as np
from safetensors.numpy import save

from letvins_ros.networks.folding import fold_letnet2
from letvins_ros.weights import LETNET2_GRAY, ORB_VLAD, load_weights

from . import mutations
from .survival_check import survives


@cache
def files() -> list[bytes]:
    few = save({"a.weight": np.ones((3, 2), np.float32), "a.bias": np.zeros(3, np.float16)})
    return [few, LETNET2_GRAY.read_bytes(), ORB_VLAD.read_bytes()]


def damage_weights(folder: Path, rng: Random) -> Path:
    """The header as a text, or the file as bytes."""
    data = rng.choice(files())
    size = int.from_bytes(data[:8], "little")
    if rng.random() < 0.5:
        header = mutations.mutate(data[8 : 8 + size], rng, (*mutations.TEXT, mutations.nest))
        data = len(header).to_bytes(8, "little") + header + data[8 + size :]
    else:
        data = mutations.mutate(data, rng, mutations.BINARY)
    (folder / "a.safetensors").write_bytes(data)
    return folder / "a.safetensors"


def use_weights(path: Path) -> None:
    state = load_weights(path)
    if "a.weight" not in state and "mean" not in state:
        fold_letnet2(state, 1)


def test_damaged_weights_are_refused_or_can_be_used(tmp_path: Path) -> None:
    counts = survives(damage_weights, use_weights, tmp_path)
    assert counts["read"] and counts["refused"]
