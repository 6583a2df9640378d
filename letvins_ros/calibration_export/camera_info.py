# SPDX-License-Identifier: Apache-2.0
"""ROS camera_info: a yaml per camera, as camera_info_manager reads it; of a stereo pair with its rectification."""

import cv2
import numpy as np
import yaml

from letvins_ros.calibration import MountedCamera, Rig
from letvins_ros.errors import CalibrationError
from letvins_ros.geometry import inverse

_KINDS = {"pinhole-radtan": "plumb_bob", "pinhole-equidistant": "equidistant"}


def files(rig: Rig) -> dict[str, str]:
    """See `calibration_export.export`; ROS has pinholes only, and mounts only of a pair."""
    for i, mounted in enumerate(rig.cameras):
        if mounted.camera.model not in _KINDS:
            raise CalibrationError(f"camera{i}: camera_info has no {mounted.camera.model} cameras")
    used = rig.cameras[:2]
    R, P = _rectification(used)
    return {f"cam{i}.yaml": _text(i, mounted, R[i], P[i]) for i, mounted in enumerate(used)}


def _rectification(cameras: tuple[MountedCamera, ...]) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Turns (3, 3) and projections (3, 4) of the rectified images; for one camera as it is."""
    K = [_matrix(mounted) for mounted in cameras]
    if len(cameras) == 1:
        return [np.eye(3)], [np.hstack([K[0], np.zeros((3, 1))])]
    T_right_left = inverse(cameras[1].T_body_cam) @ cameras[0].T_body_cam
    size = cameras[0].camera.width, cameras[0].camera.height
    turn, way = T_right_left[:3, :3], T_right_left[:3, 3]
    none = np.zeros(4)  # the lenses do not change how the planes are turned
    R0, R1, P0, P1, *_ = cv2.stereoRectify(K[0], none, K[1], none, size, turn, way, alpha=0)
    return [np.asarray(R0), np.asarray(R1)], [np.asarray(P0), np.asarray(P1)]


def _matrix(mounted: MountedCamera) -> np.ndarray:
    fx, fy, cx, cy = mounted.camera.intrinsics
    return np.array([[fx, 0.0, cx], [0.0, fy, cy], [0.0, 0.0, 1.0]])


def _text(i: int, mounted: MountedCamera, R: np.ndarray, P: np.ndarray) -> str:
    camera = mounted.camera
    kind = "rational_polynomial" if len(camera.distortion) == 8 else _KINDS[camera.model]
    D = np.array(camera.distortion or [0.0] * (5 if kind == "plumb_bob" else 4), float)
    content = {
        "image_width": camera.width,
        "image_height": camera.height,
        "camera_name": f"cam{i}",
        "camera_matrix": _plain(_matrix(mounted)),
        "distortion_model": kind,
        "distortion_coefficients": _plain(D[None]),
        "rectification_matrix": _plain(R),
        "projection_matrix": _plain(P),
    }
    text: str = yaml.safe_dump(content, sort_keys=False, default_flow_style=None, width=200)
    return text


def _plain(matrix: np.ndarray) -> dict[str, object]:
    return {"rows": matrix.shape[0], "cols": matrix.shape[1], "data": [float(x) for x in matrix.ravel()]}
