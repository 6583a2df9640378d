# SPDX-License-Identifier: Apache-2.0
"""Errors of an estimate against ground truth, and the consistency of its covariance."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from letvins_ros import geometry
from letvins_ros.evaluation.trajectory import SECOND_NS, from_poses, poses
from letvins_ros.types import Trajectory

VELOCITY_SPAN_NS = 60_000_000  # of the truth on both sides: shorter lets its noise in, longer smooths the motion
MAX_TILT_RAD = np.radians(10)  # a truth tilted more has another vertical: no 4-DoF comparison


@dataclass(frozen=True, eq=False)
class AbsoluteError:
    """An estimate aligned to the truth by the SE(3) that fits its positions best (Umeyama 1991)."""

    truth: Trajectory  # the N poses compared
    aligned: Trajectory  # the estimate in the truth's frame
    position: np.ndarray  # (N, 3) m, aligned - truth, truth's frame
    rotation_rad: np.ndarray  # (N,) angle
    scale: float = 1.0  # that the estimate was multiplied by


@dataclass(frozen=True, eq=False)
class Drift:
    """An estimate against the truth, aligned in position and heading (4-DoF) at the start only."""

    position: np.ndarray  # (N, 3) m, estimate - truth, odom frame
    rotation: np.ndarray  # (N, 3) rad, rotation vector from the truth to the estimate, body frame
    turned: np.ndarray  # (N, 3) m, the position's error where the heading is aligned over all poses of a segment
    R_odom_world: np.ndarray  # (N, 3, 3) about z, by which the truth was turned
    tilt_rad: float  # between the two verticals at the start


def absolute_error(truth: Trajectory, estimate: Trajectory, with_scale: bool = False) -> AbsoluteError:
    """Absolute trajectory error of paired poses after SE(3) or, with scale, Sim(3) alignment; needs 3 or more."""
    scale, T_truth_odom = 1.0, geometry.align_se3(truth.positions, estimate.positions)
    T_est = poses(estimate)
    if with_scale:
        scale, T_truth_odom = geometry.align_sim3(truth.positions, estimate.positions)
        T_est[:, :3, 3] *= scale
    T_est = T_truth_odom @ T_est
    T_true = poses(truth)
    rotation = _angles(geometry.inverse(T_true) @ T_est)
    aligned = from_poses(estimate.stamps_ns.tolist(), T_est)
    return AbsoluteError(truth, aligned, T_est[:, :3, 3] - T_true[:, :3, 3], rotation, scale)


def relative_error(truth: Trajectory, estimate: Trajectory, delta_s: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Relative pose errors over delta_s of paired poses: translation (M,) m and rotation (M,) rad (Sturm 2012, eq. 2).

    A pair is a pose and the one nearest to delta_s later, if that is within 30 ms of delta_s or, where poses are more
    than 60 ms apart, within half a period.
    """
    delta = round(delta_s * SECOND_NS)
    stamps = truth.stamps_ns
    after = np.searchsorted(stamps, stamps + delta).clip(1, max(len(stamps) - 1, 1))
    if len(stamps) < 2:
        return np.empty(0), np.empty(0)
    later = after - (2 * (stamps + delta) < stamps[after - 1] + stamps[after])
    tolerance = max(30_000_000, 0.5 * float(np.median(np.diff(stamps))) + 1_000_000)
    first = np.flatnonzero((np.abs(stamps[later] - stamps - delta) < tolerance) & (later > np.arange(len(stamps))))
    later = later[first]
    T_true, T_est = poses(truth), poses(estimate)
    moved_true = geometry.inverse(T_true[first]) @ T_true[later]
    moved_est = geometry.inverse(T_est[first]) @ T_est[later]
    error = geometry.inverse(moved_true) @ moved_est
    return np.linalg.norm(error[:, :3, 3], axis=1), _angles(error)


