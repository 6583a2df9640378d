# SPDX-License-Identifier: Apache-2.0
"""Rendered recordings with exact truth, for tests, demonstrations and training."""

from letvins_ros.simulation.scenarios import SCENARIOS, Scenario
from letvins_ros.simulation.sequence import Equipment, Simulation
from letvins_ros.simulation.write_euroc import simulate
from letvins_ros.simulation.write_tartanair import write_tartanair

__all__ = ["SCENARIOS", "Equipment", "Scenario", "Simulation", "simulate", "write_tartanair"]
