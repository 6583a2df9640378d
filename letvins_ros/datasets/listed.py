# SPDX-License-Identifier: Apache-2.0
"""Folders whose images are listed in text files, a stamp and a name a row, with IMU and truth in such files beside.

TUM RGB-D and what is stored like it (ETH3D SLAM), UZH-FPV, OpenLORIS-Scene: one reader, told apart by file names.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from letvins_ros import geometry
from letvins_ros.calibration import Rig, choose_cameras, read_rig
from letvins_ros.datasets import eth3d, openloris, stream, table
from letvins_ros.datasets.base import ReadReport
from letvins_ros.datasets.joined_imu import join_imu
from letvins_ros.datasets.placed import Placed, move_truth
from letvins_ros.datasets.sequence import FileRecording, FrameFiles, Sensors, Size
from letvins_ros.errors import DataError
from letvins_ros.image_files import read_image
from letvins_ros.types import ImuSamples, Trajectory

TRUTH = "groundtruth.txt"


@dataclass(frozen=True)
class Layout:
    """The files of one format, by their names."""

    lists: tuple[str, ...]  # of the images of each camera, left first
    imu: tuple[str, ...]  # gyro and accelerometer in one file, or each in its own
    calibration: Callable[[Path, Size, int], Placed]  # of so many cameras with images of this size
    needs: str = ""  # a further file or folder by which the format is known

    def fits(self, path: Path) -> bool:
        """Whether a folder has these files."""
        return (path / self.lists[0]).is_file() and (path / self.needs).exists()


def _kalibr(path: Path, size: Size, cameras: int) -> Placed:
    """The Kalibr camera chain in the folder or in one below it; the truth is of the IMU."""
    found = sorted([*path.glob("*camchain*.yaml"), *path.glob("*/*camchain*.yaml")])
    if len(found) > 1:
        raise DataError(f"{path}: has several camera chains: {', '.join(file.name for file in found)}")
    if not found:
        return Placed(None, np.eye(4), reason="the folder has no camera chain of Kalibr")
    return Placed(read_rig(found[0]), np.eye(4))


LAYOUTS = (
    Layout(("left_images.txt", "right_images.txt"), ("imu.txt",), _kalibr),  # UZH-FPV, Snapdragon
    Layout(("images.txt",), ("imu.txt",), _kalibr, needs="imu.txt"),  # UZH-FPV, DAVIS
    Layout(("fisheye1.txt", "fisheye2.txt"), ("t265_gyroscope.txt", "t265_accelerometer.txt"), openloris.read_t265),
    Layout(("color.txt",), ("d400_gyroscope.txt", "d400_accelerometer.txt"), openloris.read_d400),
    Layout(("rgb.txt", "rgb2.txt"), ("imu.txt",), eth3d.read_calibration, needs="rgb"),  # TUM RGB-D, ETH3D SLAM
)


def recognises(path: Path) -> bool:
    """Whether this is the folder of one sequence."""
    return any(layout.fits(path) for layout in LAYOUTS)


def open_listed(path: Path, rig: Rig | None = None, color: bool = False, numbers: Sequence[int] = ()) -> FileRecording:
    """Read the images of one or two cameras, the IMU and the truth, where they are.

    numbers: of the cameras to read, left first, where not all are meant. Raises DataError, or CalibrationError for a
    calibration in the folder that cannot be used.
    """
    layout, report = next(layout for layout in LAYOUTS if layout.fits(path)), ReadReport()
    there = [name for name in layout.lists if (path / name).is_file()]
    if numbers and max(numbers) >= len(there):
        raise DataError(f"{path}: has no camera {max(numbers)}; its lists of images are {', '.join(there)}")
    images = [_images(path, name, report) for name in there]
    own = layout.calibration(path, _first_size(path, images[0][1]), len(there))
    rig = rig or (choose_cameras(own.rig, numbers) if own.rig else None)
    if rig is None:
        report.note(f"calibration: {own.reason}")
    chosen = list(numbers or range(len(rig.cameras) if rig else len(there)))[: len(there)]
    imu = _read_imu(path, layout, report)
    imu = imu and own.corrected(imu)
    if imu is not None and rig is own.rig and rig is not None and not own.imu_mounted:
        imu = None
        report.note(f"calibration: {own.reason}")
    truth = _read_truth(path / TRUTH, own, rig, report)
    frames = _frames([images[number] for number in chosen], rig, report)
    return FileRecording(path, frames, Sensors(rig, imu, truth), report, color)


def _images(path: Path, name: str, report: ReadReport) -> tuple[np.ndarray, list[Path]]:
    """Stamps (N,) and files of the images of a list that exist."""
    stamps_ns, names = table.read_image_list(path / name, report, numbered=True)
    files = [path / file for file in names]
    there = [i for i, file in enumerate(files) if file.is_file()]
    if missing := len(files) - len(there):
        first = next(file for i, file in enumerate(names) if i not in set(there))
        report.add(f"{name}: image files missing", first, missing)
    return stamps_ns[there], [files[i] for i in there]


def _first_size(path: Path, files: list[Path]) -> Size:
    for file in files:
        if (image := read_image(file)) is not None:
            return image.shape[1], image.shape[0]
    raise DataError(f"{path}: none of {len(files)} left images can be decoded")


def _read_imu(path: Path, layout: Layout, report: ReadReport) -> ImuSamples | None:
    if not all((path / name).is_file() for name in layout.imu):
        return None
    if len(layout.imu) == 1:
        return table.read_imu(path / layout.imu[0], report, numbered=True)
    (gyro_ns, gyro), (accel_ns, accel) = (table.read_vectors(path / name, report) for name in layout.imu)
    samples = ImuSamples(gyro_ns, gyro, np.zeros_like(gyro))
    return join_imu(samples, accel_ns, np.hstack([np.zeros_like(accel), accel]), report)


def _read_truth(path: Path, own: Placed, rig: Rig | None, report: ReadReport) -> Trajectory | None:
    """T_world_body from the poses of the frame whose truth is known."""
    if not path.is_file():
        return None
    truth = table.read_truth(path, report, table.XYZW, numbered=True)
    T_truth_body = own.T_truth_body
    if T_truth_body is None and rig is not None:  # it is that of the left camera
        T_truth_body = geometry.inverse(rig.cameras[0].T_body_cam)
    return truth if T_truth_body is None else move_truth(truth, T_truth_body)


def _frames(images: Sequence[tuple[np.ndarray, list[Path]]], rig: Rig | None, report: ReadReport) -> list[FrameFiles]:
    """The images of all cameras, those of one time together."""
    groups = rig.groups if rig and len(rig.cameras) == len(images) else (tuple(range(len(images))),)
    frames_ns, chosen = stream.join([stamps for stamps, _ in images], groups, report)
    return [
        FrameFiles(int(stamp), tuple(images[camera][1][i] if i >= 0 else None for camera, i in enumerate(row)))
        for stamp, row in zip(frames_ns, chosen.T, strict=True)
    ]
