# SPDX-License-Identifier: Apache-2.0
"""Starts the estimator once on made-up data, so that compiling does not delay the first real frames."""

import numpy as np

from letvins_ros.calibration import Rig
from letvins_ros.config import Config
from letvins_ros.estimation import VioEstimator
from letvins_ros.geometry import apply, inverse
from letvins_ros.imu import GRAVITY
from letvins_ros.types import FrameTracks, ImuSamples

FRAME_NS, READING_NS, FRAMES = 50_000_000, 5_000_000, 12
DISTANCE_M = 4.0


def warm_up(config: Config, rig: Rig) -> bool:
    """Let a body stand still before a wall for half a second; whether the estimator started from that."""
    estimator = VioEstimator(config, rig)
    stamps = np.arange(0, (FRAMES + 1) * FRAME_NS, READING_NS, dtype=np.int64)
    n = len(stamps)
    estimator.add_imu(ImuSamples(stamps, np.zeros((n, 3)), np.tile([0.0, 0.0, GRAVITY], (n, 1))))
    uv, uv_right = _wall(rig)
    ids = np.arange(len(uv), dtype=np.int64)
    for i in range(FRAMES):
        ages = np.full(len(uv), i, np.int32)
        estimator.process(FrameTracks(i * FRAME_NS, ids, uv, uv_right, ages))
    return estimator.initialised


def _wall(rig: Rig) -> tuple[np.ndarray, np.ndarray]:
    """Pixels (N, 2) of points of a wall in the left and in the right image, NaN where there is none."""
    left, right = rig.cameras[0], rig.cameras[-1]
    u, v = np.meshgrid(np.linspace(0.2, 0.8, 8) * left.camera.width, np.linspace(0.2, 0.8, 6) * left.camera.height)
    uv = np.column_stack([u.ravel(), v.ravel()]).astype(np.float32)
    bearings = left.camera.unproject(uv)
    T_right_left = inverse(right.T_body_cam) @ left.T_body_cam
    uv_right, seen = right.camera.project(apply(T_right_left, bearings * DISTANCE_M))
    uv_right = np.where(seen[:, None] & (len(rig.cameras) > 1), uv_right, np.nan).astype(np.float32)
    good = np.isfinite(bearings).all(1)
    return uv[good], uv_right[good]
