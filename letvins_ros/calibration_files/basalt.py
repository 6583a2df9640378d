# SPDX-License-Identifier: Apache-2.0
"""Basalt: calib.json with cameras on the IMU and noise densities of three axes."""

import numpy as np

from letvins_ros.calibration_files.values import Plain, named, number, numbers, pose, value
from letvins_ros.errors import CalibrationError

PINHOLE = ("fx", "fy", "cx", "cy")
MODELS = {  # Basalt's name: ours, names of the intrinsics in our order, of the distortion
    "pinhole": ("pinhole-radtan", PINHOLE, ()),
    "pinhole-radtan8": ("pinhole-radtan", PINHOLE, ("k1", "k2", "p1", "p2", "k3", "k4", "k5", "k6")),
    "kb4": ("pinhole-equidistant", PINHOLE, ("k1", "k2", "k3", "k4")),
    "ds": ("double-sphere", ("xi", "alpha", *PINHOLE), ()),
    "eucm": ("eucm", ("alpha", "beta", *PINHOLE), ()),
    "fov": ("fov", ("w", *PINHOLE), ()),
}
NOISE = {"gyro_noise": "gyro_noise_std", "accel_noise": "accel_noise_std",
         "gyro_walk": "gyro_bias_std", "accel_walk": "accel_bias_std"}  # fmt: skip


def recognises(content: Plain) -> bool:
    """Whether this is a calibration."""
    inner = content.get("value0")
    return isinstance(inner, dict) and "T_imu_cam" in inner


def read(content: Plain) -> Plain:
    """Read all cameras and the IMU; the largest of the three axes' noises counts."""
    inner = content["value0"]
    places, sizes, cameras = (value(inner, key) for key in ("T_imu_cam", "resolution", "intrinsics"))
    if not (isinstance(places, list) and isinstance(sizes, list) and isinstance(cameras, list)):
        raise CalibrationError("T_imu_cam, resolution and intrinsics must be lists")
    if not len(places) == len(sizes) == len(cameras):
        raise CalibrationError(f"{len(places)} T_imu_cam, {len(sizes)} resolutions and {len(cameras)} intrinsics")
    offset_s = number(inner, "cam_time_offset_ns") * 1e-9 if "cam_time_offset_ns" in inner else 0.0
    out: Plain = {}
    for i, (place, size, camera) in enumerate(zip(places, sizes, cameras, strict=True)):
        with named(f"camera {i}"):
            width, height = numbers({"resolution": size}, "resolution", 2)
            out[f"camera{i}"] = {"width": width, "height": height, "time_offset_s": offset_s} | _camera(camera)
            p, q = ([number(place, f"{kind}{axis}") for axis in axes] for kind, axes in (("p", "xyz"), ("q", "xyzw")))
            out[f"camera{i}"]["T_body_cam"] = pose(p, q, "T_imu_cam").ravel().tolist()
    out["imu"] = {ours: float(np.max(numbers(inner, theirs))) for ours, theirs in NOISE.items()}
    out["imu"]["rate_hz"] = number(inner, "imu_update_rate")
    return out


def _camera(camera: object) -> Plain:
    kind, values = str(value(camera, "camera_type")), value(camera, "intrinsics")
    if kind == "ucm":  # the unified sphere is an ellipsoid of beta = 1
        kind, values = "eucm", {**values, "beta": 1.0} if isinstance(values, dict) else values
    if kind not in MODELS:
        raise CalibrationError(f"camera_type {kind} is not supported; known: {', '.join(MODELS)}, ucm")
    model, intrinsics, distortion = MODELS[kind]
    bent = [number(values, key) for key in distortion]
    return {
        "model": model,
        "intrinsics": [number(values, key) for key in intrinsics],
        "distortion": bent if any(bent) else [],
    }
