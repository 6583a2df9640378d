# SPDX-License-Identifier: Apache-2.0
"""Files of weights: a network's own, and published checkpoints' names and shapes with random numbers."""

from pathlib import Path

import numpy as np
from torch import nn

from letvins_ros.weights import save_weights


class Layout:
    """Collects tensors by name."""

    def __init__(self) -> None:
        self.state = dict[str, np.ndarray]()
        self._rng = np.random.default_rng(0)

    def tensor(self, name: str, *shape: int) -> None:
        self.state[name] = self._rng.normal(size=shape).astype(np.float32)

    def conv(self, name: str, out: int, into: int, size: int, bias: bool = True) -> None:
        self.tensor(f"{name}.weight", out, into, size, size)
        if bias:
            self.tensor(f"{name}.bias", out)

    def norm(self, name: str, channels: int) -> None:
        for part in ("weight", "bias", "running_mean", "running_var"):
            self.tensor(f"{name}.{part}", channels)
        self.state[f"{name}.running_var"] = np.abs(self.state[f"{name}.running_var"])
        self.state[f"{name}.num_batches_tracked"] = np.array(7, np.int64)

    def block(self, name: str, into: int, out: int, conv: str = "0", norm: str = "1") -> None:
        """3x3 convolution without bias, and batch norm."""
        self.conv(f"{name}.{conv}", out, into, 3, bias=False)
        self.norm(f"{name}.{norm}", out)


def landed(network: nn.Module, state: dict[str, np.ndarray]) -> bool:
    """Whether the network holds exactly these tensors, under whatever names."""
    ours = sorted(float(np.sum(np.abs(t.numpy()))) for t in network.state_dict().values())
    return ours == sorted(float(np.sum(np.abs(a))) for a in state.values())


def saved(network: nn.Module, path: Path, told: dict[str, str] | None = None) -> Path:
    """The path, at which the network's weights now are."""
    save_weights(path, {name: tensor.detach().numpy() for name, tensor in network.state_dict().items()}, told)
    return path
