# SPDX-License-Identifier: Apache-2.0
"""One camera and one IMU as EuRoC and Kalibr write them."""

from letvins_ros.calibration_files.values import Plain, number, numbers, value
from letvins_ros.errors import CalibrationError

_MODELS = {  # (projection, distortion) as EuRoC and Kalibr name them
    ("pinhole", "none"): "pinhole-radtan",
    ("pinhole", "radtan"): "pinhole-radtan",
    ("pinhole", "radial-tangential"): "pinhole-radtan",
    ("pinhole", "equidistant"): "pinhole-equidistant",
    ("omni", "none"): "mei-radtan",
    ("omni", "radtan"): "mei-radtan",
    ("omni", "radial-tangential"): "mei-radtan",
    ("ds", "none"): "double-sphere",
    ("eucm", "none"): "eucm",
    ("pinhole", "fov"): "fov",
}


def read_camera(d: Plain, coefficients: str) -> Plain:
    """A camera's own parameters as EuRoC and Kalibr write them."""
    kind = (str(value(d, "camera_model")), str(d.get("distortion_model", "none")).lower())
    if kind not in _MODELS:
        known = ", ".join(" ".join(k) for k in _MODELS)
        raise CalibrationError(f"camera model {kind[0]} with distortion {kind[1]} is not supported; known: {known}")
    width, height = numbers(d, "resolution", 2)
    distortion = [] if kind[1] == "none" else numbers(d, coefficients)
    intrinsics = numbers(d, "intrinsics")
    if kind == ("pinhole", "fov"):  # its one coefficient is the lens's own
        intrinsics, distortion = distortion + intrinsics, []
    return {
        "model": _MODELS[kind],
        "width": width,
        "height": height,
        "intrinsics": intrinsics,
        "distortion": distortion,
    }


def read_noise(d: Plain, rate: str) -> Plain:
    """IMU noise densities as EuRoC and Kalibr write them."""
    return {
        "gyro_noise": number(d, "gyroscope_noise_density"),
        "accel_noise": number(d, "accelerometer_noise_density"),
        "gyro_walk": number(d, "gyroscope_random_walk"),
        "accel_walk": number(d, "accelerometer_random_walk"),
        "rate_hz": number(d, rate),
    }
