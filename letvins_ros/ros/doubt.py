# SPDX-License-Identifier: Apache-2.0
"""How much less a pose counts while its input is known to be wrong; needs no ROS."""

from dataclasses import replace

import numpy as np

from letvins_ros.types import VioState, VioStatus

LEAST_SPEED, LEAST_TURN = 0.5, 0.1  # m/s, rad/s: by which a doubted motion may be wrong, though it seems to be slower
LONGEST_S = 1.0  # between two states


class Doubt:
    """Adds to the covariance: for the velocity while in doubt, for the pose what may have gone wrong in that time.

    A doubted motion may be wrong by all of itself. What it has added to the pose stays until odom starts anew.
    """

    def __init__(self) -> None:
        self.present = False
        self._resets, self._stamp_ns = -1, 0
        self._pose_std = np.zeros(2)  # m, rad
        self._rate_std = np.zeros(2)  # m/s, rad/s

    def look(self, state: VioState, rate: float, doubtful: bool) -> None:
        """Take the next state, how fast it turns, rad/s, and whether its input may spoil the motion."""
        if state.resets != self._resets or state.status is VioStatus.INITIALISING:
            self._resets, self._stamp_ns, self._pose_std = state.resets, state.stamp_ns, np.zeros(2)
        since_s = min(max((state.stamp_ns - self._stamp_ns) * 1e-9, 0.0), LONGEST_S)
        self._stamp_ns = state.stamp_ns
        self.present = state.status is not VioStatus.TRACKING or doubtful
        speed = float(np.linalg.norm(state.velocity_odom))
        self._rate_std = np.array([max(speed, LEAST_SPEED), max(rate, LEAST_TURN)]) * self.present
        self._pose_std = self._pose_std + self._rate_std * since_s

    def widened(self, state: VioState) -> VioState:
        """The state with the covariance that it then has; an uncertain gyro bias stands for the turning's."""
        position, rotation, velocity, turn = np.square([*self._pose_std, *self._rate_std])
        more = np.repeat([position, min(rotation, np.pi**2), velocity, 0.0, turn], 3)
        return replace(state, covariance=state.covariance + np.diag(more)) if more.any() else state
