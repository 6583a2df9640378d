# SPDX-License-Identifier: Apache-2.0
"""What is known of motion without a measurement of it: a body at rest, and cameras that moved by an unknown amount."""

import gtsam
import numpy as np

from letvins_ros.estimation.frame import Frame
from letvins_ros.estimation.state import V, X

REST_VELOCITY_STD = 0.01  # m/s
REST_STD = np.repeat([5e-4, 5e-4], 3)  # rad, m: between frames of one rest
UNKNOWN_ROTATION_STD, UNKNOWN_SPEED_STD = 0.3, 30.0  # rad, m/s: of cameras alone, before they are looked at: a fast car


def no_velocity(frame: Frame) -> gtsam.NonlinearFactor:
    """The velocity of a frame at rest is zero."""
    sigma = gtsam.noiseModel.Isotropic.Sigma(3, REST_VELOCITY_STD)
    return gtsam.PriorFactorVector(V(frame.index), np.zeros(3), sigma)


def same_pose(a: Frame, b: Frame) -> gtsam.NonlinearFactor:
    """Two frames of one rest have the same pose."""
    return _between(a, b, np.eye(4), REST_STD)


def expected_motion(a: Frame, b: Frame, T_a_b: np.ndarray) -> gtsam.NonlinearFactor:
    """A guess T_a_b (4, 4) of the motion that nothing has measured, so that the images have something to start from."""
    std_m = UNKNOWN_SPEED_STD * (b.stamp_ns - a.stamp_ns) * 1e-9
    return _between(a, b, T_a_b, np.repeat([UNKNOWN_ROTATION_STD, std_m], 3))


def _between(a: Frame, b: Frame, T_a_b: np.ndarray, sigmas: np.ndarray) -> gtsam.NonlinearFactor:
    model = gtsam.noiseModel.Diagonal.Sigmas(sigmas)
    return gtsam.BetweenFactorPose3(X(a.index), X(b.index), gtsam.Pose3(T_a_b), model)
