# SPDX-License-Identifier: Apache-2.0
"""4Seasons recordings: stereo images named by their ns, IMU, and poses fused with GNSS. The body is the IMU.

The images as taken are read where they and their calibration are there, else the undistorted ones.
"""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np

from letvins_ros import geometry
from letvins_ros.calibration import MountedCamera, Rig, choose_cameras, read_rig
from letvins_ros.calibration_files.values import mended, pose
from letvins_ros.camera import Camera
from letvins_ros.datasets import stream, table
from letvins_ros.datasets.base import ReadReport
from letvins_ros.datasets.numbered import SUFFIXES, first_size
from letvins_ros.datasets.sequence import FileRecording, FrameFiles, Sensors, Size
from letvins_ros.errors import CalibrationError, DataError
from letvins_ros.reading import ending
from letvins_ros.types import Trajectory

AS_TAKEN, UNDISTORTED = "distorted_images", "undistorted_images"
TRANSFORMS = ("transform_S_AS", "TS_cam_imu", "transform_w_gpsw")  # of Transformations.txt that are used
Images = dict[int, Path]


def recognises(path: Path) -> bool:
    """Whether this is the folder of one recording."""
    return any((path / kind / "cam0").is_dir() for kind in (AS_TAKEN, UNDISTORTED))


def open_four_seasons(
    path: Path, rig: Rig | None = None, color: bool = False, numbers: Sequence[int] = ()
) -> FileRecording:
    """Read the images of two cameras, imu.txt, GNSSPoses.txt, and the calibration, here or in the folder above.

    numbers: of the cameras to read, left first. Raises DataError or CalibrationError.
    """
    report = ReadReport()
    calibration = _calibration_folder(path)
    kind = _kind(path, rig, calibration)
    images = [_images(path / kind / f"cam{number}") for number in (numbers or (0, 1))]
    if not images[0]:
        raise DataError(f"{path / kind}: no image named by its time in ns in cam{(numbers or (0,))[0]}")
    transforms = _transforms(path / "Transformations.txt")
    if rig is None and calibration:
        rig = _read_rig(calibration, kind, transforms, first_size(images[0]))
        rig = choose_cameras(rig, numbers)
    if rig is None:
        report.note("calibration: no folder calibration beside the recording")
    images = images[: len(rig.cameras)] if rig else images
    imu = table.read_imu(path / "imu.txt", report) if (path / "imu.txt").is_file() else None
    truth = _read_truth(path / "GNSSPoses.txt", transforms, report)
    stamps_ns = [np.array(sorted(camera), np.int64) for camera in images]
    frames_ns, chosen = stream.join(stamps_ns, rig.groups if rig else (tuple(range(len(images))),), report)
    frames = [
        FrameFiles(int(stamp), tuple(images[c][int(stamps_ns[c][i])] if i >= 0 else None for c, i in enumerate(row)))
        for stamp, row in zip(frames_ns, chosen.T, strict=True)
    ]
    return FileRecording(path, frames, Sensors(rig, imu, truth), report, color)


def _calibration_folder(path: Path) -> Path | None:
    places = [path, path.resolve().parent]
    folders = [place / name for place in places for name in ("calibration", "Calibration", "calibration/calibration")]
    files = ("camchain.yaml", "undistorted_calib_0.txt")
    return next((f for f in [path, *folders] if any((f / file).is_file() for file in files)), None)


def _kind(path: Path, rig: Rig | None, calibration: Path | None) -> str:
    """Which images are read: those that the calibration is for."""
    there = [kind for kind in (AS_TAKEN, UNDISTORTED) if (path / kind / "cam0").is_dir()]
    if rig is not None:
        wanted = AS_TAKEN if rig.cameras[0].camera.distortion else UNDISTORTED
    else:
        wanted = AS_TAKEN if calibration and (calibration / "camchain.yaml").is_file() else UNDISTORTED
    return wanted if wanted in there else there[0]


