# SPDX-License-Identifier: Apache-2.0
"""Which frames become keyframes."""

import numpy as np

from letvins_ros.calibration import MountedCamera
from letvins_ros.config import EstimatorConfig
from letvins_ros.estimation.frame import Frame

SHARED_FEATURES = 0.6  # of a frame's features with the last keyframe, below which it becomes one


def is_keyframe(frame: Frame, last: Frame, left: MountedCamera, config: EstimatorConfig, with_imu: bool) -> bool:
    """Whether few features are shared with the last keyframe, or their parallax or the time between is large."""
    gap_s = (frame.stamp_ns - last.stamp_ns) * 1e-9
    if frame.at_rest and last.at_rest:
        return gap_s > config.keyframe_max_gap_s
    _, a, b = np.intersect1d(last.ids, frame.ids, assume_unique=True, return_indices=True)
    if not len(a):  # nothing to compare: a keyframe where there is something new
        return len(frame.ids) > 0 or gap_s > config.keyframe_max_gap_s
    if len(a) < SHARED_FEATURES * len(frame.ids) or (frame.at_rest and not last.at_rest):
        return True
    R_body_cam = left.T_body_cam[:3, :3]
    R_now_last = R_body_cam.T @ frame.state.R.T @ last.state.R @ R_body_cam
    turned = last.bearings[0][a] @ R_now_last.T
    parallax_px = np.mean(np.linalg.norm(turned - frame.bearings[0][b], axis=1)) * left.camera.focal_px
    # cameras alone gain nothing from a keyframe without parallax; the IMU needs short intervals
    is_late = gap_s > config.keyframe_max_gap_s and (with_imu or parallax_px > 1)
    return bool(is_late or parallax_px > config.keyframe_parallax_px)
