# SPDX-License-Identifier: Apache-2.0
"""Calibration files of other programs, read into the plain layout of `calibration.rig_from_dict`."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from letvins_ros.errors import CalibrationError
from letvins_ros.geometry import inverse

Plain = dict[str, Any]

_MODELS = {  # (projection, distortion) as EuRoC and Kalibr name them
    ("pinhole", "none"): "pinhole-radtan",
    ("pinhole", "radtan"): "pinhole-radtan",
    ("pinhole", "radial-tangential"): "pinhole-radtan",
    ("pinhole", "equidistant"): "pinhole-equidistant",
    ("omni", "none"): "mei-radtan",
    ("omni", "radtan"): "mei-radtan",
    ("omni", "radial-tangential"): "mei-radtan",
    ("ds", "none"): "double-sphere",
}
_VINS_MODELS = {  # model, its intrinsics and its distortion as the camera files name them
    "PINHOLE": ("pinhole-radtan", ("fx", "fy", "cx", "cy"), ("k1", "k2", "p1", "p2")),
    "MEI": ("mei-radtan", ("xi", "gamma1", "gamma2", "u0", "v0"), ("k1", "k2", "p1", "p2")),
    "KANNALA_BRANDT": ("pinhole-equidistant", ("mu", "mv", "u0", "v0"), ("k2", "k3", "k4", "k5")),
}
_ROTATION_TOLERANCE = 5e-3  # files are rounded to a few digits, and some matrices are simply wrong
_VINS_RATE_HZ = 200.0  # the file does not say it


@contextmanager
def named(where: object) -> Iterator[None]:
    """Put the place in front of a CalibrationError's message."""
    try:
        yield
    except CalibrationError as e:
        raise CalibrationError(f"{where}: {e}") from None


class _Loader(yaml.SafeLoader):
    """Safe yaml that takes `!!opencv-matrix` for the mapping it is; of a doubled key the last one counts."""


