# SPDX-License-Identifier: Apache-2.0
"""Weights of networks on disk: best.safetensors and last.safetensors of a run, and those that one begins with."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from letvins_ros.networks.published import rename
from letvins_ros.weights import WeightsError, load_weights, save_weights


def save_network(path: Path, network: nn.Module) -> None:
    """Write weights to use."""
    save_weights(path, to_numpy(network.state_dict()), getattr(network, "file_config", None))


def read_weights(path: Path) -> dict[str, torch.Tensor]:
    """Weights of a file as tensors."""
    return {key: torch.from_numpy(value.copy()) for key, value in load_weights(path).items()}


def load_into(network: nn.Module, path: Path, except_for: Sequence[str] = ()) -> None:
    """Load weights, ours or published, strictly, but leave those whose names begin with one of `except_for`."""

    def kept(key: str) -> bool:
        return any(key.startswith(prefix) for prefix in except_for)

    own = network.state_dict()
    wanted = {key for key in own if not kept(key)}
    named = rename(load_weights(path), getattr(network, "PUBLISHED", ()))
    given = {key: torch.from_numpy(value.copy()) for key, value in named.items() if not kept(key)}
    odd = sorted(wanted ^ given.keys())
    if odd:
        raise WeightsError(f"{path}: {len(odd)} weights are missing or unknown, first {odd[0]}")
    for key, value in given.items():
        if own[key].shape != value.shape:
            raise WeightsError(f"{path}: {key} is {tuple(value.shape)}, the network's is {tuple(own[key].shape)}")
    network.load_state_dict({**own, **given}, strict=True)


def to_numpy(state: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Weights as arrays."""
    return {key: value.detach().cpu().numpy() for key, value in state.items()}
