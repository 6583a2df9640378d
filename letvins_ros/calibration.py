# SPDX-License-Identifier: Apache-2.0
"""The sensor rig: cameras on the body, IMU noise, and the files they come from."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from letvins_ros import calibration_files as files
from letvins_ros.camera import MAX_CAMERAS, Camera
from letvins_ros.errors import CalibrationError
from letvins_ros.geometry import apply, inverse
from letvins_ros.image_files import read_image

OVERLAP_M = (2.0, 5.0, 15.0)  # distances at which two cameras' views are compared
PAIR_OVERLAP = 0.5  # share of their views from which two cameras are a pair; below it each sees more alone


@dataclass(frozen=True, eq=False)
class MountedCamera:
    """A camera on the body; raises CalibrationError when the pose is not rigid or the mask does not fit."""

    camera: Camera
    T_body_cam: np.ndarray  # (4, 4)
    time_offset_s: float = 0.0  # t_imu = t_camera + time_offset_s
    mask: np.ndarray | None = None  # (H, W) uint8, zero where no features may be
    mask_path: str = ""  # the file that the mask came from

    def __post_init__(self) -> None:
        error = files.rigid_error(self.T_body_cam)
        if not error < 1e-6:
            raise CalibrationError(f"T_body_cam is no rigid transform, it is off by {error:.2g}")
        if not np.isfinite(self.time_offset_s):
            raise CalibrationError(f"time_offset_s must be finite, got {self.time_offset_s}")
        size = (self.camera.height, self.camera.width)
        if self.mask is not None and (self.mask.dtype != np.uint8 or self.mask.shape != size):
            raise CalibrationError(
                f"mask {self.mask_path} must be uint8 {size}, got {self.mask.dtype} {self.mask.shape}"
            )


@dataclass(frozen=True)
class ImuNoise:
    """Continuous-time noise densities; raises CalibrationError unless all are positive."""

    gyro_noise: float  # rad/s/sqrt(Hz)
    accel_noise: float  # m/s^2/sqrt(Hz)
    gyro_walk: float  # rad/s^2/sqrt(Hz)
    accel_walk: float  # m/s^3/sqrt(Hz)
    rate_hz: float = 200.0

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not (np.isfinite(value) and value > 0):
                raise CalibrationError(f"{name} must be positive, got {value}")


@dataclass(frozen=True, eq=False)
class Rig:
    """One to four cameras and the IMU of one device, the cameras' images taken at the same time.

    Raises CalibrationError when two cameras that look the same way are at one place.
    """

    cameras: tuple[MountedCamera, ...]
    imu: ImuNoise | None

    def __post_init__(self) -> None:
        if not self.cameras:
            raise CalibrationError("a rig needs at least one camera")
        if len(self.cameras) > MAX_CAMERAS:
            raise CalibrationError(f"a rig has at most {MAX_CAMERAS} cameras, got {len(self.cameras)}")
        for i, j in combinations(range(len(self.cameras)), 2):
            a, b = self.cameras[i], self.cameras[j]
            near = np.linalg.norm(a.T_body_cam[:3, 3] - b.T_body_cam[:3, 3]) < 1e-3
            if near and overlap(a, b) >= PAIR_OVERLAP:
                raise CalibrationError(f"camera{i} and camera{j} are less than 1 mm apart: stereo needs a baseline")

    @cached_property
    def groups(self) -> tuple[tuple[int, ...], ...]:
        """The cameras that work together: pairs (lead, partner) of those that overlap most, the others alone."""
        pairs = [
            (overlap(self.cameras[i], self.cameras[j]), i, j) for i, j in combinations(range(len(self.cameras)), 2)
        ]
        free, groups = set(range(len(self.cameras))), []
        for shared, i, j in sorted(pairs, key=lambda pair: -pair[0]):
            if shared >= PAIR_OVERLAP and {i, j} <= free:
                groups.append((i, j))
                free -= {i, j}
        return tuple(sorted([*groups, *((i,) for i in free)]))


def overlap(a: MountedCamera, b: MountedCamera) -> float:
    """The share of its view that the camera of two which sees less has in common with the other."""
    return max(_seen_too(a, b), _seen_too(b, a))


def _seen_too(a: MountedCamera, b: MountedCamera) -> float:
    """Share of the rays of camera a whose points at the distances OVERLAP_M are in camera b's image."""
    columns, rows = np.linspace(0, a.camera.width - 1, 24), np.linspace(0, a.camera.height - 1, 18)
    bearings = a.camera.unproject(np.stack(np.meshgrid(columns, rows), axis=-1).reshape(-1, 2))
    bearings = bearings[np.isfinite(bearings).all(1)]
    T_b_a = inverse(b.T_body_cam) @ a.T_body_cam
    seen = [b.camera.project(apply(T_b_a, bearings * distance))[1] for distance in OVERLAP_M]
    return float(np.mean(seen)) if len(bearings) else 0.0


TYPICAL_IMU = ImuNoise(1.7e-4, 2e-3, 2e-5, 3e-3)  # of a good MEMS sensor, where the calibration says nothing


@dataclass(frozen=True, eq=False)
class Calibration:
    """What a calibration file of another program says."""

    rig: Rig
    notes: tuple[str, ...] = ()  # what is odd in it, or was assumed
    estimate_extrinsics: bool = False  # the mounts are guesses
    estimate_time_offset: bool = False


