# SPDX-License-Identifier: Apache-2.0
"""All feature observations of the window, linearised at once with the landmarks eliminated.

The residual of an observation is M n, with n the unit direction of the landmark in the camera and M = d(pixel)/d(direction)
at the measured direction: the reprojection error in pixels to first order, for every camera model. Landmarks are
eliminated by their Schur complement (Triggs 2000, section 6); only poses remain.
"""

from dataclasses import dataclass

import numpy as np

MIN_INVERSE_DISTANCE = 1e-3  # 1/m
MAX_INVERSE_DISTANCE = 10.0
BEHIND_PX = 100.0  # what a landmark behind its camera costs


@dataclass(frozen=True, eq=False)
class Observations:
    """What F frames with C cameras saw of L landmarks."""

    bearings: np.ndarray  # (F, C, L, 3) unit directions in the camera, zero where not seen
    M: np.ndarray  # (F, C, L, 2, 3) px per unit of direction, zero where not seen
    seen: np.ndarray  # (F, C, L) bool


@dataclass(frozen=True, eq=False)
class Linearised:
    """Normal equations H d = -g on 6 F pose parameters, each frame's rotation (body) then position (body)."""

    H: np.ndarray  # (6F, 6F)
    g: np.ndarray  # (6F,)
    cost: float  # half the sum of robust squared errors
    errors: np.ndarray  # (F, C, L) px, NaN where not seen
    _back: tuple[np.ndarray, np.ndarray]  # landmark steps (L, 3) = offset + slope @ d

    def landmark_steps(self, d: np.ndarray) -> np.ndarray:
        """Steps (L, 3), m, of the landmarks that belong to the poses' step d (6F,)."""
        offset, slope = self._back
        return np.asarray(offset - slope @ d)


@dataclass(frozen=True)
class RobustPixels:
    """Standard deviation of a pixel, and the Huber threshold."""

    sigma: float
    huber: float


class CameraMounts:
    """Where the cameras sit on the body, stacked."""

    def __init__(self, T_body_cams: list[np.ndarray]) -> None:
        T = np.stack(T_body_cams)
        self.R_cam_body = np.swapaxes(T[:, :3, :3], 1, 2)  # (C, 3, 3)
        self.p_body_cam = T[:, :3, 3]  # (C, 3)


def linearise(
    R: np.ndarray, p: np.ndarray, landmarks: np.ndarray, seen: Observations, mounts: CameraMounts, noise: RobustPixels
) -> Linearised:
    """Linearise at body rotations R_odom_body (F, 3, 3), positions (F, 3) and landmarks (L, 3) in odom."""
    F, C, L = seen.seen.shape
    p_body = np.matmul(landmarks[None] - p[:, None], R)  # (F, L, 3): R^T (l - p)
    p_cam = np.matmul(p_body[:, None] - mounts.p_body_cam[None, :, None], np.swapaxes(mounts.R_cam_body, 1, 2)[None])
    distance = np.maximum(np.sqrt((p_cam * p_cam).sum(-1)), 1e-3)  # (F, C, L)
    n = p_cam / distance[..., None]
    r = np.matmul(seen.M, n[..., None])[..., 0]  # (F, C, L, 2) px
    error = np.sqrt((r * r).sum(-1))
    error[seen.seen & ((n * seen.bearings).sum(-1) <= 0)] = np.inf  # behind the camera
    weight = np.where(seen.seen, np.minimum(1.0, noise.huber / np.maximum(error, 1e-9)), 0.0)
    scale = np.sqrt(weight) / noise.sigma
    bounded = np.minimum(error, noise.huber)
    cost = float((bounded * (np.minimum(error, BEHIND_PX) - bounded / 2))[seen.seen].sum()) / noise.sigma**2
    r = r * scale[..., None]
    A = (seen.M * scale[..., None, None] - r[..., None] * n[..., None, :]) / distance[..., None, None]
    A_body = np.matmul(A.reshape(F, C, 2 * L, 3), mounts.R_cam_body[None])  # by p_body
    J_point = np.matmul(A_body, np.swapaxes(R, 1, 2)[:, None]).reshape(F, C, L, 2, 3)
    A_body = A_body.reshape(F, C, L, 2, 3)
    J_pose = np.empty((F, C, L, 2, 6))
    x, y, z = (p_body[:, None, :, None, i] for i in range(3))
    a, b, c = A_body[..., 0], A_body[..., 1], A_body[..., 2]
    J_pose[..., 0], J_pose[..., 1], J_pose[..., 2] = b * z - c * y, c * x - a * z, a * y - b * x  # A_body [p_body]x
    J_pose[..., 3:] = -A_body
    return _eliminate(J_pose, J_point, r, cost, np.where(seen.seen, error, np.nan))


