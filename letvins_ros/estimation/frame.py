# SPDX-License-Identifier: Apache-2.0
"""One frame of the window: its state and what it saw."""

from dataclasses import dataclass, field
from functools import cached_property

import gtsam
import numpy as np

from letvins_ros.calibration import MountedCamera
from letvins_ros.estimation.state import State
from letvins_ros.estimation.variables import Key
from letvins_ros.imu import ImuSteps
from letvins_ros.types import FrameTracks


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
    gyro: np.ndarray = field(default_factory=lambda: np.zeros(3))  # rad/s, its reading then
    keyframe: bool = False
    measured: bool = False  # by a sensor at this frame alone: to be kept, or the measurement would be lost
    at_rest: bool = False

    @cached_property
    def key(self) -> Key[State]:
        """Names its state."""
        return Key(State, self.index)

    @property
    def imu_ns(self) -> int:
        """Its time on the IMU's clock."""
        return self.stamp_ns + round(self.offset_s * 1e9)

    @property
    def matched(self) -> int:
        """How many features two cameras see, so that their depth is known."""
        return int((self.seen.sum(0) > 1).sum())

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