def _opencv_matrix(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    return loader.construct_mapping(node, deep=True)


_Loader.add_constructor("tag:yaml.org,2002:opencv-matrix", _opencv_matrix)


def load_yaml(path: Path) -> Plain:
    """Read a yaml mapping, also of OpenCV's `%YAML:1.0` kind; CalibrationError when it cannot be read."""
    try:
        text = path.read_text(encoding="utf-8-sig", errors="replace").replace("\t", " ")
        lines = [line for line in text.splitlines() if not line.startswith("%YAML")]
        content = yaml.load("\n".join(lines), Loader=_Loader)  # noqa: S506  a SafeLoader
    except OSError as e:
        raise CalibrationError(f"{path}: {e.strerror}") from None
    except (yaml.YAMLError, ValueError) as e:  # ValueError: such as the date 2020-13-13
        raise CalibrationError(f"{path} is no valid yaml: {' '.join(str(e).split())}") from None
    if not isinstance(content, dict):
        raise CalibrationError(f"{path} holds no keys")
    return content


def value(d: object, key: str) -> Any:
    """Look up a key that must be there."""
    if not isinstance(d, dict) or key not in d:
        raise CalibrationError(f"{key} is missing")
    return d[key]


def numbers(d: object, key: str, count: int | None = None) -> list[float]:
    """Read the finite numbers under a key, flat: one number, a list, a list of rows, or a matrix with `data`."""
    found = value(d, key)
    found = found.get("data") if isinstance(found, dict) else found
    try:
        out = [float(v) for v in np.ravel(np.array(found, dtype=object))]
    except (TypeError, ValueError):
        raise CalibrationError(f"{key} must hold numbers, got {str(found)[:60]}") from None
    if not np.isfinite(out).all():
        raise CalibrationError(f"{key} must hold finite numbers, got {out}")
    if count not in (None, len(out)):
        raise CalibrationError(f"{key} must hold {count} numbers, got {len(out)}")
    return out


def number(d: object, key: str) -> float:
    """Read the one finite number under a key."""
    return numbers(d, key, 1)[0]


def rigid_error(T: np.ndarray) -> float:
    """How far T is from rigid: the largest entry of R^T R - I; inf for a mirror, a wrong last row, no (4, 4) or NaN."""
    if T.shape != (4, 4) or not np.isfinite(T).all() or np.abs(T[3] - (0, 0, 0, 1)).max() > 1e-9:
        return np.inf
    R = T[:3, :3]
    return float(np.abs(R.T @ R - np.eye(3)).max()) if np.linalg.det(R) > 0 else np.inf


def rigid(d: object, key: str) -> np.ndarray:
    """Read the rigid transform (4, 4) under a key, row by row; a rotation rounded to few digits is mended."""
    T = np.reshape(numbers(d, key, 16), (4, 4))
    error = rigid_error(T)
    if error > _ROTATION_TOLERANCE:
        raise CalibrationError(
            f"{key} is no rigid transform: its rotation is off by {error:.2g}, at most {_ROTATION_TOLERANCE} is mended "
            f"(determinant {np.linalg.det(T[:3, :3]):.3g}, last row {T[3].tolist()})"
        )
    if error > 1e-10:  # else as it is, so that writing and reading changes nothing
        u, _, vt = np.linalg.svd(T[:3, :3])
        T[:3, :3] = u @ vt
    return T


def read(path: Path, imu_yaml: Path | None = None) -> Plain:
    """Read a EuRoC folder, a Kalibr camera chain or a VINS-Fusion configuration, told apart by content."""
    if path.is_dir():
        return read_euroc(path)
    content = load_yaml(path)
    with named(path):
        if "cam0" in content:
            return _kalibr(content, _imu_beside(path) if imu_yaml is None else imu_yaml)
        if "cam0_calib" in content:
            return _vins(content, path.parent)
        hint = "; give the folder above cam0 instead" if "T_BS" in content else ""
        raise CalibrationError(f"is neither a Kalibr camera chain (cam0) nor a VINS-Fusion file (cam0_calib){hint}")


def read_euroc(folder: Path) -> Plain:
    """Read cam0/, cam1/ and imu0/sensor.yaml of a EuRoC folder, with or without `mav0`."""
    mav0 = folder / "mav0" if (folder / "mav0").is_dir() else folder
    out: Plain = {}
    T_imu_base = np.eye(4)  # EuRoC's base is its IMU, but not in every copy
    if (path := mav0 / "imu0" / "sensor.yaml").is_file():
        sensor = load_yaml(path)
        with named(path):
            out["imu"] = _noise(sensor, "rate_hz")
            T_imu_base = inverse(rigid(sensor, "T_BS")) if "T_BS" in sensor else T_imu_base
    for i in range(2):
        if i == 0 or (mav0 / f"cam{i}" / "sensor.yaml").is_file():
            path = mav0 / f"cam{i}" / "sensor.yaml"
            sensor = load_yaml(path)
            with named(path):
                camera = _camera(sensor, "distortion_coefficients")
                out[f"camera{i}"] = camera | {"T_body_cam": (T_imu_base @ rigid(sensor, "T_BS")).ravel().tolist()}
    return out


def _camera(d: Plain, coefficients: str) -> Plain:
    """A camera's own parameters as EuRoC and Kalibr write them."""
    kind = (str(value(d, "camera_model")), str(d.get("distortion_model", "none")).lower())
    if kind not in _MODELS:
        known = ", ".join(" ".join(k) for k in _MODELS)
        raise CalibrationError(f"camera model {kind[0]} with distortion {kind[1]} is not supported; known: {known}")
    width, height = numbers(d, "resolution", 2)
    distortion = [] if kind[1] == "none" else numbers(d, coefficients)
    intrinsics = numbers(d, "intrinsics")
    return {
        "model": _MODELS[kind],
        "width": width,
        "height": height,
        "intrinsics": intrinsics,
        "distortion": distortion,
    }


def _noise(d: Plain, rate: str) -> Plain:
    """IMU noise densities as EuRoC and Kalibr write them."""
    return {
        "gyro_noise": number(d, "gyroscope_noise_density"),
        "accel_noise": number(d, "accelerometer_noise_density"),
        "gyro_walk": number(d, "gyroscope_random_walk"),
        "accel_walk": number(d, "accelerometer_random_walk"),
        "rate_hz": number(d, rate),
    }


def _imu_beside(camchain: Path) -> Path | None:
    """Find Kalibr's IMU file in the folder of the camera chain."""
    found = sorted(p for p in camchain.parent.glob("*imu*.y*ml") if "cam" not in p.name)
    if len(found) > 1:
        raise CalibrationError(f"several IMU files beside it ({', '.join(p.name for p in found)}): name one")
    return found[0] if found else None


def _kalibr(chain: Plain, imu_yaml: Path | None) -> Plain:
    """Kalibr's camera chain; without any IMU in it the body is the first camera."""
    out: Plain = {}
    if imu_yaml is not None:
        content = load_yaml(imu_yaml)
        with named(imu_yaml):
            out["imu"] = _noise(content.get("imu0", content), "update_rate")
    T_cam_body = np.eye(4)
    for i, name in enumerate(sorted(key for key in chain if re.fullmatch(r"cam\d", str(key)))):
        cam = chain[name]
        with named(name):
            out[f"camera{i}"] = _camera(cam, "distortion_coeffs")
            if "T_imu_cam" in cam:  # OpenVINS writes the inverse
                T_cam_body = inverse(rigid(cam, "T_imu_cam"))
            elif "T_cam_imu" in cam or (i == 0 and imu_yaml is not None):
                T_cam_body = rigid(cam, "T_cam_imu")
            elif i > 0:
                T_cam_body = rigid(cam, "T_cn_cnm1") @ T_cam_body
            out[f"camera{i}"]["T_body_cam"] = inverse(T_cam_body).ravel().tolist()
            out[f"camera{i}"]["time_offset_s"] = number(cam, "timeshift_cam_imu") if "timeshift_cam_imu" in cam else 0.0
    return out


def _vins(config: Plain, folder: Path) -> Plain:
    """VINS-Fusion's configuration with the camera files it names.

    Its noise figures are deviations of one sample (its pre-integration never divides by the sample time), so
    the density is the figure times the square root of the sample time.
    """
    out: Plain = {}
    for i in range(int(number(config, "num_of_cam"))):
        path = folder / str(value(config, f"cam{i}_calib"))
        content = load_yaml(path)
        with named(path):
            out[f"camera{i}"] = _vins_camera(content)
        out[f"camera{i}"]["T_body_cam"] = rigid(config, f"body_T_cam{i}").ravel().tolist()
        out[f"camera{i}"]["time_offset_s"] = number(config, "td") if "td" in config else 0.0
    if number(config, "imu"):
        names = {"gyro_noise": "gyr_n", "accel_noise": "acc_n", "gyro_walk": "gyr_w", "accel_walk": "acc_w"}
        out["imu"] = {ours: number(config, theirs) / _VINS_RATE_HZ**0.5 for ours, theirs in names.items()}
        out["imu"]["rate_hz"] = _VINS_RATE_HZ
    return out


def _vins_camera(d: Plain) -> Plain:
    kind = value(d, "model_type")
    if kind not in _VINS_MODELS:
        raise CalibrationError(f"camera model {kind} is not supported; known: {', '.join(_VINS_MODELS)}")
    model, intrinsics, distortion = _VINS_MODELS[kind]
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
