# SPDX-License-Identifier: Apache-2.0
"""Kalibr: a camera chain and an IMU file. OpenVINS writes the same with inverse poses."""

import re
from pathlib import Path

import numpy as np

from letvins_ros.calibration_files.kalibr_camera import read_camera, read_noise
from letvins_ros.calibration_files.values import Plain, named, number, rigid
from letvins_ros.errors import CalibrationError, LetvinsError
from letvins_ros.geometry import inverse
from letvins_ros.yaml_files import load_yaml


def imu_beside(camchain: Path) -> Path | None:
    """Find Kalibr's IMU file in the folder of the camera chain, by content; of several the one named alike."""
    found = sorted(path for path in camchain.parent.glob("*imu*.y*ml") if path != camchain and _is_imu(path))
    name = re.split(r"cam", camchain.name)[0]
    alike = [path for path in found if name and path.name.startswith(name)] or found
    if len(alike) > 1:
        names = ", ".join(path.name for path in alike)
        raise CalibrationError(f"several IMU files beside it ({names}): name one with --imu")
    return alike[0] if alike else None


def _is_imu(path: Path) -> bool:
    try:
        content = load_yaml(path, lenient=True)
    except LetvinsError:  # not ours to complain of
        return False
    return "gyroscope_noise_density" in (content.get("imu0") or content) and "cam0" not in content


def read_kalibr(chain: Plain, imu_yaml: Path | None) -> Plain:
    """Kalibr's camera chain; without any IMU in it the body is the first camera."""
    out: Plain = {}
    if imu_yaml is not None:
        content = load_yaml(imu_yaml, lenient=True)
        with named(imu_yaml):
            out["imu"] = read_noise(content.get("imu0", content), "update_rate")
    out["imu_is_placed"] = isinstance(chain.get("cam0"), dict) and bool({"T_cam_imu", "T_imu_cam"} & set(chain["cam0"]))
    T_cam_body = np.eye(4)
    for i, name in enumerate(sorted(key for key in chain if re.fullmatch(r"cam\d", str(key)))):
        cam = chain[name]
        with named(name):
            out[f"camera{i}"] = read_camera(cam, "distortion_coeffs")
            if "T_imu_cam" in cam:  # OpenVINS writes the inverse
                T_cam_body = inverse(rigid(cam, "T_imu_cam"))
            elif "T_cam_imu" in cam or (i == 0 and imu_yaml is not None):
                T_cam_body = rigid(cam, "T_cam_imu")
            elif i > 0:
                T_cam_body = rigid(cam, "T_cn_cnm1") @ T_cam_body
            out[f"camera{i}"]["T_body_cam"] = inverse(T_cam_body).ravel().tolist()
            out[f"camera{i}"]["time_offset_s"] = number(cam, "timeshift_cam_imu") if "timeshift_cam_imu" in cam else 0.0
    return out
