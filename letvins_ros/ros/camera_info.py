# SPDX-License-Identifier: Apache-2.0
"""sensor_msgs/CameraInfo: a camera made from it, or compared with the calibration; needs no ROS."""

from typing import Any

import numpy as np

from letvins_ros.camera import Camera
from letvins_ros.errors import CalibrationError
from letvins_ros.geometry import inverse, transform

GRID = 12  # pixels each way at which two cameras are compared
FAR = 0.01  # of the image's width: a median difference above it is named
MODELS = {"plumb_bob": "pinhole-radtan", "rational_polynomial": "pinhole-radtan", "": "pinhole-radtan",
          "equidistant": "pinhole-equidistant", "fisheye": "pinhole-equidistant"}  # fmt: skip


def camera_of(message: Any) -> Camera:
    """The camera of a CameraInfo, for the unrectified image; CalibrationError where its model cannot be used."""
    K, D, name = np.asarray(message.k, float), [float(d) for d in message.d], message.distortion_model
    if name not in MODELS:
        raise CalibrationError(f"distortion_model {name} is not known; known: {', '.join(filter(None, MODELS))}")
    if not K[0] > 0:
        raise CalibrationError("K is zero: the driver has no calibration of the camera")
    kept = D[:4] if MODELS[name] == "pinhole-equidistant" else D[:8] if any(D[5:8]) else D[:5]
    intrinsics = (float(K[0]), float(K[4]), float(K[2]), float(K[5]))
    return Camera(MODELS[name], message.width, message.height, intrinsics, tuple(kept) if any(kept) else ())


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
    P = np.asarray(right.p, float).reshape(3, 4)
    if not P[0, 0] > 0 or P[0, 3] == 0:
        raise CalibrationError("P of the right camera_info holds no baseline: calibrate the pair together")
    R_left, R_right = (np.asarray(info.r, float).reshape(3, 3) for info in (left, right))
    baseline = np.array([-P[0, 3] / P[0, 0], 0.0, 0.0])
    return inverse(transform(R_left, np.zeros(3))) @ transform(np.eye(3), baseline) @ transform(R_right, np.zeros(3))
