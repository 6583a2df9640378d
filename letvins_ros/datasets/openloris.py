# SPDX-License-Identifier: Apache-2.0
"""Calibration of OpenLORIS-Scene sequences: sensors.yaml and trans_matrix.yaml, as OpenCV writes them.

The truth is of the robot's base. `imu_intrinsic` holds the rows (3, 4) of librealsense's rs2_motion_device_intrinsic.
"""

from pathlib import Path

import numpy as np

from letvins_ros.calibration import ImuNoise, Rig, rig_from_dict
from letvins_ros.calibration_files.values import Plain, named, number, numbers, rigid, value
from letvins_ros.datasets.fixed_frames import FixedFrames
from letvins_ros.datasets.placed import Placed
from letvins_ros.datasets.sequence import Size
from letvins_ros.errors import CalibrationError
from letvins_ros.yaml_files import load_yaml

BASE = "base_link"
MODELS = {"Kannala-Brandt": ("pinhole-equidistant", 4), "radial-tangential": ("pinhole-radtan", 5)}


def read_t265(path: Path, size: Size, cameras: int) -> Placed:
    """The two fisheye cameras of a RealSense T265."""
    return _read(path, [f"t265_fisheye{i + 1}_optical_frame" for i in range(cameras)], "t265")


def read_d400(path: Path, size: Size, cameras: int) -> Placed:
    """The colour camera of a RealSense D435i."""
    return _read(path, ["d400_color_optical_frame"], "d400")


def _read(path: Path, names: list[str], device: str) -> Placed:
    """Cameras on the IMU, or on the left camera where the IMU's place is not known."""
    if not (path / "sensors.yaml").is_file():
        return Placed(None, reason="the folder has no sensors.yaml")
    sensors, frames = load_yaml(path / "sensors.yaml", lenient=True), _frames(path / "trans_matrix.yaml")
    imu = next(
        (f for kind in ("gyroscope", "accelerometer") if frames.between(names[0], f := f"{device}_{kind}") is not None),
        None,
    )
    body, cameras = imu or names[0], {}
    for i, name in enumerate(names):
        T_body_cam = frames.between(body, name)
        if T_body_cam is None:
            raise CalibrationError(f"{path / 'trans_matrix.yaml'}: no transform joins {name} and {body}")
        with named(f"{path / 'sensors.yaml'}: {name}"):
            cameras[f"camera{i}"] = _camera(value(sensors, name)) | {"T_body_cam": T_body_cam.ravel().tolist()}
    with named(path / "sensors.yaml"):
        rig = rig_from_dict(cameras)
        rig = Rig(rig.cameras, _noise(sensors, device))
    reason = "" if imu else f"imu not used: trans_matrix.yaml does not join {device}_gyroscope and {names[0]}"
    T_base_body = frames.between(BASE, body)
    if T_base_body is None:
        raise CalibrationError(f"{path / 'trans_matrix.yaml'}: no transform joins {BASE} and {body}")
    with named(path / "sensors.yaml"):
        intrinsics = [_intrinsic(sensors, f"{device}_{kind}") for kind in ("gyroscope", "accelerometer")]
    return Placed(rig, T_base_body, imu is not None, reason, np.stack(intrinsics))


def _intrinsic(sensors: Plain, name: str) -> np.ndarray:
    """Scale and misalignment, and the bias (3, 4); as if calibrated where nothing is written."""
    sensor = sensors.get(name)
    if not isinstance(sensor, dict) or "imu_intrinsic" not in sensor:
        return np.eye(3, 4)
    with named(name):
        return np.reshape(numbers(sensor, "imu_intrinsic", 12), (3, 4))


def _frames(path: Path) -> FixedFrames:
    """The transforms of trans_matrix.yaml, each of a child in its parent."""
    tree, rows = FixedFrames(), load_yaml(path, lenient=True).get("trans_matrix")
    with named(path):
        if not isinstance(rows, list):
            raise CalibrationError("trans_matrix must be a list of transforms")
        for row in rows:
            parent, child = str(value(row, "parent_frame")), str(value(row, "child_frame"))
            with named(f"{parent} to {child}"):
                tree.add(parent, child, rigid(row, "matrix"))
    return tree


def _camera(d: object) -> Plain:
    """A camera, whose intrinsics are in the order fx cx fy cy."""
    fx, cx, fy, cy = numbers(d, "intrinsics", 4)
    written = str(value(d, "distortion_model"))
    if written not in MODELS:
        raise CalibrationError(f"distortion_model {written} is not known; known: {', '.join(MODELS)}")
    model, count = MODELS[written]
    return {
        "model": model,
        "width": number(d, "width"),
        "height": number(d, "height"),
        "intrinsics": [fx, fy, cx, cy],
        "distortion": numbers(d, "distortion_coefficients")[:count],
    }


def _noise(sensors: Plain, device: str) -> ImuNoise | None:
    """Densities from variances of densities, of the noisiest axis; None where they are zero or missing."""
    found = {}
    for ours, kind in (("gyro", "gyroscope"), ("accel", "accelerometer")):
        for name, key in (("noise", "noise_variances"), ("walk", "bias_variances")):
            sensor = sensors.get(f"{device}_{kind}")
            if not isinstance(sensor, dict) or key not in sensor:
                return None
            found[f"{ours}_{name}"] = float(np.sqrt(max(*numbers(sensor, key), 0.0)))
    if not all(found.values()):
        return None
    rate = sensors[f"{device}_gyroscope"].get("fps")
    return ImuNoise(**found, rate_hz=float(rate)) if isinstance(rate, int | float) and rate > 0 else ImuNoise(**found)
