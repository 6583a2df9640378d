# SPDX-License-Identifier: Apache-2.0
"""Where the cameras sit and how their clock runs, as variables that the window can refine."""

from dataclasses import dataclass, replace
from typing import ClassVar

import gtsam
import numpy as np

from letvins_ros.calibration import MountedCamera
from letvins_ros.config import EstimatorConfig
from letvins_ros.estimation.costs.linear import LinearCost, Quadratic
from letvins_ros.estimation.variables import AnyKey, Key, Values, Variable, gtsam_key
from letvins_ros.geometry import orthonormal

ROTATION_STD, POSITION_STD, TIME_OFFSET_STD = 0.02, 0.02, 0.01  # rad, m, s: trust in the given calibration
MOUNT_STD = np.repeat([ROTATION_STD, POSITION_STD], 3)
ABSURD = 10.0  # standard deviations: no calibration is so wrong, but an estimate that is lost may say so


@dataclass(frozen=True, eq=False)
class Mount(Variable):
    """Where a camera sits on the body; a step is its rotation, rad, and position, m, in the camera's frame."""

    size: ClassVar[int] = 6
    settled: ClassVar[np.ndarray] = np.repeat([1e-4, 3e-4], 3)
    nonlinear: ClassVar[np.ndarray] = np.repeat([3e-3, 1e-1], 3)
    gtsam_parts: ClassVar[tuple[tuple[str, int], ...]] = (("m", 6),)

    T_body_cam: np.ndarray  # (4, 4)

    def stepped(self, d: np.ndarray) -> "Mount":
        T = self.T_body_cam
        out = T.copy()
        out[:3, :3] = orthonormal(T[:3, :3] @ gtsam.Rot3.Expmap(d[:3]).matrix())
        out[:3, 3] += T[:3, :3] @ d[3:]
        return Mount(out)

    def step_to(self, other: "Mount") -> np.ndarray:
        T, U = self.T_body_cam, other.T_body_cam
        turned = gtsam.Rot3.Logmap(gtsam.Rot3(T[:3, :3].T @ U[:3, :3]))
        return np.concatenate([turned, T[:3, :3].T @ (U[:3, 3] - T[:3, 3])])

    def insert(self, values: gtsam.Values, index: int) -> None:
        values.insert(gtsam_key("m", index), pose3=gtsam.Pose3(self.T_body_cam))


@dataclass(frozen=True, eq=False)
class TimeOffset(Variable):
    """The cameras' clock against the IMU's: t_imu = t_camera + seconds."""

    size: ClassVar[int] = 1
    settled: ClassVar[np.ndarray] = np.array([1e-4])
    nonlinear: ClassVar[np.ndarray] = np.array([1e-2])
    gtsam_parts: ClassVar[tuple[tuple[str, int], ...]] = (("t", 1),)

    seconds: float

    def stepped(self, d: np.ndarray) -> "TimeOffset":
        return TimeOffset(self.seconds + float(d[0]))

    def step_to(self, other: "TimeOffset") -> np.ndarray:
        return np.array([other.seconds - self.seconds])

    def insert(self, values: gtsam.Values, index: int) -> None:
        values.insert(gtsam_key("t", index), np.array([self.seconds]))


TIME_OFFSET = Key(TimeOffset, 0)  # the cameras share the first one's clock


def calibration_values(cameras: tuple[MountedCamera, ...]) -> Values:
    """A mount for each camera, and the time offset."""
    mounts: dict[AnyKey, Variable] = {Key(Mount, i): Mount(camera.T_body_cam) for i, camera in enumerate(cameras)}
    return Values(mounts | {TIME_OFFSET: TimeOffset(cameras[0].time_offset_s)})


def refined_keys(config: EstimatorConfig, cameras: int, with_imu: bool) -> tuple[AnyKey, ...]:
    """What of the calibration is estimated, as the configuration asks; images alone know of no other clock."""
    mounts = [Key(Mount, i) for i in range(cameras)] if config.estimate_extrinsics else []
    return (*mounts, *([TIME_OFFSET] if config.estimate_time_offset and with_imu else []))


def calibration_prior(values: Values, keys: tuple[AnyKey, ...]) -> LinearCost:
    """How sure the given calibration is of what is refined."""
    std = [MOUNT_STD if key.kind is Mount else np.array([TIME_OFFSET_STD]) for key in keys]
    H = np.diag(1 / np.concatenate([*std, np.zeros(0)]) ** 2)
    return LinearCost(keys, values.only(keys), Quadratic(H, np.zeros(len(H))))


def calibrated(cameras: tuple[MountedCamera, ...], values: Values) -> tuple[MountedCamera, ...]:
    """The cameras with the mounts and the time offset of these values; as they were where one of these is absurd."""
    given, mounts = calibration_values(cameras), [Key(Mount, i) for i in range(len(cameras))]
    steps = [given[key].step_to(values[key]) / MOUNT_STD for key in mounts]
    steps.append(given[TIME_OFFSET].step_to(values[TIME_OFFSET]) / TIME_OFFSET_STD)
    if not (np.abs(np.concatenate(steps)) < ABSURD).all():
        return cameras
    offset_s = values[TIME_OFFSET].seconds
    return tuple(
        replace(camera, T_body_cam=values[key].T_body_cam, time_offset_s=offset_s)
        for key, camera in zip(mounts, cameras, strict=True)
    )
