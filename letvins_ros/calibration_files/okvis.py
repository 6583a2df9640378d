# SPDX-License-Identifier: Apache-2.0
"""OKVIS and OKVIS2: a list of cameras with T_SC, their pose on the IMU."""

from letvins_ros.calibration_files.values import Plain, named, number, numbers, rigid
from letvins_ros.errors import CalibrationError

_MODELS = {
    "radialtangential": "pinhole-radtan",
    "radialtangential8": "pinhole-radtan",
    "equidistant": "pinhole-equidistant",
    "none": "pinhole-radtan",
}
_NOISE = {"gyro_noise": "sigma_g_c", "accel_noise": "sigma_a_c", "gyro_walk": "sigma_gw_c", "accel_walk": "sigma_aw_c"}


def recognises(content: Plain) -> bool:
    """Whether this is a configuration with cameras."""
    cameras = content.get("cameras")
    return isinstance(cameras, list) and bool(cameras) and isinstance(cameras[0], dict) and "T_SC" in cameras[0]


def read(content: Plain) -> Plain:
    """Read all cameras and the IMU; image_delay is how much too late images are stamped."""
    out: Plain = {}
    parameters = content.get("camera_parameters", content.get("camera_params"))
    late = number(parameters, "image_delay") if isinstance(parameters, dict) and "image_delay" in parameters else 0.0
    for i, cam in enumerate(content["cameras"]):
        with named(f"cameras[{i}]"):
            kind = str(cam.get("distortion_type", "none")).lower()
            if kind not in _MODELS:
                raise CalibrationError(f"distortion_type {kind} is not supported; known: {', '.join(_MODELS)}")
            width, height = numbers(cam, "image_dimension", 2)
            coefficients = numbers(cam, "distortion_coefficients") if kind != "none" else []
            out[f"camera{i}"] = {
                "model": _MODELS[kind],
                "width": width,
                "height": height,
                "intrinsics": numbers(cam, "focal_length", 2) + numbers(cam, "principal_point", 2),
                "distortion": coefficients if any(coefficients) else [],
                "T_body_cam": rigid(cam, "T_SC").ravel().tolist(),
                "time_offset_s": -late,
            }
    imu = content.get("imu_parameters", content.get("imu_params"))
    if isinstance(imu, dict):
        with named("imu_parameters"):
            out["imu"] = {ours: number(imu, theirs) for ours, theirs in _NOISE.items()}
            out["imu"]["rate_hz"] = number(imu, "imu_rate" if "imu_rate" in imu else "rate")
    return out
