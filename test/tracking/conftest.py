# SPDX-License-Identifier: Apache-2.0
from collections.abc import Callable

import numpy as np
import pytest

from letvins_ros.simulation import Simulation
from letvins_ros.types import ImageFrame

from .patterns import FIRST, Texture, pixels


@pytest.fixture
def pattern() -> Callable[..., np.ndarray]:
    """Images of one texture: `pattern(back)` moves the content, `back` takes positions (.., 2) to where they were."""
    texture = Texture(0)
    return lambda back=lambda uv: uv, **size: texture.image(back(pixels(**size)))


@pytest.fixture(scope="session")
def hall() -> Simulation:
    """A simulated hall."""
    return Simulation("hall", 4.0, 1)


@pytest.fixture(scope="session")
def hall4() -> Simulation:
    """A simulated hall with two pairs of cameras, front and back."""
    return Simulation("hall4", 1.0, 1)


@pytest.fixture(scope="session")
def frames4(hall4: Simulation) -> list[ImageFrame]:
    """Seven frames of it."""
    return list(hall4.frames(0.3, 0.35))


@pytest.fixture(scope="session")
def frames(hall: Simulation) -> list[ImageFrame]:
    """Ten frames of the hall, from the one numbered FIRST on."""
    return list(hall.frames(FIRST / 20, 0.5))
