# SPDX-License-Identifier: Apache-2.0
"""VINS-Fusion: a configuration that names a file per camera. VINS-Mono: one camera in the configuration itself."""

from pathlib import Path

import numpy as np

from letvins_ros.calibration_files.values import Plain, mended, named, number, numbers, rigid, value
from letvins_ros.errors import CalibrationError
from letvins_ros.yaml_files import load_yaml

MODELS = {  # model, its intrinsics and its distortion as the camera files name them
    "PINHOLE": ("pinhole-radtan", ("fx", "fy", "cx", "cy"), ("k1", "k2", "p1", "p2")),
    "PINHOLE_FULL": (
        "pinhole-radtan",
        ("fx", "fy", "cx", "cy"),
        ("k1", "k2", "p1", "p2", "k3", "k4", "k5", "k6"),
    ),
    "MEI": ("mei-radtan", ("xi", "gamma1", "gamma2", "u0", "v0"), ("k1", "k2", "p1", "p2")),
    "KANNALA_BRANDT": ("pinhole-equidistant", ("mu", "mv", "u0", "v0"), ("k2", "k3", "k4", "k5")),
}
RATE_HZ = 200.0  # the file does not say it


def read_vins(config: Plain, folder: Path) -> Plain:
    """VINS-Fusion's configuration with the camera files it names.

    Its noise figures are deviations of one sample (its pre-integration never divides by the sample time), so
    the density is the figure times the square root of the sample time.
    """
    out: Plain = {"notes": []}
    for i in range(int(number(config, "num_of_cam"))):
        path = folder / str(value(config, f"cam{i}_calib"))
        content = load_yaml(path, lenient=True)
        with named(path):
            out[f"camera{i}"] = _camera(content)
        sides = ("image_width", "image_height")
        if wrong := [side for side in sides if side in config and number(config, side) != number(content, side)]:
            text = ", ".join(f"{side} {number(content, side):g}, not {number(config, side):g}" for side in wrong)
            out["notes"].append(f"{path.name} says {text} as the configuration: that of the camera counts")
        out[f"camera{i}"]["T_body_cam"] = rigid(config, f"body_T_cam{i}").ravel().tolist()
        out[f"camera{i}"]["time_offset_s"] = number(config, "td") if "td" in config else 0.0
    if number(config, "imu"):
        out["imu"] = _noise(config)
    return out | _guesses(config)


def is_vins_mono(content: Plain) -> bool:
    """Whether this is a configuration of VINS-Mono."""
    return "model_type" in content and ("extrinsicRotation" in content or "estimate_extrinsic" in content)


def read_vins_mono(config: Plain) -> Plain:
    """VINS-Mono's configuration: camera, its pose on the IMU, noise as VINS-Fusion has it."""
    if "extrinsicRotation" not in config:
        raise CalibrationError("extrinsicRotation is missing: the file does not say how the camera is mounted")
    T = np.eye(4)
    T[:3, :3] = np.reshape(numbers(config, "extrinsicRotation", 9), (3, 3))
    T[:3, 3] = numbers(config, "extrinsicTranslation", 3)
    camera = _camera(config) | {"T_body_cam": mended(T, "extrinsicRotation").ravel().tolist()}
    camera["time_offset_s"] = number(config, "td") if "td" in config else 0.0
    return {"camera0": camera, "imu": _noise(config)} | _guesses(config)


def _noise(config: Plain) -> Plain:
    names = {"gyro_noise": "gyr_n", "accel_noise": "acc_n", "gyro_walk": "gyr_w", "accel_walk": "acc_w"}
    density = {ours: number(config, theirs) / RATE_HZ**0.5 for ours, theirs in names.items()}
    return density | {"rate_hz": RATE_HZ}


def _guesses(config: Plain) -> Plain:
    """What the file says is only a guess; 2 is one too, which VINS would begin without."""
    wanted = {"estimate_extrinsics": "estimate_extrinsic", "estimate_time_offset": "estimate_td"}
    return {ours: bool(number(config, theirs)) for ours, theirs in wanted.items() if theirs in config}


def _camera(d: Plain) -> Plain:
    kind = value(d, "model_type")
    if kind not in MODELS:
        raise CalibrationError(f"camera model {kind} is not supported; known: {', '.join(MODELS)}")
    model, intrinsics, distortion = MODELS[kind]
    sections = ("mirror_parameters", "distortion_parameters", "projection_parameters")
    values: Plain = {}
    for section in sections:
        found = d.get(section)
        values |= found if isinstance(found, dict) else {}
    return {
        "model": model,
        "width": number(d, "image_width"),
        "height": number(d, "image_height"),
        "intrinsics": [number(values, key) for key in intrinsics],
        "distortion": [number(values, key) for key in distortion],
    }
