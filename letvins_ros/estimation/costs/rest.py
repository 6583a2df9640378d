# SPDX-License-Identifier: Apache-2.0
"""What is known of motion without a measurement of it: a body at rest, and cameras that moved by an unknown amount."""

import gtsam
import numpy as np

from letvins_ros.estimation.frame import Frame
from letvins_ros.estimation.state import V, X

REST_VELOCITY_STD, REST_POSE_STD = 0.01, 5e-4  # m/s; rad, m: at best
RESOLVED_RAD = 5e-4  # standard deviation of a rest's rotation, and of its position as seen from the landmarks
UNKNOWN_ROTATION_STD, UNKNOWN_SPEED_STD = 0.3, 30.0  # rad, m/s: of cameras alone, before they are looked at: a fast car


def no_velocity(frame: Frame, depth_m: float, rest_s: float) -> gtsam.NonlinearFactor:
    """The velocity of a frame at rest is zero, as far as images of this depth resolve motion in this time."""
    std = max(REST_VELOCITY_STD, 2 * RESOLVED_RAD * depth_m / rest_s)
    sigma = gtsam.noiseModel.Isotropic.Sigma(3, std)
    return gtsam.PriorFactorVector(V(frame.index), np.zeros(3), sigma)


def same_pose(a: Frame, b: Frame, depth_m: float) -> gtsam.NonlinearFactor:
    """Two frames of one rest have the same pose, as far as images of this depth resolve motion."""
    std = [REST_POSE_STD, max(REST_POSE_STD, RESOLVED_RAD * depth_m)]
    return _between(a, b, np.eye(4), np.repeat(std, 3))


def expected_motion(a: Frame, b: Frame, T_a_b: np.ndarray) -> gtsam.NonlinearFactor:
    """A guess T_a_b (4, 4) of the motion that nothing has measured, so that the images have something to start from."""
    std_m = UNKNOWN_SPEED_STD * (b.stamp_ns - a.stamp_ns) * 1e-9
    return _between(a, b, T_a_b, np.repeat([UNKNOWN_ROTATION_STD, std_m], 3))


def _between(a: Frame, b: Frame, T_a_b: np.ndarray, sigmas: np.ndarray) -> gtsam.NonlinearFactor:
    model = gtsam.noiseModel.Diagonal.Sigmas(sigmas)
    return gtsam.BetweenFactorPose3(X(a.index), X(b.index), gtsam.Pose3(T_a_b), model)
