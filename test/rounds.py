# SPDX-License-Identifier: Apache-2.0
"""A flight that can be repeated without a jump."""

import numpy as np

from letvins_ros.simulation.motion import MotionProfile
from letvins_ros.simulation.trajectory import SplineTrajectory, control_times

ROUND_S = 24.0


def one_round(motion: MotionProfile, room: np.ndarray, duration_s: float, rng: np.random.Generator) -> SplineTrajectory:
    """A round that ends as it began, in motion."""
    turn = 2 * np.pi * control_times(duration_s) / ROUND_S
    x, y = (room[0] / 2 - 2) * np.cos(turn), (room[1] / 2 - 2) * np.sin(turn)
    z, sway = 1.8 + 0.3 * np.sin(3 * turn) + 0.05 * np.sin(14 * turn), 0.12 * np.sin(11 * turn)
    ahead = turn + np.pi / 2 + 0.3 * np.sin(4 * turn)
    points = np.stack([x + sway, y - sway, z, ahead, 0.1 * np.sin(5 * turn), 0.1 * np.sin(9 * turn)], axis=1)
    return SplineTrajectory.from_control(points, duration_s)
