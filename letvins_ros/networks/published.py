# SPDX-License-Identifier: Apache-2.0
"""Published checkpoints name the same tensors differently: names are translated, then everything must fit."""

import re
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from letvins_ros.weights import WeightsError

Renames = Sequence[tuple[str, str | None]]  # regular expression at a name's start and what replaces it; None: dropped


def rename(state: Mapping[str, np.ndarray], renames: Renames) -> dict[str, np.ndarray]:
    """Translate names, each by every rule in turn; two names that become one are refused."""
    renamed: dict[str, np.ndarray] = {}
    for name, array in state.items():
        new = _translate(name, renames)
        if new is None:
            continue
        if new in renamed:
            raise WeightsError(f"two tensors are named {new}")
        renamed[new] = array
    return renamed


def _translate(name: str, renames: Renames) -> str | None:
    for pattern, replacement in renames:
        if replacement is None and re.match(pattern, name):
            return None
        name = re.sub(f"^{pattern}", replacement or "", name) if replacement is not None else name
    return name


def load_strictly(network: nn.Module, state: Mapping[str, np.ndarray], name: str) -> None:
    """Copy the arrays into the network; WeightsError names the first tensor that is missing, unknown or misshapen."""
    expected = network.state_dict()
    state = {key: _as_convolution(array, expected.get(key)) for key, array in state.items()}
    odd = sorted(expected.keys() ^ state.keys())
    if odd:
        kind = "missing" if odd[0] in expected else "unknown"
        raise WeightsError(f"not the weights of {name}: {len(odd)} keys missing or unknown, first {odd[0]} ({kind})")
    for key, tensor in expected.items():
        if state[key].shape != tuple(tensor.shape):
            raise WeightsError(f"{name}: {key} must be {tuple(tensor.shape)}, got {state[key].shape}")
    network.load_state_dict({key: torch.from_numpy(np.array(array)) for key, array in state.items()}, strict=True)


def _as_convolution(array: np.ndarray, expected: Tensor | None) -> np.ndarray:
    """1x1 weights (O, I*k*k, 1, 1) on unfolded patches are those of a k x k convolution (O, I, k, k)."""
    if expected is None or expected.ndim != 4 or array.ndim != 4 or array.shape[2:] != (1, 1):
        return array
    out, into, height, width = expected.shape
    return array.reshape(out, into, height, width) if array.shape[:2] == (out, into * height * width) else array
