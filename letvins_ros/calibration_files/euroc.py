# SPDX-License-Identifier: Apache-2.0
"""EuRoC: a sensor.yaml in the folder of each sensor."""

from pathlib import Path

import numpy as np

from letvins_ros.calibration_files.kalibr_camera import read_camera, read_noise
from letvins_ros.calibration_files.values import Plain, named, rigid
from letvins_ros.camera import MAX_CAMERAS
from letvins_ros.geometry import inverse
from letvins_ros.yaml_files import load_yaml


def read_euroc(folder: Path) -> Plain:
    """Read cam0/, cam1/, .. and imu0/sensor.yaml of a EuRoC folder, with or without `mav0`."""
    mav0 = folder / "mav0" if (folder / "mav0").is_dir() else folder
    out: Plain = {}
    T_imu_base = np.eye(4)  # EuRoC's base is its IMU, but not in every copy
    if (path := mav0 / "imu0" / "sensor.yaml").is_file():
        sensor = load_yaml(path, lenient=True)
        with named(path):
            out["imu"] = read_noise(sensor, "rate_hz")
            T_imu_base = inverse(rigid(sensor, "T_BS")) if "T_BS" in sensor else T_imu_base
    for i in range(MAX_CAMERAS):
        path = mav0 / f"cam{i}" / "sensor.yaml"
        if i > 0 and not path.is_file():
            break
        sensor = load_yaml(path, lenient=True)
        with named(path):
            camera = read_camera(sensor, "distortion_coefficients")
            out[f"camera{i}"] = camera | {"T_body_cam": (T_imu_base @ rigid(sensor, "T_BS")).ravel().tolist()}
    return out