def choose_cameras(rig: Rig, numbers: Sequence[int]) -> Rig:
    """The rig with these of its cameras in this order, all of them where none is named.

    A rig of just as many cameras that has not these numbers was made for them and stays. Raises CalibrationError.
    """
    if not numbers or (len(numbers) == len(rig.cameras) <= max(numbers)):
        return rig
    if max(numbers) >= len(rig.cameras):
        raise CalibrationError(
            f"camera {max(numbers)} is not in the calibration, which has 0 to {len(rig.cameras) - 1}"
        )
    return Rig(tuple(rig.cameras[number] for number in numbers), rig.imu)


def rig_to_dict(rig: Rig) -> dict[str, Any]:
    """The rig as plain nested values: `camera0`, `camera1`, .. and `imu` where there is one.

    A camera without distortion has no such key, because ROS parameter files allow no empty list.
    Raises CalibrationError for a mask without file.
    """
    out: dict[str, Any] = {}
    for i, mounted in enumerate(rig.cameras):
        if mounted.mask is not None and not mounted.mask_path:
            raise CalibrationError(f"the mask of camera{i} comes from no file: set mask_path")
        out[f"camera{i}"] = {
            "model": mounted.camera.model,
            "width": mounted.camera.width,
            "height": mounted.camera.height,
            "intrinsics": [float(v) for v in mounted.camera.intrinsics],
            **({"distortion": [float(v) for v in mounted.camera.distortion]} if mounted.camera.distortion else {}),
            "T_body_cam": mounted.T_body_cam.ravel().tolist(),
            "time_offset_s": float(mounted.time_offset_s),
            "mask": mounted.mask_path,
        }
    if rig.imu is not None:
        out["imu"] = {name: float(value) for name, value in vars(rig.imu).items()}
    return out


def rig_from_dict(d: dict[str, Any], folder: Path = Path()) -> Rig:
    """Build the rig that rig_to_dict describes; masks are found relative to `folder`.

    Raises CalibrationError with the name of the camera and key that is missing or wrong.
    """
    names = [name for name in d if name.startswith("camera")]
    if sorted(names) != [f"camera{i}" for i in range(len(names))]:
        raise CalibrationError(f"cameras must be numbered camera0, camera1, .., got {', '.join(names)}")
    cameras = []
    for name in sorted(names):
        with files.named(name):
            cameras.append(_camera_from_dict(d[name], folder))
    imu = None
    if "imu" in d:
        with files.named("imu"):
            imu = ImuNoise(**{f.name: files.number(d["imu"], f.name) for f in fields(ImuNoise)})
    return Rig(tuple(cameras), imu)


def _camera_from_dict(d: dict[str, Any], folder: Path) -> MountedCamera:
    camera = Camera(
        str(files.value(d, "model")),
        int(files.number(d, "width")),
        int(files.number(d, "height")),
        tuple(files.numbers(d, "intrinsics")),
        tuple(files.numbers(d, "distortion")) if "distortion" in d else (),
    )
    offset = files.number(d, "time_offset_s") if "time_offset_s" in d else 0.0
    path = str(folder / str(d["mask"])) if d.get("mask") else ""
    return MountedCamera(camera, files.rigid(d, "T_body_cam"), offset, _read_mask(path) if path else None, path)


def _read_mask(path: str) -> np.ndarray:
    mask = read_image(Path(path))
    if mask is None:
        raise CalibrationError(f"mask {path} is missing or no image")
    return np.asarray(mask, np.uint8)


def read_calibration(path: Path, imu_yaml: Path | None = None, others: Sequence[Path] = ()) -> Calibration:
    """A calibration of any style that `calibration_files` knows, told apart by content.

    Kalibr's IMU file is `imu_yaml`, or the one beside the chain; others: camera_info of the right camera. An IMU that
    has a place but no noise gets typical values. Raises CalibrationError that names file and key, or ConfigError for
    invalid yaml.
    """
    plain = files.read(path, imu_yaml, others)
    with files.named(path):
        rig = rig_from_dict(plain)
    notes = [str(note) for note in plain.get("notes", ())]
    if rig.imu is None and plain.get("imu_is_placed"):
        rig = replace(rig, imu=TYPICAL_IMU)
        notes.append("no IMU file beside it: typical noise used; name the IMU file with --imu")
    sizes = {f"{m.camera.width}x{m.camera.height}" for m in rig.cameras}
    if len(sizes) > 1:
        notes.append(f"the cameras have images of different sizes: {', '.join(sorted(sizes))}")
    return Calibration(
        rig, tuple(notes), bool(plain.get("estimate_extrinsics")), bool(plain.get("estimate_time_offset"))
    )


def read_rig(path: Path, imu_yaml: Path | None = None) -> Rig:
    """Rig of a calibration of any style, as `read_calibration`; its IMU is None where the files have no noise of it."""
    plain = files.read(path, imu_yaml)
    with files.named(path):
        return rig_from_dict(plain)


def read_euroc_rig(mav0: Path) -> Rig:
    """Rig of a EuRoC folder, with or without `mav0`; all but cam0 may be missing. Raises CalibrationError."""
    plain = files.read_euroc(mav0)
    with files.named(mav0):
        return rig_from_dict(plain)
