# SPDX-License-Identifier: Apache-2.0
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from letvins_ros.inference.runtime import Maps


@dataclass
class StandInRuntime:
    """A Runtime that is a function of the images."""

    function: Callable[[Sequence[np.ndarray]], list[Maps]]
    name: str = "stand-in"
    outputs: tuple[str, ...] = ()

    def __call__(self, images: Sequence[np.ndarray]) -> list[Maps]:
        return self.function(images)
