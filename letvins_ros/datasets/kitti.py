# SPDX-License-Identifier: Apache-2.0
"""KITTI odometry sequences: rectified stereo without IMU. The body is camera 0, the left gray one."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from letvins_ros import geometry
from letvins_ros.calibration import MountedCamera, Rig
from letvins_ros.camera import Camera
from letvins_ros.datasets.base import ReadReport
from letvins_ros.datasets.numbered import first_size, numbered_frames, numbered_images
from letvins_ros.datasets.sequence import FileRecording, Sensors, Size
from letvins_ros.datasets.stamps import seconds_to_ns
from letvins_ros.datasets.table import read_numbers
from letvins_ros.errors import DataError
from letvins_ros.reading import ending
from letvins_ros.types import Trajectory

ABSURD_M, ROTATION_TOLERANCE = 1e9, 1e-2
# The truth's world is the first camera (z forward, y down); turned so that z is up and x forward.
R_WORLD_FIRST = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])


def recognises(path: Path) -> bool:
    """Whether this is the folder of one sequence, with gray images or with colours alone."""
    return any((path / f"image_{left}").is_dir() for left in (0, 2)) and (path / "times.txt").is_file()


def open_kitti(path: Path, rig: Rig | None = None, color: bool = False, numbers: Sequence[int] = ()) -> FileRecording:
    """Read image_N of two cameras, times.txt, calib.txt, and the truth, where it lies.

    The truth is poses.txt in the sequence, or poses/NN.txt two folders up. numbers: of the cameras to read, left first,
    where they are not 0 and 1 (gray), or 2 and 3 (colour) where there is no gray.
    """
    report = ReadReport()
    numbers = numbers or ((0, 1) if (path / "image_0").is_dir() else (2, 3))
    cameras = [numbered_images(path / f"image_{number}") for number in numbers[:2]]
    if not cameras[0]:
        raise DataError(f"{path}: no folder image_{numbers[0]}")
    used = numbers[: 1 + (len(cameras) > 1 and bool(cameras[1]))]
    rig = rig or _read_rig(path / "calib.txt", first_size(cameras[0]), used)
    stamps_ns = seconds_to_ns(read_numbers(path / "times.txt")[:, 0], path / "times.txt")
    frames = numbered_frames(cameras[: len(rig.cameras)], stamps_ns, report)
    sequence = path.resolve()
    beside = sequence / "poses.txt"
    poses = beside if beside.is_file() else sequence.parent.parent / "poses" / f"{sequence.name}.txt"
    truth = _read_truth(poses, stamps_ns, report)
    return FileRecording(path, frames, Sensors(rig, None, truth), report, color)


def _read_rig(path: Path, size: Size, numbers: Sequence[int]) -> Rig:
    """P0, P1, .. are 3x4 projections of the rectified cameras; the last column holds -fx times the distance to P0."""
    names = [f"P{number}" for number in numbers]
    try:
        rows = dict(line.split(":", 1) for line in ending(path).read_text(errors="replace").splitlines() if ":" in line)
        projections = [np.array(rows[name].split(), float).reshape(3, 4) for name in names]
        if not all(np.isfinite(P).all() and P[0, 0] > 0 for P in projections):
            raise ValueError("numbers that are no projection")
    except (OSError, KeyError, ValueError) as error:
        raise DataError(f"{path}: cannot read {' and '.join(names)} with 12 numbers each ({error})") from error
    mounted = []
    for P in projections:
        T_body_cam = np.eye(4)
        T_body_cam[0, 3] = -P[0, 3] / P[0, 0]
        camera = Camera("pinhole-radtan", *size, (P[0, 0], P[1, 1], P[0, 2], P[1, 2]))
        mounted.append(MountedCamera(camera, T_body_cam))
    return Rig(tuple(mounted), None)


def _read_truth(path: Path, stamps_ns: np.ndarray, report: ReadReport) -> Trajectory | None:
    if not path.is_file():
        return None
    rows = read_numbers(path)
    if rows.shape[1] not in (12, 16):
        raise DataError(f"{path}: 12 or 16 numbers needed in each row, got {rows.shape[1]}")
    T_first_body = rows[:, :12].reshape(-1, 3, 4)
    n = min(len(T_first_body), len(stamps_ns))
    if len(T_first_body) != len(stamps_ns):
        report.add("truth: poses and times differ in number", f"{len(T_first_body)} poses, {len(stamps_ns)} times")
    T_first_body, stamps_ns = T_first_body[:n], stamps_ns[:n]
    good = _are_poses(T_first_body)
    if not good.all():
        report.add("truth: rows that are no poses, skipped", f"row {int(np.argmin(good))}", int((~good).sum()))
    R = R_WORLD_FIRST @ T_first_body[good, :, :3]
    return Trajectory(stamps_ns[good], T_first_body[good, :, 3] @ R_WORLD_FIRST.T, geometry.quaternion_xyzw(R))


def _are_poses(T: np.ndarray) -> np.ndarray:
    """Which (N,) of the rows (N, 3, 4) have a rotation, give or take rounding, and a place on Earth."""
    near = (np.abs(T) < ABSURD_M).all(axis=(1, 2))
    R = np.where(near[:, None, None], T[:, :, :3], 0.0)
    off = np.abs(np.swapaxes(R, 1, 2) @ R - np.eye(3)).max(axis=(1, 2))
    return np.asarray(near & (off < ROTATION_TOLERANCE) & (np.linalg.det(R) > 0))
