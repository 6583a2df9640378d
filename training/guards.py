# SPDX-License-Identifier: Apache-2.0
"""What a run watches while it trains: signals, the clock, and numbers that are not finite."""

import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any

import torch
from torch import Tensor, nn

from letvins_ros.errors import LetvinsError

_CHECKED = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)


class NotFiniteError(LetvinsError):
    """Training came to numbers that are infinite or none."""


class InterruptedRunError(LetvinsError):
    """A signal ended a run, which was saved."""

    def __init__(self, message: str, signal_number: int) -> None:
        super().__init__(message)
        self.exit_code = 128 + signal_number


class Signals:
    """Within it Ctrl-C and SIGTERM are noted instead of obeyed; a second one is obeyed."""

    def __init__(self) -> None:
        self.number = 0  # of the signal that came
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "Signals":
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._restore()

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.number = number
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)


class Timer:
    """Says when some minutes have passed since it last said so, or was told that it is not needed."""

    def __init__(self, minutes: float) -> None:
        self._seconds, self._since = 60 * minutes, time.monotonic()

    def due(self) -> bool:
        """Whether they have passed."""
        return time.monotonic() - self._since > self._seconds

    def restart(self) -> None:
        """Count from now."""
        self._since = time.monotonic()


def finite(losses: Mapping[str, Tensor], gradients: Iterator[Tensor]) -> bool:
    """Whether the total loss and all gradients are finite."""
    norm = torch.nn.utils.get_total_norm(gradients)
    return bool((losses["total"].isfinite() & norm.to(losses["total"].device).isfinite()).item())


@contextmanager
def finite_layers(network: nn.Module) -> Iterator[None]:
    """Within it a layer that gives an infinity or NaN raises NotFiniteError, before anything is made of that."""

    def check(layer: nn.Module, given: Any, output: Any) -> None:
        if isinstance(output, Tensor) and not output.isfinite().all():
            raise NotFiniteError(f"layer {names[layer]} gives numbers that are not finite")

    names: dict[nn.Module, str] = {
        layer: name for name, layer in network.named_modules() if isinstance(layer, _CHECKED)
    }
    hooks = [layer.register_forward_hook(check) for layer in names]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