def drift(truth: Trajectory, estimate: Trajectory, segments: np.ndarray) -> Drift:
    """Error of paired poses, the truth aligned in position and heading to the first pose of each segment.

    segments: (N,) int, grows by one or more wherever the odom frame starts anew.
    """
    starts = np.searchsorted(segments, segments)  # of each pose: the first row of its segment
    T_true, T_est = poses(truth), poses(estimate)
    R = T_est[starts, :3, :3] @ np.swapaxes(T_true[starts, :3, :3], 1, 2)
    yaw = np.arctan2(R[:, 1, 0] - R[:, 0, 1], R[:, 0, 0] + R[:, 1, 1])  # the rotation about z nearest to R
    R_odom_world = geometry.exp_so3(yaw[:, None] * np.array([0.0, 0.0, 1.0]))
    shift = T_est[starts, :3, 3] - (R_odom_world @ T_true[starts, :3, 3:])[..., 0]
    T_true_odom = geometry.transform(R_odom_world, shift) @ T_true
    rotation = geometry.log_so3(np.swapaxes(T_true_odom[:, :3, :3], 1, 2) @ T_est[:, :3, :3])
    tilt = float(np.arccos(np.clip(R[0, 2, 2], -1.0, 1.0)))
    error = T_est[:, :3, 3] - T_true_odom[:, :3, 3]
    turned = np.concatenate([_turned(T_true[rows, :3, 3], T_est[rows, :3, 3]) for rows in _runs(starts)])
    return Drift(error, rotation, turned, R_odom_world, tilt)


def velocities(truth: Trajectory, stamps_ns: np.ndarray) -> np.ndarray:
    """Velocity (N, 3) m/s of the truth at times: of the cubic that fits it best within VELOCITY_SPAN_NS.

    NaN where it has fewer than 7 poses there: of sparse or noisy positions no velocity can be had.
    """
    out = np.full((len(stamps_ns), 3), np.nan)
    ends = np.searchsorted(truth.stamps_ns, np.stack([stamps_ns - VELOCITY_SPAN_NS, stamps_ns + VELOCITY_SPAN_NS]))
    for row, (stamp, start, end) in enumerate(zip(stamps_ns.tolist(), *ends.tolist(), strict=True)):
        if end - start >= 7:
            t = (truth.stamps_ns[start:end] - stamp) * 1e-9
            out[row] = np.linalg.lstsq(np.vander(t, 4), truth.positions[start:end], rcond=None)[0][2]
    return out


def _runs(labels: np.ndarray) -> list[slice]:
    """The stretches of equal labels, of which there is one at least."""
    ends = [0, *(np.flatnonzero(np.diff(labels)) + 1).tolist(), len(labels)]
    return [slice(a, b) for a, b in pairwise(ends)]


def _turned(p_true: np.ndarray, p_est: np.ndarray) -> np.ndarray:
    """Error (N, 3) m of positions aligned in place at the first one, in heading over all."""
    true, est = p_true - p_true[0], p_est - p_est[0]
    cross = true[:, 0] @ est[:, 1] - true[:, 1] @ est[:, 0]
    yaw = np.arctan2(cross, (true[:, :2] * est[:, :2]).sum())
    return np.asarray(est - true @ geometry.yaw_rotation(float(yaw)).T)


def nees(errors: np.ndarray, covariances: np.ndarray) -> np.ndarray:
    """Normalised estimation error squared e^T P^-1 e (M,) of errors (N, k) and covariances (N, k, k).

    Their mean is k where the covariance is consistent (Bar-Shalom 2001, section 5.4). Rows with a singular
    covariance, or an error that is not known, are left out.
    """
    finite = np.isfinite(covariances).all(axis=(1, 2)) & np.isfinite(errors).all(axis=1)
    errors, covariances = errors[finite], covariances[finite]
    eigenvalues = np.linalg.eigvalsh(covariances)
    regular = eigenvalues[:, 0] > 1e-12 * np.abs(eigenvalues[:, -1])
    e, P = errors[regular, :, None], covariances[regular]
    return (np.swapaxes(e, 1, 2) @ np.linalg.solve(P, e))[:, 0, 0]


def path_length(positions: np.ndarray) -> float:
    """Metres along positions (N, 3)."""
    return float(np.linalg.norm(np.diff(positions, axis=0), axis=1).sum())


def largest_distance_from_mean(positions: np.ndarray) -> float:
    """Largest distance, m, of positions (N, 3) from their mean, as drift at standstill."""
    return float(np.linalg.norm(positions - positions.mean(axis=0), axis=1).max())


def rms(values: np.ndarray) -> float | None:
    """Root mean square; None of nothing."""
    return float(np.sqrt(np.mean(np.square(values)))) if len(values) else None


def _angles(T: np.ndarray) -> np.ndarray:
    """Rotation angles (N,) rad of (N, 4, 4)."""
    return np.linalg.norm(geometry.log_so3(T[:, :3, :3]), axis=-1) if len(T) else np.empty(0)
