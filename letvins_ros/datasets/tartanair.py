# SPDX-License-Identifier: Apache-2.0
"""TartanAir trajectories, V1 and V2.

Poses are of the left camera in a world north-east-down, with camera axes forward-right-down. The body here is the left
camera with axes forward-left-up in a world turned alike, so that z is up: both sides turn by pi about x. In V2 this is
also the IMU, which the data set derives from the poses in the left camera's axes (tartanair docs, modalities).
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from letvins_ros import geometry
from letvins_ros.calibration import ImuNoise, MountedCamera, Rig
from letvins_ros.camera import Camera
from letvins_ros.datasets.base import ReadReport
from letvins_ros.datasets.numbered import first_size, numbered_frames, numbered_images
from letvins_ros.datasets.sequence import FileRecording, Sensors, Size
from letvins_ros.datasets.stamps import seconds_to_ns
from letvins_ros.datasets.stream import clean
from letvins_ros.datasets.table import read_numbers
from letvins_ros.errors import DataError
from letvins_ros.reading import read_array
from letvins_ros.types import ImuSamples, Trajectory

NED_TO_BODY = np.array([1.0, -1.0, -1.0])  # forward-right-down to forward-left-up, north-east-down to z up
R_BODY_CAM = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])  # camera: z forward, y down
BASELINE_M = 0.25
ABSURD_M = 1e9
IMU_RATE_HZ = 200.0
# The readings are noise-free; these stand for the difference of the spline from the true motion.
ASSUMED_NOISE = ImuNoise(gyro_noise=1.7e-4, accel_noise=2e-3, gyro_walk=2e-5, accel_walk=3e-3)
SIDES = ("front", "left", "right", "back", "top", "bottom")  # where V2's pairs look
LAYOUTS = (  # names of the cameras, by number
    ("left", "right"),  # V1
    tuple(f"{camera}_{side}" for side in SIDES for camera in ("lcam", "rcam")),  # V2
)


def recognises(path: Path) -> bool:
    """Whether this is the folder of one trajectory."""
    return any((path / f"image_{names[0]}").is_dir() for names in LAYOUTS)


def open_tartanair(
    path: Path, rig: Rig | None = None, color: bool = False, numbers: Sequence[int] = (), frame_rate_hz: float = 10.0
) -> FileRecording:
    """Read a trajectory folder; frame_rate_hz where it has no times. A missing IMU is made from the poses.

    numbers: of the cameras to read where they are not the first two, in the order left and right of `SIDES`.
    """
    report = ReadReport()
    names = next(names for names in LAYOUTS if (path / f"image_{names[0]}").is_dir())
    used = [names[number] if number < len(names) else f"camera {number}" for number in numbers or (0, 1)]
    files = {name: numbered_images(path / f"image_{name}") for name in used}
    needed = used if numbers else used[:1]
    if missing := [name for name in needed if not files[name]]:
        raise DataError(f"{path}: no folder image_{missing[0]}; cameras by number: {', '.join(names)}")
    stamps_ns = _stamps(path / "imu", max(files[used[0]]) + 1, frame_rate_hz, report)
    truth = _read_poses(path / f"pose_{names[0]}.txt", stamps_ns, report)
    imu = _read_imu(path / "imu", report)
    if imu is None:
        imu = _synthetic_imu(truth, report)
    if not rig:
        there = [name for name in used if files[name]]
        places = [_T_body_cam(path, name, names, stamps_ns, truth) for name in there]
        rig = _rig(first_size(files[used[0]]), places, imu)
    frames = numbered_frames([files[name] for name in used[: len(rig.cameras)]], stamps_ns, report)
    return FileRecording(path, frames, Sensors(rig, imu, truth), report, color)


def _T_body_cam(
    path: Path, name: str, names: Sequence[str], stamps_ns: np.ndarray, truth: Trajectory | None
) -> np.ndarray:
    """T_body_cam (4, 4) of the front cameras, which is fixed, and of others by their own poses."""
    T_body_cam = geometry.transform(R_BODY_CAM, np.zeros(3))
    if name in names[:2]:
        T_body_cam[1, 3] = -BASELINE_M * names.index(name)
        return T_body_cam
    theirs = _read_poses(path / f"pose_{name}.txt", stamps_ns, ReadReport())
    if truth is None or theirs is None:
        raise DataError(f"{path}: pose_{names[0]}.txt and pose_{name}.txt are needed to place camera {name}")
    _, i, j = np.intersect1d(truth.stamps_ns, theirs.stamps_ns, return_indices=True)
    if not len(i):
        raise DataError(f"{path}: pose_{names[0]}.txt and pose_{name}.txt have no frame in common")
    T_world_body, T_world_other = (
        geometry.from_quaternion(poses.positions[k[0]], poses.quaternions[k[0]])
        for poses, k in ((truth, i), (theirs, j))
    )
    return geometry.inverse(T_world_body) @ T_world_other @ T_body_cam


def _rig(size: Size, places: Sequence[np.ndarray], imu: ImuSamples | None) -> Rig:
    """Pinhole cameras of 90 degrees across, the principal point in the middle (V1: 320 320 240, V2: 320 320 320)."""
    camera = Camera("pinhole-radtan", *size, (size[0] / 2, size[0] / 2, size[0] / 2, size[1] / 2))
    mounted = tuple(MountedCamera(camera, T_body_cam) for T_body_cam in places)
    if imu is None or len(imu) < 2:
        return Rig(mounted, None)
    return Rig(mounted, replace(ASSUMED_NOISE, rate_hz=float(1e9 / np.median(np.diff(imu.stamps_ns)))))


def _stamps(imu: Path, count: int, frame_rate_hz: float, report: ReadReport) -> np.ndarray:
    """Stamps (N,) int64 ns of the frames: V2's own, else by the assumed rate."""
    seconds = _array(imu, "cam_time")
    if seconds is not None:
        return seconds_to_ns(seconds.ravel(), imu, digits=4)  # float32 in the files: no finer than 0.1 ms
    report.add("frames without times", f"taken as {frame_rate_hz:g} Hz", count)
    return np.round(np.arange(count) * (1e9 / frame_rate_hz)).astype(np.int64)


