# SPDX-License-Identifier: Apache-2.0
"""Work shared among the processes of a run, each with a copy of the network."""

import atexit
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
from lightning_fabric import Fabric
from lightning_fabric.strategies.ddp import DDPStrategy
from torch import Tensor, distributed, nn

from letvins_ros.errors import ConfigError

Row = TypeVar("Row")


class Replicas(DDPStrategy):
    """Processes whose gradients `average_gradients` makes alike.

    Torch's wrapper is left out: it wants every parameter to be used in every forward pass and nothing outside it.
    """

    def setup_environment(self) -> None:
        """Join the processes; gloo's threads are ended with each, else they may abort it (Fabric ends NCCL's alone)."""
        super().setup_environment()
        atexit.register(_leave)

    def setup_module(self, module: nn.Module) -> nn.Module:  # type: ignore[override]
        """Keep the module as it is."""
        return module


def _leave() -> None:
    if distributed.is_initialized():
        distributed.destroy_process_group()


def open_fabric(accelerator: str, devices: int, nodes: int, precision: Any) -> Fabric:
    """Lightning Fabric for one process or several; ConfigError where the machine has no such devices."""
    try:
        strategy: Any = Replicas() if devices * nodes > 1 else "auto"
        return Fabric(accelerator=accelerator, devices=devices, num_nodes=nodes, strategy=strategy, precision=precision)
    except (ValueError, RuntimeError) as error:
        raise ConfigError(f"accelerator {accelerator}, devices {devices}: {str(error).splitlines()[0]}") from error


def share_state(network: nn.Module) -> None:
    """Give every process the first one's weights and buffers."""
    if not _several():
        return
    for tensor in network.state_dict().values():
        distributed.broadcast(tensor, src=0)


def average_gradients(parameters: Sequence[nn.Parameter]) -> None:
    """Mean over processes; a parameter that none has used stays without a gradient."""
    if not _several():
        return
    own = [p.grad if p.grad is not None else torch.zeros_like(p) for p in parameters]
    used = torch.tensor([float(p.grad is not None) for p in parameters], device=own[0].device)
    flat = _mean(torch.cat([*(gradient.flatten() for gradient in own), used]))
    *parts, used = torch.split(flat, [*(p.numel() for p in parameters), len(used)])
    for parameter, part, share in zip(parameters, parts, used.tolist(), strict=True):
        parameter.grad = part.view_as(parameter) if share else None


def average_buffers(network: nn.Module) -> None:
    """Mean over processes of what batch norms have seen."""
    if not _several():
        return
    for buffer in network.buffers():
        if buffer.is_floating_point():
            buffer.copy_(_mean(buffer.clone()))


def any_of(flags: Sequence[bool], device: torch.device) -> list[bool]:
    """Of each flag, whether any process has it set."""
    if not _several():
        return list(flags)
    return [share > 0 for share in _mean(torch.tensor([float(flag) for flag in flags], device=device)).tolist()]


def spread(count: int, row: Callable[[int], Row]) -> list[Row]:
    """row(0) .. row(count - 1), each computed by one of the processes and known to all."""
    if not _several():
        return [row(i) for i in range(count)]
    world = distributed.get_world_size()
    own = [row(i) for i in range(distributed.get_rank(), count, world)]
    shares: list[Any] = [None] * world
    distributed.all_gather_object(shares, own)
    return [shares[i % world][i // world] for i in range(count)]


def _several() -> bool:
    return distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1


def _mean(tensor: Tensor) -> Tensor:
    distributed.all_reduce(tensor)
    return tensor / distributed.get_world_size()
