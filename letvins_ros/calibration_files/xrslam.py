# SPDX-License-Identifier: Apache-2.0
"""XRSLAM: a device file with one camera and an IMU, each placed on a body."""

import numpy as np

from letvins_ros.calibration_files.values import Plain, named, number, numbers, pose, value
from letvins_ros.geometry import inverse

RATE_HZ = 200.0  # the file does not say it


def recognises(content: Plain) -> bool:
    """Whether this is a device file."""
    imu, cam = content.get("imu"), content.get("cam0")
    return isinstance(imu, dict) and isinstance(cam, dict) and "extrinsic" in imu and "extrinsic" in cam


def read(content: Plain) -> Plain:
    """Read the camera and the IMU; noises are covariances of densities."""
    with named("imu"):
        imu = content["imu"]
        T_body_imu = _place(imu, "q_bi", "p_bi")
        names = {"gyro_noise": "cov_g", "accel_noise": "cov_a", "gyro_walk": "cov_bg", "accel_walk": "cov_ba"}
        noise = value(imu, "noise")
        out: Plain = {"imu": {ours: _deviation(noise, theirs) for ours, theirs in names.items()} | {"rate_hz": RATE_HZ}}
    with named("cam0"):
        cam = content["cam0"]
        width, height = numbers(cam, "resolution", 2)
        distorted = bool(cam.get("camera_distortion_flag", 1)) and "distortion" in cam
        fisheye = str(cam.get("distortion_model", "radtan")) == "equidistant"
        out["camera0"] = {
            "model": "pinhole-equidistant" if fisheye else "pinhole-radtan",
            "width": width,
            "height": height,
            "intrinsics": numbers(cam, "intrinsics" if "intrinsics" in cam else "intrinsic", 4),
            "distortion": numbers(cam, "distortion") if distorted else [],
            "T_body_cam": (inverse(T_body_imu) @ _place(cam, "q_bc", "p_bc")).ravel().tolist(),
            "time_offset_s": number(cam, "time_offset") if "time_offset" in cam else 0.0,
        }
    return out


def _place(d: Plain, turn: str, position: str) -> np.ndarray:
    found = value(d, "extrinsic")
    return pose(numbers(found, position, 3), numbers(found, turn, 4), turn)


def _deviation(d: object, key: str) -> float:
    """The density of one axis from a covariance (3, 3) or its diagonal."""
    return float(np.sqrt(max(numbers(d, key)[0], 0.0)))