def _read_poses(path: Path, stamps_ns: np.ndarray, report: ReadReport) -> Trajectory | None:
    """T_world_body from rows of position and quaternion x y z w, north-east-down."""
    if not path.is_file():
        return None
    poses = read_numbers(path)
    if poses.shape[1] != 7:
        raise DataError(f"{path}: 7 numbers needed in each row, position and quaternion x y z w, got {poses.shape[1]}")
    n = min(len(poses), len(stamps_ns))
    if len(poses) != len(stamps_ns):
        report.add("truth: poses and frames differ in number", f"{len(poses)} poses, {len(stamps_ns)} frames")
    good = (np.abs(poses[:n]) < ABSURD_M).all(axis=1) & (np.linalg.norm(poses[:n, 3:].clip(-2, 2), axis=1) > 1e-6)
    if not good.all():
        report.add("truth: rows that are no poses, skipped", f"row {int(np.argmin(good))}", int((~good).sum()))
    stamps_ns, poses = clean("truth", stamps_ns[:n][good], poses[:n][good], report)
    quaternions = poses[:, 3:] * [*NED_TO_BODY, 1.0]
    return Trajectory(stamps_ns, poses[:, :3] * NED_TO_BODY, quaternions / np.linalg.norm(quaternions, axis=1)[:, None])


def _read_imu(folder: Path, report: ReadReport) -> ImuSamples | None:
    """V2's readings: specific force and rate in the left camera's forward-right-down axes, 100 Hz, gravity 9.8."""
    seconds, gyro, accel = (_array(folder, name) for name in ("imu_time", "gyro", "acc"))
    if seconds is None or gyro is None or accel is None:
        return None
    if not (gyro.shape == accel.shape == (seconds.size, 3)):
        raise DataError(f"{folder}: {seconds.size} times, {gyro.shape} gyro and {accel.shape} acc do not match")
    stamps_ns = seconds_to_ns(seconds.ravel(), folder)
    stamps_ns, values = clean("imu", stamps_ns, np.hstack([gyro * NED_TO_BODY, accel * NED_TO_BODY]), report)
    return ImuSamples(stamps_ns, values[:, :3], values[:, 3:])


def _synthetic_imu(truth: Trajectory | None, report: ReadReport) -> ImuSamples | None:
    from letvins_ros.datasets.spline_imu import MIN_POSES, imu_from_poses  # slow, and for this alone

    if truth is None or len(truth) < MIN_POSES:
        report.add("imu: cannot be made from the poses", f"{len(truth) if truth else 0} of {MIN_POSES} poses")
        return None
    imu = imu_from_poses(truth, IMU_RATE_HZ)
    report.add("imu: readings made from the true poses, as there are none", f"spline, {IMU_RATE_HZ:g} Hz", len(imu))
    return imu


def _array(folder: Path, name: str) -> np.ndarray | None:
    """Numbers (N, C) of name.npy or name.txt, None where there is neither."""
    binary, text = folder / f"{name}.npy", folder / f"{name}.txt"
    if not binary.is_file():
        return read_numbers(text) if text.is_file() else None
    try:
        array = np.array(read_array(binary), np.float64)
        return array.reshape(len(array), -1)
    except (ValueError, TypeError) as error:
        raise DataError(f"{binary}: {error}") from error
