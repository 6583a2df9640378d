# SPDX-License-Identifier: Apache-2.0
"""Rendered recordings with exact truth, for tests, demonstrations and training."""

from letvins_ros.simulation.scenarios import SCENARIOS, Scenario
from letvins_ros.simulation.sequence import Simulation
from letvins_ros.simulation.write_euroc import simulate

__all__ = ["SCENARIOS", "Scenario", "Simulation", "simulate"]
