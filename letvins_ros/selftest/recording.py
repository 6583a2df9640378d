# SPDX-License-Identifier: Apache-2.0
"""A simulated recording that can be spoilt."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache

import numpy as np

from letvins_ros.calibration import MountedCamera, Rig
from letvins_ros.datasets import ReadReport
from letvins_ros.simulation import Equipment, Simulation
from letvins_ros.simulation.rigs import EUROC_RIG
from letvins_ros.types import GnssFixes, ImageFrame, ImuSamples, Trajectory

Images = tuple[np.ndarray | None, ...]
ChangeImages = Callable[[int, float, Images], Images]  # number of the frame, its time in s, its images


def half(mounted: MountedCamera) -> MountedCamera:
    """The same camera with a quarter of the pixels."""
    camera = mounted.camera
    intrinsics = tuple(value / 2 for value in camera.intrinsics)
    return replace(mounted, camera=replace(camera, width=376, height=240, intrinsics=intrinsics))


SMALL_RIG = Rig(tuple(half(mounted) for mounted in EUROC_RIG.cameras), EUROC_RIG.imu)


def flight(duration_s: float, seed: int) -> Simulation:
    """A hall seen by small cameras, whose images are rendered once."""
    simulation = Simulation("hall", duration_s, seed, Equipment(SMALL_RIG))
    simulation.image = cache(simulation.image)  # type: ignore[method-assign]
    return simulation


class Recording:
    """A Dataset that a disturbance changes; times are seconds since the first frame."""

    def __init__(self, simulation: Simulation) -> None:
        self.name, self.rig, self.report = simulation.name, simulation.rig, ReadReport()
        self.noise = simulation.imu_noise
        self.imu: ImuSamples = simulation.imu
        self.truth: Trajectory = simulation.truth
        self.gnss: GnssFixes | None = simulation.gnss
        self._simulation = simulation
        self.taken = np.arange(len(simulation))  # which frames there are, in their order
        self.stamps_ns = simulation.stamps_ns.copy()  # of these, by the recorder's clock
        self.images: list[ChangeImages] = []

    def __len__(self) -> int:
        return len(self.stamps_ns)

    @property
    def seconds(self) -> np.ndarray:
        """When the frames (N,) were really taken."""
        all_ns = self._simulation.stamps_ns
        return np.asarray((all_ns[self.taken] - all_ns[0]) * 1e-9)

    @property
    def middle_s(self) -> float:
        """Half of the duration."""
        return float(self.seconds[-1]) / 2

    def imu_seconds(self) -> np.ndarray:
        """When the readings (N,) were taken."""
        return np.asarray((self.imu.stamps_ns - self._simulation.stamps_ns[0]) * 1e-9)

    def keep_frames(self, mask: np.ndarray) -> None:
        """Only the frames of the mask (N,)."""
        self.taken, self.stamps_ns = self.taken[mask], self.stamps_ns[mask]

    def keep_readings(self, mask: np.ndarray) -> None:
        """Only the readings of the mask (N,)."""
        self.imu = ImuSamples(self.imu.stamps_ns[mask], self.imu.gyro[mask], self.imu.accel[mask])

    def image(self, frame: int, camera: int) -> np.ndarray:
        """What a camera saw in one of all frames."""
        return self._simulation.image(frame, camera)

    def frames(self, start_s: float = 0.0, duration_s: float | None = None) -> Iterator[ImageFrame]:
        """See Dataset; all of it."""
        for stamp_ns, i, t in zip(self.stamps_ns.tolist(), self.taken.tolist(), self.seconds.tolist(), strict=True):
            images: Images = tuple(self.image(i, camera) for camera in range(len(self.rig.cameras)))
            for change in self.images:
                images = change(i, t, images)
            if any(image is not None for image in images):
                yield ImageFrame(stamp_ns, images)


Disturbance = Callable[[Recording], None]
