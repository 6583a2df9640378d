# SPDX-License-Identifier: Apache-2.0
"""ORB-SLAM3 settings: flat keys, in the form of version 1.0 (Camera1.fx) and the one before (Camera.fx, Tbc)."""

import numpy as np

from letvins_ros.calibration_files.camera_info import mount_from_projections
from letvins_ros.calibration_files.values import Plain, number, numbers, rigid, value
from letvins_ros.errors import CalibrationError

_NOISE = {"gyro_noise": "NoiseGyro", "accel_noise": "NoiseAcc", "gyro_walk": "GyroWalk", "accel_walk": "AccWalk"}


def recognises(content: Plain) -> bool:
    """Whether this is a settings file."""
    return "Camera.type" in content or "Camera1.fx" in content or "Camera.fx" in content


def read(content: Plain) -> Plain:
    """Read one or two cameras, and the IMU where it has one; without it the body is the left camera."""
    kind = str(content.get("Camera.type", "PinHole"))
    models = {"PinHole": "pinhole-radtan", "Rectified": "pinhole-radtan", "KannalaBrandt8": "pinhole-equidistant"}
    if kind not in models:
        raise CalibrationError(f"Camera.type {kind} is not supported; known: {', '.join(models)}")
    prefix = "Camera1" if "Camera1.fx" in content else "Camera"
    mount = next((key for key in ("IMU.T_b_c1", "Tbc") if key in content), None)
    T_body_left = rigid(content, mount) if mount else np.eye(4)
    size = {"width": number(content, "Camera.width"), "height": number(content, "Camera.height")}
    left = _camera(content, prefix, models[kind])
    right, T_left_right = _right(content, left, kind, models[kind])
    out: Plain = {"camera0": size | left | {"T_body_cam": T_body_left.ravel().tolist()}}
    if "LEFT.K" in content:
        out["camera0"] |= _from_matrices(content, "LEFT")
    if right is not None and T_left_right is not None:
        out["camera1"] = size | right | {"T_body_cam": (T_body_left @ T_left_right).ravel().tolist()}
    if mount:
        out["imu"] = {ours: number(content, f"IMU.{theirs}") for ours, theirs in _NOISE.items()}
        out["imu"]["rate_hz"] = number(content, "IMU.Frequency")
    return out


def _camera(content: Plain, prefix: str, model: str) -> Plain:
    intrinsics = [number(content, f"{prefix}.{name}") for name in ("fx", "fy", "cx", "cy")]
    names = ("k1", "k2", "k3", "k4") if model == "pinhole-equidistant" else ("k1", "k2", "p1", "p2", "k3")
    found = [number(content, f"{prefix}.{name}") for name in names if f"{prefix}.{name}" in content]
    return {"model": model, "intrinsics": intrinsics, "distortion": found if len(found) > 3 and any(found) else []}


def _right(content: Plain, left: Plain, kind: str, model: str) -> tuple[Plain | None, np.ndarray | None]:
    """The right camera and its pose in the left one: its own, by LEFT.* and RIGHT.*, or rectified by a baseline."""
    if "RIGHT.K" in content:
        R = [np.reshape(numbers(content, f"{side}.R", 9), (3, 3)) for side in ("LEFT", "RIGHT")]
        P = [np.reshape(numbers(content, f"{side}.P", 12), (3, 4)) for side in ("LEFT", "RIGHT")]
        return _from_matrices(content, "RIGHT"), mount_from_projections(R, P)
    key = next((key for key in ("Stereo.T_c1_c2", "Tlr") if key in content), None)
    if "Camera2.fx" in content:
        return _camera(content, "Camera2", model), rigid(content, key or "Stereo.T_c1_c2")
    T = np.eye(4)
    if "Stereo.b" in content and kind == "Rectified":
        T[0, 3] = number(content, "Stereo.b")
    elif "Camera.bf" in content and not left["distortion"]:
        T[0, 3] = number(content, "Camera.bf") / left["intrinsics"][0]
    else:
        return None, None
    return left, T


def _from_matrices(content: Plain, side: str) -> Plain:
    """A camera as OpenCV's stereo calibration writes it; raw, the settings' own are of the rectified images."""
    K = numbers(content, f"{side}.K", 9)
    D = numbers(content, f"{side}.D")
    value(content, f"{side}.R")
    intrinsics = [K[0], K[4], K[2], K[5]]
    return {"model": "pinhole-radtan", "intrinsics": intrinsics, "distortion": D if any(D) else []}
