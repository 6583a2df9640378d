# SPDX-License-Identifier: Apache-2.0
"""A device that no machine lacks: its tensors compute on the CPU, but will not be mixed with the CPU's own."""

from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

DEVICE = torch.device("meta")
_MOVES = ("_to_copy", "copy_")


class Elsewhere(torch.Tensor):
    """Says that it lies on DEVICE."""

    @staticmethod
    def __new__(cls: type["Elsewhere"], inner: torch.Tensor) -> "Elsewhere":
        kind: dict[str, Any] = {"dtype": inner.dtype, "layout": inner.layout, "requires_grad": False}
        with torch.inference_mode(False):  # in which views of such tensors could not be made
            found = torch.Tensor._make_wrapper_subclass(
                cls, inner.size(), strides=inner.stride(), storage_offset=inner.storage_offset(), device=DEVICE, **kind
            )
        found.inner = inner  # type: ignore[assignment, method-assign]
        return found

    def new_tensor(self, data: Any, **kwargs: Any) -> "Elsewhere":  # type: ignore[override]
        """Torch's own would make one of the meta device, without numbers."""
        return Elsewhere(torch.tensor(data, dtype=kwargs.get("dtype", self.dtype)))

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # type: ignore[override]
        return run(func, args, kwargs or {})


class Refusing(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Within it `device=DEVICE` makes tensors of that device, and operations of both kinds are refused."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return run(func, args, kwargs or {})


def run(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    name = func.overloadpacket.__name__
    tensors = []
    tree_map(lambda x: tensors.append(x) if isinstance(x, torch.Tensor) else None, (args, kwargs))
    there = [x for x in tensors if isinstance(x, Elsewhere)]
    here = [x for x in tensors if not isinstance(x, Elsewhere) and x.dim()]
    if there and here and name not in _MOVES:
        raise RuntimeError(f"{name} of tensors on {DEVICE} and on the CPU: {[tuple(x.shape) for x in here]}")
    if name == "to" and len(args) > 2 and isinstance(args[1], torch.device):  # inference mode passes it on as it is
        args, kwargs = (args[0],), {"device": args[1], "dtype": args[2]}
    asked = kwargs.get("device")
    on_device = bool(there) if asked is None else torch.device(asked) == DEVICE
    if asked is not None:
        kwargs = {**kwargs, "device": torch.device("cpu")}
    inner_args, inner_kwargs = tree_map(lambda x: x.inner if isinstance(x, Elsewhere) else x, (args, kwargs))
    with torch._C._DisableTorchDispatch():
        result = func(*inner_args, **inner_kwargs)
    if func._schema.is_mutable and isinstance(args[0], torch.Tensor) and name.endswith("_"):
        return args[0]
    return tree_map(lambda x: Elsewhere(x) if on_device and isinstance(x, torch.Tensor) else x, result)


def move(network: nn.Module) -> nn.Module:
    """Put a network there."""
    for module in network.modules():
        for key, parameter in module._parameters.items():
            if parameter is not None:
                moved = torch.nn.Parameter(Elsewhere(parameter.data), requires_grad=parameter.requires_grad)
                module._parameters[key] = moved
        for key, buffer in module._buffers.items():
            if buffer is not None:
                module._buffers[key] = Elsewhere(buffer)
    return network