def _images(folder: Path) -> Images:
    """Images by their stamp, ns."""
    files = folder.iterdir() if folder.is_dir() else ()
    return {int(f.stem): f for f in files if f.suffix.lower() in SUFFIXES and f.stem.isdecimal() and len(f.stem) < 20}


def _transforms(path: Path) -> dict[str, np.ndarray]:
    """Transforms (4, 4) by name: a row of position and quaternion x y z w below each `# name: ...`."""
    try:
        lines = [line.strip() for line in ending(path).read_text(errors="replace").splitlines() if line.strip()]
    except OSError as error:
        raise CalibrationError(f"{path}: {error.strerror}") from None
    found = {}
    for heading, row in pairwise(lines):
        name = heading.lstrip("# ").partition(":")[0]
        if name in TRANSFORMS:
            try:
                values = [float(cell) for cell in row.split(",")]
            except ValueError:
                values = []
            if len(values) != 7 or not np.isfinite(values).all():
                raise CalibrationError(f"{path}: {name} must be followed by 7 numbers, got {row[:60]!r}")
            found[name] = pose(values[:3], values[3:], f"{path}: {name}")
    if missing := [name for name in TRANSFORMS if name not in found]:
        raise CalibrationError(f"{path}: {', '.join(missing)} missing")
    return found


def _read_rig(calibration: Path, kind: str, transforms: dict[str, np.ndarray], size: Size) -> Rig:
    if kind == AS_TAKEN:
        return read_rig(calibration / "camchain.yaml")
    T_body_left = geometry.inverse(transforms["TS_cam_imu"])
    stereo = calibration / "undistorted_calib_stereo.txt"
    rows = table.read_numbers(stereo)
    if rows.shape != (4, 4) or not np.isfinite(rows).all():
        raise CalibrationError(f"{stereo}: 4 rows of 4 finite numbers needed, got {rows.shape}")
    T_right_left = mended(rows, str(stereo))
    mounts = [T_body_left, T_body_left @ geometry.inverse(T_right_left)]
    cameras = [_pinhole(calibration / f"undistorted_calib_{i}.txt", size) for i in range(2)]
    return Rig(tuple(map(MountedCamera, cameras, mounts)), None)


def _pinhole(path: Path, size: Size) -> Camera:
    """The camera of a line `Pinhole fx fy cx cy 0`."""
    try:
        words = ending(path).read_text(errors="replace").split()
        fx, fy, cx, cy = (float(word) for word in words[1:5])
    except OSError as error:
        raise CalibrationError(f"{path}: {error.strerror}") from None
    except ValueError:
        raise CalibrationError(f"{path}: must begin with Pinhole fx fy cx cy") from None
    return Camera("pinhole-radtan", *size, (fx, fy, cx, cy))


def _read_truth(path: Path, transforms: dict[str, np.ndarray], report: ReadReport) -> Trajectory | None:
    """Poses of the IMU in a world east-north-up, from those of the camera, each with a scale of its own."""
    if not path.is_file():
        return None
    stamps_ns, values = table.read_table(path, 8, report)
    lengths = np.linalg.norm(values[:, 3:7], axis=1)
    good = (np.abs(lengths - 1) < 1e-2) & (np.abs(values[:, :3]).max(axis=1) < 1e9) & (np.abs(values[:, 7]) < 1e3)
    if not good.all():
        report.add("truth: rows that are no poses, skipped", str(stamps_ns[~good][0]), int((~good).sum()))
    stamps_ns, values, lengths = stamps_ns[good], values[good], lengths[good]
    if not len(stamps_ns):
        return None
    T_cam = geometry.from_quaternion(values[:, :3] * values[:, 7:8], values[:, 3:7] / lengths[:, None])
    T = (
        geometry.inverse(transforms["transform_w_gpsw"])
        @ transforms["transform_S_AS"]
        @ T_cam
        @ transforms["TS_cam_imu"]
    )
    return Trajectory(stamps_ns, T[:, :3, 3], geometry.quaternion_xyzw(T[:, :3, :3]))
