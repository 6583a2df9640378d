# SPDX-License-Identifier: Apache-2.0
"""Where the cameras sit and how their clock runs, as something that the window can refine."""

from dataclasses import dataclass, replace

import gtsam
import numpy as np

from letvins_ros.calibration import MountedCamera
from letvins_ros.config import EstimatorConfig
from letvins_ros.estimation.frame import STATE_SIZE as N
from letvins_ros.estimation.vision import CameraMounts
from letvins_ros.geometry import orthonormal

INDEX = -1  # in place of a frame's, in priors
CLOCK = 12  # row of the time offset; before it six rows for each of two cameras, after it nothing
TURN_STD, MOVE_STD, CLOCK_STD = 0.02, 0.02, 0.01  # rad, m, s: what the given calibration is trusted to
KNOWN_STD = 1e-7


@dataclass(frozen=True, eq=False)
class CalibrationState:
    """Mounts of the cameras and their time offset (t_imu = t_camera + offset)."""

    T_body_cams: tuple[np.ndarray, ...]  # (4, 4) each, one or two
    time_offset_s: float

    def mounts(self) -> CameraMounts:
        """The mounts, stacked."""
        return CameraMounts(list(self.T_body_cams))

    def stepped(self, d: np.ndarray) -> "CalibrationState":
        """The calibration moved by a step (15,): per camera rotation and position in its frame; time."""
        moved = []
        for i, T in enumerate(self.T_body_cams):
            out = T.copy()
            out[:3, :3] = orthonormal(T[:3, :3] @ gtsam.Rot3.Expmap(d[6 * i : 6 * i + 3]).matrix())
            out[:3, 3] += T[:3, :3] @ d[6 * i + 3 : 6 * i + 6]
            moved.append(out)
        return CalibrationState(tuple(moved), self.time_offset_s + float(d[CLOCK]))

    def step_to(self, other: "CalibrationState") -> np.ndarray:
        """The step (15,) that leads to the other calibration."""
        d = np.zeros(N)
        for i, (T, U) in enumerate(zip(self.T_body_cams, other.T_body_cams, strict=True)):
            d[6 * i : 6 * i + 3] = gtsam.Rot3.Logmap(gtsam.Rot3(T[:3, :3].T @ U[:3, :3]))
            d[6 * i + 3 : 6 * i + 6] = T[:3, :3].T @ (U[:3, 3] - T[:3, 3])
        d[CLOCK] = other.time_offset_s - self.time_offset_s
        return d

    def on(self, cameras: tuple[MountedCamera, ...]) -> tuple[MountedCamera, ...]:
        """The cameras with this calibration."""
        moved = zip(cameras, self.T_body_cams, strict=True)
        return tuple(replace(c, T_body_cam=T, time_offset_s=self.time_offset_s) for c, T in moved)


def calibration_of(cameras: tuple[MountedCamera, ...]) -> CalibrationState:
    """The given calibration; the cameras share the left one's clock."""
    return CalibrationState(tuple(c.T_body_cam for c in cameras), cameras[0].time_offset_s)


def calibration_information(config: EstimatorConfig, cameras: int) -> np.ndarray:
    """How sure (15, 15) the given calibration is; what is not to be refined is held."""
    std = np.full(N, KNOWN_STD)
    if config.estimate_extrinsics:
        std[: 6 * cameras] = np.tile(np.repeat([TURN_STD, MOVE_STD], 3), cameras)
    if config.estimate_time_offset:
        std[CLOCK] = CLOCK_STD
    return np.diag(1 / std**2)
