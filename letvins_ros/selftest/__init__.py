# SPDX-License-Identifier: Apache-2.0
"""A battery of disturbances: what the odometry does, and says, when its input is spoilt as users' inputs are."""

from letvins_ros.selftest.battery import Outcome, battery_table, run_battery
from letvins_ros.selftest.disturbances import DISTURBANCES

__all__ = ["DISTURBANCES", "Outcome", "battery_table", "run_battery"]
