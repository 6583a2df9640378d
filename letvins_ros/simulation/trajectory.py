# SPDX-License-Identifier: Apache-2.0
"""Smooth motion of the body in a z-up world, with its exact derivatives."""

from dataclasses import dataclass

import numpy as np
from scipy.interpolate import BSpline
from scipy.spatial.transform import Rotation

from letvins_ros import geometry

DEGREE = 5
KNOT_S = 0.1
# Heading axes are x forward, y left, z up; EuRoC's body has x up, y right, z forward.
R_HEADING_BODY = np.array([[0.0, 0.0, 1.0], [0.0, -1.0, 0.0], [1.0, 0.0, 0.0]])


def control_times(duration_s: float) -> np.ndarray:
    """Where on the time axis (s) the control points of a motion from 0 to duration_s have their weight."""
    return (np.arange(int(np.ceil(duration_s / KNOT_S)) + DEGREE + 1) - (DEGREE - 1) / 2) * KNOT_S


@dataclass(frozen=True, eq=False)
class SplineTrajectory:
    """Quintic B-spline of x, y, z (m) and yaw, pitch, roll (rad): R_world_heading = Rz(yaw) Ry(pitch) Rx(roll).

    The angles keep their derivatives in closed form; pitch must stay clear of 90 degrees.
    """

    spline: BSpline
    duration_s: float

    @staticmethod
    def from_control(points: np.ndarray, duration_s: float) -> "SplineTrajectory":
        """Spline of control points (N, 6) at `control_times(duration_s)`; where six in a row are equal it rests."""
        knots = (np.arange(len(points) + DEGREE + 1) - DEGREE) * KNOT_S
        return SplineTrajectory(BSpline(knots, points, DEGREE), duration_s)

    def T_world_body(self, t: np.ndarray) -> np.ndarray:
        """Poses (N, 4, 4) at times (N,) s."""
        values = self.spline(t)
        R_world_heading = Rotation.from_euler("ZYX", values[:, 3:]).as_matrix()
        return geometry.transform(R_world_heading @ R_HEADING_BODY, values[:, :3])

    def velocity(self, t: np.ndarray) -> np.ndarray:
        """Velocity (N, 3) in the world, m/s."""
        return np.asarray(self.spline(t, 1)[:, :3])

    def acceleration(self, t: np.ndarray) -> np.ndarray:
        """Acceleration (N, 3) in the world, m/s^2, without gravity."""
        return np.asarray(self.spline(t, 2)[:, :3])

    def angular_velocity(self, t: np.ndarray) -> np.ndarray:
        """Angular velocity (N, 3) in body axes, rad/s (Diebel 2006, Representing attitude, eq. 79)."""
        _, pitch, roll = self.spline(t)[:, 3:].T
        yaw_rate, pitch_rate, roll_rate = self.spline(t, 1)[:, 3:].T
        x = roll_rate - yaw_rate * np.sin(pitch)
        y = pitch_rate * np.cos(roll) + yaw_rate * np.sin(roll) * np.cos(pitch)
        z = yaw_rate * np.cos(roll) * np.cos(pitch) - pitch_rate * np.sin(roll)
        return np.asarray(np.stack([x, y, z], axis=1) @ R_HEADING_BODY)
