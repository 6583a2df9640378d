# SPDX-License-Identifier: Apache-2.0
"""One frame of the window: its state and what it saw."""

from dataclasses import dataclass, field, replace

import gtsam
import numpy as np

from letvins_ros.calibration import MountedCamera
from letvins_ros.geometry import orthonormal, transform
from letvins_ros.imu import ImuSteps
from letvins_ros.types import FrameTracks

STATE_SIZE = 15  # rotation (body), position (body), velocity (odom), accel bias, gyro bias: GTSAM's order


@dataclass(frozen=True, eq=False)
class State:
    """Pose, velocity and biases of the body."""

    R: np.ndarray  # (3, 3) R_odom_body
    p: np.ndarray  # (3,) m, body in odom
    v: np.ndarray = field(default_factory=lambda: np.zeros(3))  # m/s in odom
    accel_bias: np.ndarray = field(default_factory=lambda: np.zeros(3))
    gyro_bias: np.ndarray = field(default_factory=lambda: np.zeros(3))

    @property
    def T_odom_body(self) -> np.ndarray:
        return transform(self.R, self.p)

    def stepped(self, d: np.ndarray) -> "State":
        """The state moved by a step (15,)."""
        return State(
            orthonormal(self.R @ gtsam.Rot3.Expmap(d[:3]).matrix()),
            self.p + self.R @ d[3:6],
            self.v + d[6:9],
            self.accel_bias + d[9:12],
            self.gyro_bias + d[12:15],
        )

    def step_to(self, other: "State") -> np.ndarray:
        """The step (15,) that leads to the other state."""
        return np.concatenate(
            [
                gtsam.Rot3.Logmap(gtsam.Rot3(self.R.T @ other.R)),
                self.R.T @ (other.p - self.p),
                other.v - self.v,
                other.accel_bias - self.accel_bias,
                other.gyro_bias - self.gyro_bias,
            ]
        )

    def predicted(self, pim: gtsam.PreintegratedCombinedMeasurements) -> "State":
        """The state after a pre-integrated measurement."""
        bias = gtsam.imuBias.ConstantBias(self.accel_bias, self.gyro_bias)
        after = pim.predict(gtsam.NavState(gtsam.Rot3(self.R), self.p, self.v), bias)
        return replace(self, R=after.attitude().matrix(), p=after.position(), v=after.velocity())


@dataclass(eq=False)
class Frame:
    """A frame in the window."""

    index: int
    stamp_ns: int
    state: State
    ids: np.ndarray  # (n,) int64, sorted
    bearings: np.ndarray  # (C, n, 3)
    M: np.ndarray  # (C, n, 2, 3) px per unit of direction
    seen: np.ndarray  # (C, n) bool
    steps: ImuSteps | None = None  # IMU since the frame before it in the window
    pim: gtsam.PreintegratedCombinedMeasurements | None = None  # of these steps
    offset_s: float = 0.0  # time offset with which the state's time was found
    turn: np.ndarray = field(default_factory=lambda: np.zeros(3))  # rad/s, the gyro's reading then
    keyframe: bool = False
    at_rest: bool = False

    def forget(self, ids: np.ndarray) -> None:
        """Drop what it saw of these features."""
        keep = ~np.isin(self.ids, ids, assume_unique=True, kind="sort")
        self.ids, self.bearings, self.M, self.seen = (
            self.ids[keep],
            self.bearings[:, keep],
            self.M[:, keep],
            self.seen[:, keep],
        )


def frame_of(index: int, tracks: FrameTracks, cameras: tuple[MountedCamera, ...], state: State) -> Frame:
    """A frame from its tracks, with measured directions and resolutions."""
    order = np.argsort(tracks.ids, kind="stable")
    bearings, resolutions, seen = [], [], []
    for camera, uv in zip(cameras, tracks.uv[:, order], strict=False):
        direction = camera.camera.unproject(uv.astype(float))
        good = np.isfinite(direction).all(1)
        direction[~good] = [0.0, 0.0, 1.0]
        _, M = camera.camera.project_jacobian(direction)
        seen.append(good)
        bearings.append(np.where(good[:, None], direction, 0.0))
        resolutions.append(np.where(good[:, None, None], M, 0.0))
    return Frame(
        index, tracks.stamp_ns, state, tracks.ids[order], np.stack(bearings), np.stack(resolutions), np.stack(seen)
    )
