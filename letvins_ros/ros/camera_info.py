# SPDX-License-Identifier: Apache-2.0
"""sensor_msgs/CameraInfo: a camera made from it, or compared with the calibration; needs no ROS."""

from typing import Any

import numpy as np

from letvins_ros.calibration_files.camera_info import camera_from_info, mount_from_projections
from letvins_ros.camera import Camera
from letvins_ros.errors import CalibrationError

GRID = 12  # pixels each way at which two cameras are compared
FAR = 0.01  # of the image's width: a median difference above it is named


def camera_of(message: Any) -> Camera:
    """The camera of a CameraInfo, for the unrectified image; CalibrationError where its model cannot be used."""
    size = message.width, message.height
    K, D = ([float(x) for x in values] for values in (message.k, message.d))
    plain = camera_from_info(size, message.distortion_model, K, D)
    return Camera(plain["model"], *size, tuple(plain["intrinsics"]), tuple(plain["distortion"]))


def difference(camera: Camera, message: Any) -> str:
    """What of a CameraInfo does not fit the calibration, in words; empty where they agree."""
    try:
        other = camera_of(message)
    except CalibrationError as error:
        return str(error)
    if (other.width, other.height) != (camera.width, camera.height):
        return f"it is for {other.width}x{other.height}, the calibration for {camera.width}x{camera.height}"
    edges = np.linspace(0, camera.width - 1, GRID), np.linspace(0, camera.height - 1, GRID)
    uv = np.stack(np.meshgrid(*edges), axis=-1).reshape(-1, 2)
    bearings = camera.unproject(uv)
    away = np.linalg.norm(other.project(bearings)[0] - uv, axis=1)
    off = float(np.median(np.where(np.isfinite(away), away, np.inf)))
    if off <= FAR * camera.width:
        return ""
    text = f"its focal length is {other.focal_px:.1f} px, the calibration's {camera.focal_px:.1f} px"
    return f"{text}; the same point is {off:.0f} px apart in the median"


def T_left_right(left: Any, right: Any) -> np.ndarray:
    """T_cam0_cam1 (4, 4) of a stereo pair's two CameraInfo; CalibrationError where they hold no baseline."""
    R, P = ([np.reshape(values, (3, -1)) for values in both] for both in ((left.r, right.r), (left.p, right.p)))
    T = mount_from_projections(R, P)
    if T is None:
        raise CalibrationError("P of the right camera_info holds no baseline: calibrate the pair together")
    return T
