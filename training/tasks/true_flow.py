# SPDX-License-Identifier: Apache-2.0
"""Where points of one image really are in a later one, from stereo depth and the true poses of a recording."""

import numpy as np

from letvins_ros.datasets import Dataset
from letvins_ros.geometry import apply, from_quaternion, inverse
from letvins_ros.tracking.epipolar import StereoGeometry
from letvins_ros.types import Trajectory

_EPIPOLAR_PX = 1.0
_NEAR_NS = 3_000_000  # half the usual step of ground truth


def true_positions(dataset: Dataset, stamps_ns: tuple[int, int], uv: np.ndarray, uv_right: np.ndarray) -> np.ndarray:
    """Left pixels (N, 2) at the second time of points seen at the first, left and right (N, 2).

    NaN where the points have no depth (right pixel NaN or off the epipolar line), leave the image, or nothing is known.
    """
    unknown = np.full(uv.shape, np.nan)
    rig, truth = dataset.rig, dataset.truth
    if rig is None or truth is None or len(rig.cameras) < 2:
        return unknown
    T_world_body = [_pose(truth, stamp_ns) for stamp_ns in stamps_ns]
    if T_world_body[0] is None or T_world_body[1] is None:
        return unknown
    left, right = rig.cameras[:2]
    stereo = StereoGeometry(left, right)
    bearings, bearings_right = left.camera.unproject(uv), right.camera.unproject(uv_right)
    agree, inverse_distance = stereo.agree(bearings, bearings_right, _EPIPOLAR_PX)
    known = agree & (inverse_distance > 0)
    T_first_second = [T @ left.T_body_cam for T in T_world_body]
    T_later_now = inverse(T_first_second[1]) @ T_first_second[0]
    with np.errstate(divide="ignore", invalid="ignore"):
        later, valid = left.camera.project(apply(T_later_now, bearings / inverse_distance[:, None]))
    return np.where((known & valid)[:, None], later, unknown)


def _pose(truth: Trajectory, stamp_ns: int) -> np.ndarray | None:
    row = int(np.abs(truth.stamps_ns - stamp_ns).argmin())
    if abs(int(truth.stamps_ns[row]) - stamp_ns) > _NEAR_NS:
        return None
    return from_quaternion(truth.positions[row], truth.quaternions[row])
