# SPDX-License-Identifier: Apache-2.0
"""A recorded sequence whose images are files."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from letvins_ros.calibration import Rig
from letvins_ros.datasets.base import ReadReport
from letvins_ros.datasets.stream import read_ahead, report_gaps, span
from letvins_ros.errors import DataError
from letvins_ros.types import ImageFrame, ImuSamples, Trajectory

Size = tuple[int, int]  # width, height


@dataclass(frozen=True)
class FrameFiles:
    """Where the images of one frame lie."""

    stamp_ns: int
    paths: tuple[Path | None, ...]  # per camera, None: missing


@dataclass(frozen=True, eq=False)
class Sensors:
    """What a recording knows besides its images."""

    rig: Rig | None
    imu: ImuSamples | None = None
    truth: Trajectory | None = None


class ImageFileSequence:
    """A Dataset of image files; 16-bit images lose their low byte."""

    def __init__(
        self, path: Path, files: Sequence[FrameFiles], sensors: Sensors, report: ReadReport, color: bool = False
    ) -> None:
        """Raise DataError where there is no frame, or the images look to be of another size than calibrated."""
        if not files:
            raise DataError(f"{path}: no image of the left camera can be found")
        self.name = path.resolve().name
        self.rig, self.imu, self.truth, self.report = sensors.rig, sensors.imu, sensors.truth, report
        self.stamps_ns = np.array([file.stamp_ns for file in files], np.int64)
        self._files, self._color = files, color
        self._sizes = [self._check_size(i) for i in range(len(files[0].paths))]
        report_gaps("frames", self.stamps_ns, report)
        if self.imu is not None:
            report_gaps("imu", self.imu.stamps_ns, report)

    def __len__(self) -> int:
        return len(self._files)

    def frames(self, start_s: float = 0.0, duration_s: float | None = None) -> Iterator[ImageFrame]:
        """See Dataset."""
        return read_ahead(self._decode(self._files[span(self.name, self.stamps_ns, start_s, duration_s)]))

    def _decode(self, files: Sequence[FrameFiles]) -> Iterator[ImageFrame]:
        """Yield the frames whose left image can be read; a bad right image counts as missing."""
        read = 0
        for frame in files:
            left = self._read(0, frame.paths[0])
            if left is not None:
                read += 1
                rest = (self._read(i, path) for i, path in enumerate(frame.paths[1:], 1))
                yield ImageFrame(frame.stamp_ns, (left, *rest))
        if not read:
            raise DataError(f"{self.name}: none of {len(files)} left images can be used, first {files[0].paths[0]}")

    def _read(self, camera: int, path: Path | None) -> np.ndarray | None:
        """Read an image of the calibrated size, or count why there is None."""
        if path is None:
            return None
        image = read_image(path, self._color)
        if image is None:
            self.report.add(f"cam{camera}: images that cannot be decoded, skipped", path.name)
        elif self._sizes[camera] not in (None, _size(image)):
            example = f"{path.name} is {_text(_size(image))}, not {_text(self._sizes[camera])}"
            self.report.add(f"cam{camera}: images of another size, skipped", example)
            return None
        return image

    def _check_size(self, camera: int) -> Size | None:
        """Return the size that a camera's images must have; DataError where a few samples all have another one."""
        paths = [path for file in self._files if (path := file.paths[camera]) is not None]
        samples = [paths[i] for i in np.unique(np.linspace(0, len(paths) - 1, 5).astype(int))] if paths else []
        found = {_size(image): path for path in samples if (image := read_image(path, False)) is not None}
        if self.rig is None or camera >= len(self.rig.cameras):
            return next(iter(found), None)
        calibrated = self.rig.cameras[camera].camera
        size = calibrated.width, calibrated.height
        if found and size not in found:
            other, path = next(iter(found.items()))
            raise DataError(f"{path}: cam{camera}'s images are {_text(other)}, its calibration is for {_text(size)}")
        return size


def read_image(path: Path, color: bool) -> np.ndarray | None:
    """(H, W) uint8 gray or (H, W, 3) uint8 RGB, None where it cannot be decoded."""
    if not color:
        return cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    return None if image is None else cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def _size(image: np.ndarray) -> Size:
    return image.shape[1], image.shape[0]


def _text(size: Size | None) -> str:
    return "unknown" if size is None else f"{size[0]}x{size[1]}"
