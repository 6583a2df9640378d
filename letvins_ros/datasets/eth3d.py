# SPDX-License-Identifier: Apache-2.0
"""Calibration of ETH3D SLAM sequences, which are stored as those of TUM RGB-D; the latter have none of their own."""

from pathlib import Path

import numpy as np

from letvins_ros.calibration import MountedCamera, Rig
from letvins_ros.calibration_files.values import mended
from letvins_ros.camera import Camera
from letvins_ros.datasets.placed import Placed
from letvins_ros.datasets.sequence import Size
from letvins_ros.datasets.table import read_numbers
from letvins_ros.errors import CalibrationError, DataError


def read_calibration(path: Path, size: Size, cameras: int) -> Placed:
    """Ideal pinholes; the body is the left camera, whose poses are the truth. Where the IMU sits, no file tells."""
    if not (path / "calibration.txt").is_file():
        alone = (
            "" if cameras > 1 or (path / "imu.txt").is_file() else "; one camera without IMU can be tracked, not run"
        )
        return Placed(None, reason=f"the folder has no calibration.txt{alone}")
    mounted = [MountedCamera(_camera(path / "calibration.txt", size), np.eye(4))]
    if cameras > 1:
        T_left_right = np.vstack([_numbers(path / "extrinsics_1_2.txt", 12).reshape(3, 4), [0.0, 0.0, 0.0, 1.0]])
        T_left_right = mended(T_left_right, str(path / "extrinsics_1_2.txt"))
        mounted.append(MountedCamera(_camera(path / "calibration2.txt", size), T_left_right))
    return Placed(Rig(tuple(mounted), None), None, False, "imu not used: no file tells where it is mounted")


def _camera(path: Path, size: Size) -> Camera:
    fx, fy, cx, cy = _numbers(path, 4)
    return Camera("pinhole-radtan", *size, (fx, fy, cx, cy))


def _numbers(path: Path, count: int) -> np.ndarray:
    """The only numbers of a small file; CalibrationError where there are not so many."""
    try:
        found = read_numbers(path).ravel()
    except DataError as error:
        raise CalibrationError(str(error)) from None
    if len(found) != count or not np.isfinite(found).all():
        raise CalibrationError(f"{path}: {count} finite numbers needed, got {len(found)}")
    return found
