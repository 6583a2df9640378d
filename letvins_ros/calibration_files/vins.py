# SPDX-License-Identifier: Apache-2.0
"""VINS-Fusion: a configuration that names a file per camera."""

from pathlib import Path

from letvins_ros.calibration_files.values import Plain, named, number, rigid, value
from letvins_ros.errors import CalibrationError
from letvins_ros.yaml_files import load_yaml

_MODELS = {  # model, its intrinsics and its distortion as the camera files name them
    "PINHOLE": ("pinhole-radtan", ("fx", "fy", "cx", "cy"), ("k1", "k2", "p1", "p2")),
    "MEI": ("mei-radtan", ("xi", "gamma1", "gamma2", "u0", "v0"), ("k1", "k2", "p1", "p2")),
    "KANNALA_BRANDT": ("pinhole-equidistant", ("mu", "mv", "u0", "v0"), ("k2", "k3", "k4", "k5")),
}
_RATE_HZ = 200.0  # the file does not say it


def read_vins(config: Plain, folder: Path) -> Plain:
    """VINS-Fusion's configuration with the camera files it names.

    Its noise figures are deviations of one sample (its pre-integration never divides by the sample time), so
    the density is the figure times the square root of the sample time.
    """
    out: Plain = {}
    for i in range(int(number(config, "num_of_cam"))):
        path = folder / str(value(config, f"cam{i}_calib"))
        content = load_yaml(path, lenient=True)
        with named(path):
            out[f"camera{i}"] = _camera(content)
        out[f"camera{i}"]["T_body_cam"] = rigid(config, f"body_T_cam{i}").ravel().tolist()
        out[f"camera{i}"]["time_offset_s"] = number(config, "td") if "td" in config else 0.0
    if number(config, "imu"):
        names = {"gyro_noise": "gyr_n", "accel_noise": "acc_n", "gyro_walk": "gyr_w", "accel_walk": "acc_w"}
        out["imu"] = {ours: number(config, theirs) / _RATE_HZ**0.5 for ours, theirs in names.items()}
        out["imu"]["rate_hz"] = _RATE_HZ
    return out


def _camera(d: Plain) -> Plain:
    kind = value(d, "model_type")
    if kind not in _MODELS:
        raise CalibrationError(f"camera model {kind} is not supported; known: {', '.join(_MODELS)}")
    model, intrinsics, distortion = _MODELS[kind]
    sections = ("mirror_parameters", "distortion_parameters", "projection_parameters")
    values: Plain = {}
    for section in sections:
        values |= d.get(section) or {}
    return {
        "model": model,
        "width": number(d, "image_width"),
        "height": number(d, "image_height"),
        "intrinsics": [number(values, key) for key in intrinsics],
        "distortion": [number(values, key) for key in distortion],
    }