def _eliminate(
    J_pose: np.ndarray, J_point: np.ndarray, r: np.ndarray, cost: float, errors: np.ndarray
) -> Linearised:
    F, C, L = r.shape[:3]
    rows_pose = J_pose.reshape(F, C * L * 2, 6)
    H_frames = np.matmul(np.swapaxes(rows_pose, 1, 2), rows_pose)  # (F, 6, 6)
    g = np.matmul(np.swapaxes(rows_pose, 1, 2), r.reshape(F, -1, 1)).reshape(6 * F)
    # per landmark: rows of all frames and cameras together
    by_landmark = J_point.transpose(2, 0, 1, 3, 4).reshape(L, F * C * 2, 3)
    H_points = np.matmul(np.swapaxes(by_landmark, 1, 2), by_landmark)
    H_points += (1e-9 * np.trace(H_points, axis1=1, axis2=2) + 1e-9)[:, None, None] * np.eye(3)
    g_points = np.matmul(np.swapaxes(by_landmark, 1, 2), r.transpose(2, 0, 1, 3).reshape(L, -1, 1))[..., 0]
    pose_by_frame = J_pose.transpose(2, 0, 1, 3, 4).reshape(L, F, C * 2, 6)
    point_by_frame = J_point.transpose(2, 0, 1, 3, 4).reshape(L, F, C * 2, 3)
    W = np.matmul(np.swapaxes(pose_by_frame, 2, 3), point_by_frame).reshape(L, 6 * F, 3)
    inverse = np.linalg.inv(H_points)
    slope = np.matmul(inverse, np.swapaxes(W, 1, 2))  # (L, 3, 6F)
    offset = -np.matmul(inverse, g_points[..., None])[..., 0]
    flat_W = W.transpose(1, 0, 2).reshape(6 * F, 3 * L)
    H = -flat_W @ slope.reshape(3 * L, 6 * F)
    for f in range(F):
        H[6 * f : 6 * f + 6, 6 * f : 6 * f + 6] += H_frames[f]
    g = g + flat_W @ offset.reshape(3 * L)
    return Linearised((H + H.T) / 2, g, cost, errors, (offset, slope))


def step_landmarks(landmarks: np.ndarray, steps: np.ndarray, origin: np.ndarray) -> np.ndarray:
    """Landmarks (L, 3) moved by steps (L, 3) in direction and inverse distance from an origin (L, 3).

    Inverse distance is close to linear in the pixels where distance is not (Civera 2008), so that far landmarks
    neither overshoot nor fall behind the cameras.
    """
    ray = landmarks - origin
    distance = np.linalg.norm(ray, axis=1, keepdims=True)
    u = ray / distance
    along = (steps * u).sum(1, keepdims=True)
    inverse = np.clip(1 / distance - along / distance**2, MIN_INVERSE_DISTANCE, MAX_INVERSE_DISTANCE)
    u = u + (steps - along * u) / distance
    return np.asarray(origin + u / (np.linalg.norm(u, axis=1, keepdims=True) * inverse))


def triangulate(centres: np.ndarray, directions: np.ndarray, seen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Least-squares points (L, 3) of rays, and their least information (L,), which is small where rays are parallel.

    centres, directions (V, L, 3): origin and unit direction of view v's ray to landmark l; seen (V, L) bool.
    """
    across = np.eye(3) - directions[..., :, None] * directions[..., None, :]
    across = np.where(seen[..., None, None], across, 0.0)
    H = across.sum(0)
    right = np.matmul(across, np.where(seen[..., None], centres, 0.0)[..., None])[..., 0].sum(0)
    information = np.linalg.eigvalsh(H)[:, 0]
    H = H + 1e-12 * np.eye(3)
    return np.linalg.solve(H, right[..., None])[..., 0], information

