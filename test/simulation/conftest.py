# SPDX-License-Identifier: Apache-2.0
import pytest

from letvins_ros.simulation import Equipment, Simulation
from letvins_ros.simulation.write_tartanair import PERFECT


@pytest.fixture(scope="session")
def hall() -> Simulation:
    """Three seconds of a hall, taken by a camera without noise, blur and fall-off."""
    return Simulation("hall", 3.0, 1, Equipment(sensor=PERFECT))


@pytest.fixture(scope="session")
def corridor() -> Simulation:
    return Simulation("corridor", 0.5, 7)
