# SPDX-License-Identifier: Apache-2.0
"""KITTI raw drives, `sync` (rectified) or `extract` (as taken). The body is the IMU of the OXTS."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from letvins_ros import geometry
from letvins_ros.calibration import MountedCamera, Rig
from letvins_ros.camera import Camera
from letvins_ros.datasets.base import ReadReport
from letvins_ros.datasets.numbered import SUFFIXES, first_size
from letvins_ros.datasets.sequence import FileRecording, FrameFiles, Sensors, Size
from letvins_ros.datasets.stream import clean, pair
from letvins_ros.errors import CalibrationError, DataError
from letvins_ros.reading import ending
from letvins_ros.types import ImuSamples, Trajectory

EARTH_M = 6378137.0
POSE, ACCEL, GYRO = slice(0, 6), slice(11, 14), slice(17, 20)  # columns of an OXTS file, see its dataformat.txt
COLUMNS = 20  # that are needed


def recognises(path: Path) -> bool:
    """Whether this is the folder of one drive."""
    return any((path / f"image_0{left}" / "timestamps.txt").is_file() for left in (0, 2))


def open_kitti_raw(
    path: Path, rig: Rig | None = None, color: bool = False, numbers: Sequence[int] = ()
) -> FileRecording:
    """Read image_0N/ of two cameras, oxts/, and the calibration of the day, in the folder above or in the drive's own.

    numbers: of the cameras to read, left first, where they are not 0 and 1 (gray), or 2 and 3 (colour) without these.
    """
    report = ReadReport()
    numbers = (numbers or ((0, 1) if (path / "image_00").is_dir() else (2, 3)))[:2]
    cameras = [_images(path / f"image_0{number}", report) for number in numbers]
    left_ns, left = cameras[0]
    if not left:
        raise DataError(f"{path}: no image in image_0{numbers[0]}/data")
    used = numbers[: 1 + (len(cameras) > 1 and bool(cameras[1][1]))]
    rig = rig or _read_rig(path, first_size(dict(enumerate(left))), used)
    frames = [FrameFiles(int(stamp), (image,)) for stamp, image in zip(left_ns, left, strict=True)]
    if len(rig.cameras) > 1:
        right_ns, right = cameras[1] if len(cameras) > 1 else (np.zeros(0, np.int64), [])
        match = pair(left_ns, right_ns, report)
        rows = zip(left_ns, left, match, strict=True)
        frames = [FrameFiles(int(stamp), (image, right[i] if i >= 0 else None)) for stamp, image, i in rows]
    imu, truth = _read_oxts(path / "oxts", report)
    return FileRecording(path, frames, Sensors(rig, imu, truth), report, color)


def _images(folder: Path, report: ReadReport) -> tuple[np.ndarray, list[Path]]:
    """Stamps (N,) and paths of the images that exist, in order of time; none without the folder."""
    if not (folder / "data").is_dir():
        return np.zeros(0, np.int64), []
    stamps_ns = _timestamps(folder / "timestamps.txt")
    files = {path.stem: path for path in (folder / "data").iterdir() if path.suffix.lower() in SUFFIXES}
    there = {int(stem): path for stem, path in files.items() if stem.isdecimal() and int(stem) < len(stamps_ns)}
    if missing := len(stamps_ns) - len(there):
        report.add(f"{folder.name}: image files missing", f"of {len(stamps_ns)}", missing)
    kept = sorted(there, key=lambda i: stamps_ns[i])
    kept = [i for n, i in enumerate(kept) if n == 0 or stamps_ns[i] > stamps_ns[kept[n - 1]]]
    return stamps_ns[kept], [there[i] for i in kept]


def _timestamps(path: Path) -> np.ndarray:
    """Stamps (N,) int64 ns of lines such as 2011-09-26 13:02:25.964389445."""
    try:
        lines = ending(path).read_text(errors="replace").split("\n")
        return np.array([_stamp(line) for line in lines if line.strip()], np.int64)
    except (OSError, ValueError, OverflowError) as error:
        raise DataError(f"{path}: no times such as 2011-09-26 13:02:25.964389445 ({error})") from error


def _stamp(line: str) -> int:
    whole, _, fraction = line.strip().partition(".")
    seconds = int(datetime.fromisoformat(whole).replace(tzinfo=UTC).timestamp())
    return seconds * 1_000_000_000 + int(fraction[:9].ljust(9, "0"))


def _read_rig(path: Path, size: Size, numbers: Sequence[int]) -> Rig:
    """Cameras on the IMU: rectified ones where the images have that size, else as they were calibrated."""
    folder = path if (path / "calib_cam_to_cam.txt").is_file() else path.resolve().parent
    cams = _Values(folder / "calib_cam_to_cam.txt")
    T_cam0_imu = _Values(folder / "calib_velo_to_cam.txt").pose() @ _Values(folder / "calib_imu_to_velo.txt").pose()
    rectified = cams.numbers(f"S_rect_0{numbers[0]}", 2).astype(int).tolist() == list(size)
    mounted = []
    for number in numbers:
        camera, T_cam0_cam = _rectified(cams, number, size) if rectified else _as_taken(cams, number, size)
        mounted.append(MountedCamera(camera, geometry.inverse(T_cam0_imu) @ T_cam0_cam))
    return Rig(tuple(mounted), None)


def _rectified(cams: "_Values", number: int, size: Size) -> tuple[Camera, np.ndarray]:
    P = cams.numbers(f"P_rect_0{number}", 12).reshape(3, 4)
    T_cam0_cam = np.eye(4)
    T_cam0_cam[:3, :3] = cams.rotation("R_rect_00").T
    T_cam0_cam[:3, 3] = T_cam0_cam[:3, :3] @ [-P[0, 3] / P[0, 0], 0.0, 0.0]
    return Camera("pinhole-radtan", *size, (P[0, 0], P[1, 1], P[0, 2], P[1, 2])), T_cam0_cam


def _as_taken(cams: "_Values", number: int, size: Size) -> tuple[Camera, np.ndarray]:
    K, D = cams.numbers(f"K_0{number}", 9), cams.numbers(f"D_0{number}", 5)
    T_cam_cam0 = geometry.transform(cams.rotation(f"R_0{number}"), cams.numbers(f"T_0{number}", 3))
    return Camera("pinhole-radtan", *size, (K[0], K[4], K[2], K[5]), tuple(D.tolist())), geometry.inverse(T_cam_cam0)


class _Values:
    """Numbers by their key in a calibration file; CalibrationError for those that are missing."""

    def __init__(self, path: Path) -> None:
        try:
            lines = ending(path).read_text(errors="replace").splitlines()
        except OSError as error:
            raise CalibrationError(f"{path}: {error.strerror}") from None
        self._path, self._rows = path, dict(line.split(":", 1) for line in lines if ":" in line)

    def numbers(self, key: str, count: int) -> np.ndarray:
        try:
            found = np.array(self._rows.get(key, "").split(), float)
        except ValueError:
            found = np.zeros(0)
        if len(found) != count or not np.isfinite(found).all():
            raise CalibrationError(f"{self._path}: {key} must hold {count} numbers")
        return found

    def rotation(self, key: str) -> np.ndarray:
        """A rotation (3, 3), rounded in the file, to the last digit."""
        R = self.numbers(key, 9).reshape(3, 3)
        if np.abs(R.T @ R - np.eye(3)).max() > 1e-2 or np.linalg.det(R) <= 0:
            raise CalibrationError(f"{self._path}: {key} is no rotation")
        u, _, vt = np.linalg.svd(R)
        return np.asarray(u @ vt)

    def pose(self) -> np.ndarray:
        return geometry.transform(self.rotation("R"), self.numbers("T", 3))


def _read_oxts(folder: Path, report: ReadReport) -> tuple[ImuSamples | None, Trajectory | None]:
    """Inertial readings (specific force), and the pose of the IMU in a world east-north-up that begins at the first."""
    if not (folder / "timestamps.txt").is_file():
        return None, None
    stamps_ns = _timestamps(folder / "timestamps.txt")
    rows, kept = [], []
    for i in range(len(stamps_ns)):
        try:
            row = np.array(ending(folder / "data" / f"{i:010d}.txt").read_text().split()[:COLUMNS], float)
        except (OSError, ValueError):
            row = np.zeros(0)
        if len(row) == COLUMNS:
            rows.append(row)
            kept.append(i)
    if lost := len(stamps_ns) - len(kept):
        report.add("oxts: files missing or damaged", str(folder), lost)
    if not rows:
        return None, None
    stamps_ns, values = clean("oxts", stamps_ns[kept], np.array(rows), report)
    imu = ImuSamples(stamps_ns, values[:, GYRO], values[:, ACCEL])
    return imu, _trajectory(stamps_ns, values[:, POSE])


def _trajectory(stamps_ns: np.ndarray, poses: np.ndarray) -> Trajectory | None:
    """Poses of latitude, longitude in degrees, altitude in m, roll, pitch, yaw in rad, by Mercator's projection."""
    latitude, longitude = np.radians(poses[:, 0].clip(-89, 89)), np.radians(poses[:, 1])
    if not len(poses) or np.abs(poses).max() > 1e6:
        return None
    scale = EARTH_M * np.cos(latitude[0])
    positions = np.column_stack([scale * longitude, scale * np.log(np.tan(np.pi / 4 + latitude / 2)), poses[:, 2]])
    about_x, about_y, about_z = (
        geometry.exp_so3(angle[:, None] * axis) for angle, axis in zip(poses[:, 3:6].T, np.eye(3), strict=True)
    )
    return Trajectory(stamps_ns, positions - positions[0], geometry.quaternion_xyzw(about_z @ about_y @ about_x))
