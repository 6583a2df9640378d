# SPDX-License-Identifier: Apache-2.0
"""How far the truth's clock is late and its frame beside the body's: what is the truth's error, not the estimate's."""

from dataclasses import dataclass

import numpy as np

from letvins_ros import geometry
from letvins_ros.evaluation.trajectory import SECOND_NS, at_times, poses, take
from letvins_ros.types import Trajectory

STEPS = 10  # of Gauss-Newton; three or four are enough
MOST_DELAY_S, MOST_LEVER_M = 0.1, 0.2  # larger ones are no error of a truth that somebody measured
LEAST_S = 8.0  # in shorter runs the estimate's own drift looks like a lever arm
SPAN_NS = 10_000_000  # on both sides, over which the truth's velocity is taken


@dataclass(frozen=True, eq=False)
class TruthFit:
    """The truth's delay and lever arm that fit an estimate best, position and heading being aligned over all poses."""

    delay_s: float  # the truth at t + delay_s is where the estimate is at t
    lever_m: np.ndarray  # (3,) from the truth's point to the body's origin, in the truth's body axes
    truth: Trajectory  # the truth without both


def fit_truth(truth: Trajectory, estimate: Trajectory) -> TruthFit | None:
    """The fit; None where the motion does not tell, or what fits best is absurd."""
    if estimate.stamps_ns[-1] - estimate.stamps_ns[0] < LEAST_S * SECOND_NS:
        return None
    delay_s, lever, yaw, shift = 0.0, np.zeros(3), 0.0, np.zeros(3)
    for step in range(STEPS):
        late_ns = round(delay_s * SECOND_NS)
        true, rows = at_times(truth, estimate.stamps_ns + late_ns)
        if len(rows) < len(estimate) / 2 or len(rows) < 9:
            return None
        T, p_est = poses(true), estimate.positions[rows]
        if step == 0:
            yaw = _heading(T, poses(take(estimate, rows)))
        R_odom_world = geometry.yaw_rotation(yaw)
        point = (T[:, :3, 3] + T[:, :3, :3] @ lever) @ R_odom_world.T
        shift = (p_est - point).mean(0) if step == 0 else shift
        error = p_est - point - shift
        J = np.zeros((len(rows), 3, 8))  # of point + shift by delay, lever, heading, shift
        J[:, :, 0] = _velocity(truth, estimate.stamps_ns[rows] + late_ns) @ R_odom_world.T
        J[:, :, 1:4] = R_odom_world @ T[:, :3, :3]
        J[:, :2, 4] = np.stack([-point[:, 1], point[:, 0]], axis=1)
        J[:, :, 5:] = np.eye(3)
        d, _, rank, _ = np.linalg.lstsq(J.reshape(-1, 8), error.reshape(-1), rcond=1e-6)
        if rank < 8:
            return None
        delay_s, lever, yaw, shift = delay_s + float(d[0]), lever + d[1:4], yaw + float(d[4]), shift + d[5:]
        if abs(delay_s) > MOST_DELAY_S or np.linalg.norm(lever) > MOST_LEVER_M:
            return None
    positions = (poses(truth) @ np.append(lever, 1.0))[:, :3]
    stamps_ns = truth.stamps_ns - round(delay_s * SECOND_NS)
    return TruthFit(delay_s, lever, Trajectory(stamps_ns, positions, truth.quaternions))


def _heading(T_true: np.ndarray, T_est: np.ndarray) -> float:
    """By which the truth is to be turned about z, of the first poses."""
    R = T_est[0, :3, :3] @ T_true[0, :3, :3].T
    return float(np.arctan2(R[1, 0] - R[0, 1], R[0, 0] + R[1, 1]))


def _velocity(truth: Trajectory, stamps_ns: np.ndarray) -> np.ndarray:
    """Of the truth (N, 3), m/s."""
    own = (truth.stamps_ns - stamps_ns[0]) / SECOND_NS
    at = (stamps_ns - stamps_ns[0]) / SECOND_NS
    half = SPAN_NS / SECOND_NS
    later, earlier = (
        np.stack([np.interp(at + s, own, truth.positions[:, i]) for i in range(3)], 1) for s in (half, -half)
    )
    return np.asarray((later - earlier) / (2 * half))
