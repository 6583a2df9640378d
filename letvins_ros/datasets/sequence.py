# SPDX-License-Identifier: Apache-2.0
"""What all recordings do alike: bad images are left out and counted, frames are decoded ahead of time."""

from abc import ABC, abstractmethod
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from letvins_ros.calibration import Rig
from letvins_ros.camera import MAX_CAMERAS
from letvins_ros.datasets.base import ReadReport
from letvins_ros.datasets.bit_depth import BitDepth, bits_note, spread
from letvins_ros.datasets.stream import read_ahead, report_gaps, span
from letvins_ros.errors import DataError
from letvins_ros.image_files import read_image
from letvins_ros.types import GnssFixes, ImageFrame, ImuSamples, Trajectory

Size = tuple[int, int]  # width, height
WRONG_SIZES = 5  # so many first images of another size than calibrated: the calibration is not of this camera


@dataclass(frozen=True, eq=False)
class Sensors:
    """What a recording knows besides its images."""

    rig: Rig | None
    imu: ImuSamples | None = None
    truth: Trajectory | None = None
    gnss: GnssFixes | None = None


@dataclass(frozen=True, eq=False)
class Loaded:
    """A decoded image."""

    name: str  # the file or message, for reports
    image: np.ndarray | None  # (H, W) or (H, W, 3) uint8, None where it cannot be decoded


class Recording(ABC):
    """A Dataset; what a format adds is how the images of a frame are decoded."""

    def __init__(self, name: str, stamps_ns: np.ndarray, sensors: Sensors, report: ReadReport) -> None:
        """stamps_ns (N,) int64, increasing, N > 0. Raises DataError for an IMU or a truth without one usable row."""
        self.name, self.stamps_ns, self.report = name, stamps_ns, report
        self.rig, self.imu, self.truth, self.gnss = sensors.rig, sensors.imu, sensors.truth, sensors.gnss
        for what, rows in (("IMU reading", self.imu), ("true pose", self.truth)):
            if rows is not None and not len(rows):
                raise DataError(f"{name}: no usable {what}")
        report_gaps("frames", stamps_ns, report)
        if self.imu is not None:
            report_gaps("imu", self.imu.stamps_ns, report)

    def __len__(self) -> int:
        return len(self.stamps_ns)

    def frames(self, start_s: float = 0.0, duration_s: float | None = None) -> Iterator[ImageFrame]:
        """See Dataset."""
        return read_ahead(self._usable(span(self.name, self.stamps_ns, start_s, duration_s)))

    @abstractmethod
    def _load(self, chosen: range) -> Iterator[list[Loaded | None]]:
        """Decode the images, one per camera, of these frames in this order; None where there is none."""

    def _usable(self, chosen: range) -> Generator[ImageFrame, None, None]:
        """Yield the frames with a good image of a lead camera (see Rig.groups); other bad images count as missing."""
        gates = [_Gate(i, self._calibrated_size(i), self.report) for i in range(MAX_CAMERAS)]
        leads = [lead for lead, *_ in self.rig.groups] if self.rig else [0]
        found = False
        for i, loaded in zip(chosen, self._load(chosen), strict=True):
            images = tuple(gate.check(one) if one else None for one, gate in zip(loaded, gates, strict=False))
            if any(images[lead] is not None for lead in leads):
                found = True
                yield ImageFrame(int(self.stamps_ns[i]), images)
        if not found:
            reasons = [f"{kind} ({text})" for kind, text in self.report.examples.items() if kind.startswith("cam0")]
            raise DataError(f"{self.name}: none of {len(chosen)} left images can be used; {', '.join(reasons)}")

    def _calibrated_size(self, camera: int) -> Size | None:
        if self.rig is None or camera >= len(self.rig.cameras):
            return None
        return self.rig.cameras[camera].camera.width, self.rig.cameras[camera].camera.height


class _Gate:
    """Lets the images of one camera through that are decoded and of its size, and counts the others."""

    def __init__(self, camera: int, size: Size | None, report: ReadReport) -> None:
        self.camera, self.size, self.report = camera, size, report
        self.passed, self.wrong = False, 0

    def check(self, loaded: Loaded) -> np.ndarray | None:
        image = loaded.image
        if image is None:
            self.report.add(f"cam{self.camera}: images that cannot be decoded, skipped", loaded.name)
            return None
        size = image.shape[1], image.shape[0]
        self.size = self.size or size
        if size == self.size:
            self.passed = True
            return image
        self.wrong += 1
        example = f"{loaded.name} is {size[0]}x{size[1]}, not {self.size[0]}x{self.size[1]}"
        if not self.passed and self.wrong == WRONG_SIZES:
            raise DataError(f"cam{self.camera}: {example} as calibrated, nor is any image before it")
        self.report.add(f"cam{self.camera}: images of another size, skipped", example)
        return None


@dataclass(frozen=True)
class FrameFiles:
    """Where the images of one frame lie."""

    stamp_ns: int
    paths: tuple[Path | None, ...]  # per camera, None: missing


class FileRecording(Recording):
    """A Dataset of image files, of those with 16 bits the upper 8 that the camera uses."""

    def __init__(
        self, path: Path, files: Sequence[FrameFiles], sensors: Sensors, report: ReadReport, color: bool = False
    ) -> None:
        """Raise DataError where there is no frame."""
        if not files:
            raise DataError(f"{path}: no image of the left camera can be found")
        stamps_ns = np.array([file.stamp_ns for file in files], np.int64)
        super().__init__(path.resolve().name, stamps_ns, sensors, report)
        self._files, self._flags = files, cv2.IMREAD_COLOR_RGB if color else cv2.IMREAD_GRAYSCALE
        self._depths: dict[int, BitDepth] = {}

    def _load(self, chosen: range) -> Iterator[list[Loaded | None]]:
        for frame in self._files[chosen.start : chosen.stop]:
            yield [self._loaded(camera, path) if path else None for camera, path in enumerate(frame.paths)]

    def _loaded(self, camera: int, path: Path) -> Loaded:
        image = read_image(path, self._flags | cv2.IMREAD_ANYDEPTH)
        if image is not None and image.dtype == np.uint16:
            image = self._depth(camera).reduce(image)
        return Loaded(path.name, image if image is not None and image.dtype == np.uint8 else None)

    def _depth(self, camera: int) -> BitDepth:
        """How many bits a camera with 16-bit images uses; looked at once, in images from all over the recording."""
        if camera not in self._depths:
            self._depths[camera] = depth = BitDepth()
            paths = [path for frame in self._files if (path := frame.paths[camera])]
            for i in spread(len(paths)):
                image = read_image(paths[i], self._flags | cv2.IMREAD_ANYDEPTH)
                if image is not None and image.dtype == np.uint16:
                    depth.look(image)
            self.report.note(bits_note(f"cam{camera}", depth))
        return self._depths[camera]
