# SPDX-License-Identifier: Apache-2.0
"""ROS camera_info: the message, and the yaml that camera_calibration and camera_info_manager write."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from letvins_ros.calibration_files.values import Plain, named, number, numbers, value
from letvins_ros.errors import CalibrationError
from letvins_ros.yaml_files import load_yaml

_MODELS = {  # ROS's name: ours, and how many coefficients it may have
    "plumb_bob": ("pinhole-radtan", (4, 5)),
    "rational_polynomial": ("pinhole-radtan", (4, 5, 8)),
    "": ("pinhole-radtan", (4, 5, 8)),  # of drivers that name none
    "equidistant": ("pinhole-equidistant", (4,)),
    "fisheye": ("pinhole-equidistant", (4,)),
}


def camera_from_info(size: tuple[int, int], model: str, K: Sequence[float], D: Sequence[float]) -> Plain:
    """A camera without its pose; K row by row. Raises CalibrationError for a model that is not known."""
    if len(K) != 9 or not K[0] > 0:
        raise CalibrationError("camera_info holds no calibration: its matrix K is empty")
    plain: Plain = {"width": size[0], "height": size[1], "intrinsics": [K[0], K[4], K[2], K[5]]}
    while len(D) and not D[-1]:  # some drivers fill the list with zeros
        D = D[:-1]
    if not len(D):
        return plain | {"model": "pinhole-radtan", "distortion": []}
    if model not in _MODELS:
        raise CalibrationError(f"distortion model {model} is not known; known: {', '.join(filter(None, _MODELS))}")
    ours, counts = _MODELS[model]
    wanted = min((count for count in counts if count >= len(D)), default=0)
    if not wanted:
        raise CalibrationError(f"{model} takes {' or '.join(map(str, counts))} coefficients, got {len(D)}")
    return plain | {"model": ours, "distortion": [*D, *[0.0] * (wanted - len(D))]}


def rectified_camera(size: tuple[int, int], P: Sequence[float]) -> Plain:
    """The ideal camera of rectified images; P row by row."""
    if len(P) != 12 or P[0] <= 0:
        raise CalibrationError("camera_info holds no calibration of rectified images: its matrix P is empty")
    return {"model": "pinhole-radtan", "width": size[0], "height": size[1], "intrinsics": [P[0], P[5], P[2], P[6]]}


def mount_from_projections(R: Sequence[np.ndarray], P: Sequence[np.ndarray]) -> np.ndarray | None:
    """T_left_right (4, 4) of a stereo pair from its rectifying turns (3, 3) and projections (3, 4).

    None without a baseline, or where one was never rectified.
    A rectified point is R times a raw one, and the right camera's is -P[0, 3] / P[0, 0] to the right of the left's.
    """
    if not all(one[0, 0] > 0 for one in P):
        return None
    baseline = P[0][0, 3] / P[0][0, 0] - P[1][0, 3] / P[1][0, 0]
    if not np.isfinite(baseline) or abs(baseline) < 1e-6:
        return None
    T = np.eye(4)
    T[:3, :3], T[:3, 3] = R[0].T @ R[1], R[0].T @ [baseline, 0.0, 0.0]
    return T


def read_camera_info(content: Plain, others: Sequence[Path] = ()) -> Plain:
    """Rig of one yaml, or of two of a calibrated pair, left first; the body is the left camera."""
    sides, out = [content], Plain()
    for path in others:
        sides.append(load_yaml(path, lenient=True))
    for i, side in enumerate(sides):
        with named(f"camera{i}") if others else named("camera_info"):
            size = int(number(side, "image_width")), int(number(side, "image_height"))
            D = numbers(side, "distortion_coefficients")
            camera = camera_from_info(
                size, str(side.get("distortion_model", "plumb_bob")), numbers(side, "camera_matrix", 9), D
            )
            out[f"camera{i}"] = camera | {"T_body_cam": np.eye(4).ravel().tolist()}
    if others:
        R = [np.reshape(numbers(side, "rectification_matrix", 9), (3, 3)) for side in sides]
        P = [np.reshape(numbers(side, "projection_matrix", 12), (3, 4)) for side in sides]
        T = mount_from_projections(R, P)
        if T is None:
            raise CalibrationError("projection_matrix of the right camera has no baseline: not calibrated as a pair")
        out["camera1"]["T_body_cam"] = T.ravel().tolist()
    return out


def is_camera_info(content: Plain) -> bool:
    """Whether this is the yaml of one camera."""
    return "camera_matrix" in content and isinstance(value(content, "camera_matrix"), dict)
