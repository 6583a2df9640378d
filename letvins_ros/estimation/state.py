# SPDX-License-Identifier: Apache-2.0
"""The navigation state of the body at a frame."""

from dataclasses import dataclass, field, replace
from typing import ClassVar

import gtsam
import numpy as np

from letvins_ros.estimation.variables import Variable, gtsam_key
from letvins_ros.geometry import orthonormal, transform

STATE_SIZE = 15  # rotation (body), position (body), velocity (odom), accel bias, gyro bias: GTSAM's order


@dataclass(frozen=True, eq=False)
class State(Variable):
    """Pose, velocity and biases of the body."""

    size: ClassVar[int] = STATE_SIZE
    settled: ClassVar[np.ndarray] = np.repeat([1e-4, 3e-4, 2e-3, 5e-3, 5e-4], 3)  # rad, m, m/s, m/s^2, rad/s
    nonlinear: ClassVar[np.ndarray] = np.repeat([3e-3, 1e-1, 1e-1, 1e-1, 1e-2], 3)
    gtsam_parts: ClassVar[tuple[tuple[str, int], ...]] = (("x", 6), ("v", 3), ("b", 6))

    R: np.ndarray  # (3, 3) R_odom_body
    p: np.ndarray  # (3,) m, body in odom
    v: np.ndarray = field(default_factory=lambda: np.zeros(3))  # m/s in odom
    accel_bias: np.ndarray = field(default_factory=lambda: np.zeros(3))
    gyro_bias: np.ndarray = field(default_factory=lambda: np.zeros(3))

    @property
    def T_odom_body(self) -> np.ndarray:
        return transform(self.R, self.p)

    def stepped(self, d: np.ndarray) -> "State":
        return State(
            orthonormal(self.R @ gtsam.Rot3.Expmap(d[:3]).matrix()),
            self.p + self.R @ d[3:6],
            self.v + d[6:9],
            self.accel_bias + d[9:12],
            self.gyro_bias + d[12:15],
        )

    def step_to(self, other: "State") -> np.ndarray:
        d = np.empty(STATE_SIZE)
        d[:3] = gtsam.Rot3.Logmap(gtsam.Rot3(self.R.T @ other.R))
        d[3:6] = self.R.T @ (other.p - self.p)
        d[6:9] = other.v - self.v
        d[9:12] = other.accel_bias - self.accel_bias
        d[12:] = other.gyro_bias - self.gyro_bias
        return d

    def insert(self, values: gtsam.Values, index: int) -> None:  # named: GTSAM tries 44 types one after the other
        values.insert(X(index), pose3=gtsam.Pose3(gtsam.Rot3(self.R), self.p))
        values.insert(V(index), self.v)
        values.insert(B(index), constant_bias=gtsam.imuBias.ConstantBias(self.accel_bias, self.gyro_bias))

    def predicted(self, pim: gtsam.PreintegratedCombinedMeasurements) -> "State":
        """The state after a pre-integrated measurement."""
        bias = gtsam.imuBias.ConstantBias(self.accel_bias, self.gyro_bias)
        after = pim.predict(gtsam.NavState(gtsam.Rot3(self.R), self.p, self.v), bias)
        return replace(self, R=after.attitude().matrix(), p=after.position(), v=after.velocity())


def X(index: int) -> int:
    """GTSAM's key of a frame's pose."""
    return gtsam_key("x", index)


def V(index: int) -> int:
    """GTSAM's key of a frame's velocity."""
    return gtsam_key("v", index)


def B(index: int) -> int:
    """GTSAM's key of a frame's biases."""
    return gtsam_key("b", index)
