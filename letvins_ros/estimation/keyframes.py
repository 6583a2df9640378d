# SPDX-License-Identifier: Apache-2.0
"""Which frames become keyframes."""

import numpy as np

from letvins_ros.calibration import MountedCamera
from letvins_ros.config import EstimatorConfig
from letvins_ros.estimation.frame import Frame

SHARED_FEATURES = 0.6  # of a frame's features with the last keyframe, below which it becomes one


def is_keyframe(
    frame: Frame, last: Frame, cameras: tuple[MountedCamera, ...], config: EstimatorConfig, with_imu: bool
) -> bool:
    """Whether few features are shared with the last keyframe, or their parallax or the time between is large."""
    gap_s = (frame.stamp_ns - last.stamp_ns) * 1e-9
    if frame.at_rest and last.at_rest:
        return gap_s > config.keyframe_max_gap_s
    _, a, b = np.intersect1d(last.ids, frame.ids, assume_unique=True, return_indices=True)
    if not len(a):  # nothing to compare: a keyframe where there is something new
        return len(frame.ids) > 0 or gap_s > config.keyframe_max_gap_s
    if len(a) < SHARED_FEATURES * len(frame.ids) or (frame.at_rest and not last.at_rest):
        return True
    parallax_px = _parallax_px((last, a), (frame, b), cameras)
    # cameras alone gain nothing from a keyframe without parallax; the IMU needs short intervals
    is_late = gap_s > config.keyframe_max_gap_s and (with_imu or parallax_px > 1)
    return bool(is_late or parallax_px > config.keyframe_parallax_px)


def _parallax_px(
    last: tuple[Frame, np.ndarray], now: tuple[Frame, np.ndarray], cameras: tuple[MountedCamera, ...]
) -> float:
    """Mean motion of features beyond that of the rotation; each frame with the columns of the common features."""
    (before, a), (frame, b) = last, now
    both = before.seen[:, a] & frame.seen[:, b]
    first = both.argmax(0)  # a pair's feature counts once, in its lead
    moved = [np.zeros(0)]
    for i, mounted in enumerate(cameras):
        here = both[i] & (first == i)
        R_body_cam = mounted.T_body_cam[:3, :3]
        R_now_last = R_body_cam.T @ frame.state.R.T @ before.state.R @ R_body_cam
        turned = before.bearings[i][a[here]] @ R_now_last.T
        moved.append(np.linalg.norm(turned - frame.bearings[i][b[here]], axis=1) * mounted.camera.focal_px)
    parallax = np.concatenate(moved)
    return float(parallax.mean()) if len(parallax) else 0.0
