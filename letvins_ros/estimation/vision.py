# SPDX-License-Identifier: Apache-2.0
"""All feature observations of the window, linearised at once with the landmarks eliminated.

The residual of an observation is M n, with n the unit direction of the landmark in the camera and M, at the measured
direction, d(pixel)/d(direction): the reprojection error in pixels to first order, for every camera model. Landmarks are
eliminated by their Schur complement (Triggs 2000, section 6); only poses remain. GTSAM's smart factors do the same one
landmark at a time, for pinhole cameras, and four times slower from Python.
"""

from dataclasses import dataclass

import numpy as np
from numba import njit

from letvins_ros.estimation.frame import Frame

MIN_INVERSE_DISTANCE = 1e-3  # 1/m
MAX_INVERSE_DISTANCE = 10.0
BEHIND_PX = 100.0  # what a landmark behind its camera costs


@dataclass(frozen=True, eq=False)
class Observations:
    """K sightings of L landmarks by F frames with C cameras."""

    frame: np.ndarray  # (K,) int64, position of the frame in the window
    camera: np.ndarray  # (K,) int64
    landmark: np.ndarray  # (K,) int64, row of the landmark
    bearing: np.ndarray  # (K, 3) unit direction in the camera
    M: np.ndarray  # (K, 2, 3) px per unit of direction

    def counts(self, landmarks: int) -> np.ndarray:
        """Sightings (L,) of each landmark."""
        return np.bincount(self.landmark, minlength=landmarks)

    def select(self, keep: np.ndarray, row_of: np.ndarray) -> "Observations":
        """Those of mask (K,), with landmarks renumbered by row_of (L,)."""
        return Observations(
            self.frame[keep], self.camera[keep], row_of[self.landmark[keep]], self.bearing[keep], self.M[keep]
        )


def sightings(ids: np.ndarray, frames: list[Frame]) -> Observations:
    """What these frames saw of these landmarks (sorted ids, not empty)."""
    every = np.concatenate([frame.ids for frame in frames])
    row = np.minimum(np.searchsorted(ids, every), len(ids) - 1)
    camera, column = np.nonzero(np.concatenate([frame.seen for frame in frames], axis=1) & (ids[row] == every))
    of_frame = np.repeat(np.arange(len(frames)), [len(frame.ids) for frame in frames])
    bearings = np.concatenate([frame.bearings for frame in frames], axis=1)
    M = np.concatenate([frame.M for frame in frames], axis=1)
    return Observations(of_frame[column], camera, row[column], bearings[camera, column], M[camera, column])


@dataclass(frozen=True, eq=False)
class Linearised:
    """Normal equations H d = -g on each frame's rotation (body) and position (body), then the calibration.

    Calibration: each camera's rotation and position in its own frame, and the time offset.
    """

    H: np.ndarray  # (P, P) with P = 6F, or 6F + 6C + 1 where calibration is refined too
    g: np.ndarray  # (P,)
    cost: float  # sum of robust squared errors, halved
    errors: np.ndarray  # (K,) px, BEHIND_PX behind the camera
    offset: np.ndarray  # (L, 3) m: landmark steps are offset - slope d
    slope: np.ndarray  # (L, 3, P)

    def landmark_steps(self, d: np.ndarray) -> np.ndarray:
        """Steps (L, 3), m, of the landmarks that belong to the step d (P,)."""
        return np.asarray(self.offset - self.slope @ d)


@dataclass(frozen=True)
class RobustPixels:
    """Standard deviation of a pixel, and the Huber threshold, px."""

    sigma: float
    huber: float


class CameraMounts:
    """Where the cameras sit on the body, stacked."""

    def __init__(self, T_body_cams: list[np.ndarray]) -> None:
        T = np.stack(T_body_cams)
        self.R_cam_body = np.ascontiguousarray(np.swapaxes(T[:, :3, :3], 1, 2))  # (C, 3, 3)
        self.p_body_cam = np.ascontiguousarray(T[:, :3, 3])  # (C, 3)


@dataclass(frozen=True, eq=False)
class Poses:
    """Body poses in odom."""

    R: np.ndarray  # (F, 3, 3) R_odom_body
    p: np.ndarray  # (F, 3) m
    rates: np.ndarray | None = None  # (F, 6) rad/s and m/s in the body, where calibration is refined too


class VisionCost:
    """What all sightings of some landmarks say about the poses."""

    def __init__(self, seen: Observations, mounts: CameraMounts, noise: RobustPixels) -> None:
        self.seen = seen
        self._mount = (mounts.R_cam_body, mounts.p_body_cam)
        self._rows = (seen.frame, seen.camera, seen.landmark, seen.bearing, seen.M)
        self._noise = (noise.sigma, noise.huber)

    def at(self, poses: Poses, fixed: Poses, landmarks: np.ndarray) -> Linearised:
        """Linearise at F poses and landmarks (L, 3) in odom.

        Errors are those at the poses, derivatives those at the fixed poses: a pose that the prior knows must keep the
        derivatives it had there, or the prior learns of a heading that nothing measures (Huang 2010).
        """
        F, C, L = len(poses.R), len(self._mount[1]), len(landmarks)
        rates = np.zeros((F, 6)) if poses.rates is None else poses.rates
        P = 6 * F if poses.rates is None else 6 * F + 6 * C + 1
        H, g = np.zeros((P, P)), np.zeros(P)
        cross = np.zeros((L, 3, P))
        H_points, g_points = np.zeros((L, 3, 3)), np.zeros((L, 3))
        normal = (H, g, cross, H_points, g_points)
        where = (poses.R, poses.p, fixed.R, fixed.p, rates)
        cost, errors = _accumulate(where, landmarks, self._mount, self._rows, self._noise, normal)
        slope, offset = _solve_points(H_points, g_points, cross)
        flat = cross.reshape(3 * L, P)
        H -= flat.T @ slope.reshape(3 * L, P)
        g += flat.T @ offset.reshape(3 * L)
        return Linearised((H + H.T) / 2, g, cost, errors, offset, slope)


def compile_kernels() -> None:
    """Have numba compile what is here, or load it from its cache, before the first frame waits for it."""
    none = np.zeros(0, np.int64)
    seen = Observations(none, none, none, np.zeros((0, 3)), np.zeros((0, 2, 3)))
    poses = Poses(np.eye(3)[None], np.zeros((1, 3)))
    VisionCost(seen, CameraMounts([np.eye(4)]), RobustPixels(1.0, 1.5)).at(poses, poses, np.zeros((0, 3)))


@njit(cache=True)
def _look(R, p, point, R_cam_body, p_body_cam, p_body, n):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202, PLR0913
    """Write the point in body coordinates and its unit direction in the camera; return its distance, m."""
    for i in range(3):
        p_body[i] = 0.0
        for j in range(3):
            p_body[i] += R[j, i] * (point[j] - p[j])
    for i in range(3):
        n[i] = 0.0
        for j in range(3):
            n[i] += R_cam_body[i, j] * (p_body[j] - p_body_cam[j])
    distance = max(np.sqrt(n[0] ** 2 + n[1] ** 2 + n[2] ** 2), 1e-3)
    for i in range(3):
        n[i] /= distance
    return distance


@njit(cache=True)
def _derive(distance, n, p_body, M, R_cam_body, R, rates, J):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202, PLR0913
    """Write the residual's derivatives (2, 16) by pose, mount, time offset and point, where `_look` has looked from."""
    A, B = np.empty(3), np.empty(3)
    for i in range(2):
        r = M[i, 0] * n[0] + M[i, 1] * n[1] + M[i, 2] * n[2]
        for j in range(3):  # B: the residual by p_cam
            B[j] = (M[i, j] - r * n[j]) / distance
        for j in range(3):  # A: the residual by p_body
            A[j] = B[0] * R_cam_body[0, j] + B[1] * R_cam_body[1, j] + B[2] * R_cam_body[2, j]
        J[i, 0] = A[1] * p_body[2] - A[2] * p_body[1]  # A [p_body]x
        J[i, 1] = A[2] * p_body[0] - A[0] * p_body[2]
        J[i, 2] = A[0] * p_body[1] - A[1] * p_body[0]
        J[i, 6] = (B[1] * n[2] - B[2] * n[1]) * distance  # B [p_cam]x
        J[i, 7] = (B[2] * n[0] - B[0] * n[2]) * distance
        J[i, 8] = (B[0] * n[1] - B[1] * n[0]) * distance
        J[i, 12] = 0.0
        for j in range(3):
            J[i, 3 + j] = -A[j]
            J[i, 9 + j] = -B[j]
            J[i, 12] += J[i, j] * rates[j] - A[j] * rates[3 + j]
            J[i, 13 + j] = R[j, 0] * A[0] + R[j, 1] * A[1] + R[j, 2] * A[2]


@njit(cache=True)
def _accumulate(where, landmarks, mount, seen, noise, out):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202, PLR0913
    """Add every sighting's normal equations to out; the cost, and each sighting's error in pixels."""
    R_cam_body, p_body_cam = mount
    R, p, R_fixed, p_fixed, rates = where
    frame, camera, landmark, bearing, M = seen
    sigma, huber = noise
    H, g, cross, H_points, g_points = out
    count, frames, cameras = len(frame), len(R), len(p_body_cam)
    width = 6 if len(g) == 6 * frames else 13  # with or without calibration
    errors = np.empty(count)
    cost = 0.0
    J = np.empty((2, 16))
    column = np.empty(13, np.int64)
    p_body, n, r = np.empty(3), np.empty(3), np.empty(2)
    for k in range(count):  # plain loops: small matrix products are calls to BLAS, ten times slower
        f, c, at_point = frame[k], camera[k], landmark[k]
        _look(R[f], p[f], landmarks[at_point], R_cam_body[c], p_body_cam[c], p_body, n)
        if n[0] * bearing[k, 0] + n[1] * bearing[k, 1] + n[2] * bearing[k, 2] <= 0.0:
            errors[k] = BEHIND_PX
            cost += (huber * (BEHIND_PX - huber / 2)) / sigma**2
            continue
        for i in range(2):
            r[i] = M[k, i, 0] * n[0] + M[k, i, 1] * n[1] + M[k, i, 2] * n[2]
        error = np.sqrt(r[0] ** 2 + r[1] ** 2)
        errors[k] = error
        bounded = min(error, huber)
        cost += bounded * (error - bounded / 2) / sigma**2
        weight = min(1.0, huber / max(error, 1e-9)) / sigma**2
        distance = _look(R_fixed[f], p_fixed[f], landmarks[at_point], R_cam_body[c], p_body_cam[c], p_body, n)
        _derive(distance, n, p_body, M[k], R_cam_body[c], R_fixed[f], rates[f], J)
        for a in range(6):
            column[a], column[6 + a] = 6 * f + a, 6 * frames + 6 * c + a
        column[12] = 6 * frames + 6 * cameras
        for a in range(width):
            wa0, wa1 = weight * J[0, a], weight * J[1, a]
            at = column[a]
            g[at] += wa0 * r[0] + wa1 * r[1]
            for b in range(width):
                H[at, column[b]] += wa0 * J[0, b] + wa1 * J[1, b]
            for b in range(3):
                cross[at_point, b, at] += wa0 * J[0, 13 + b] + wa1 * J[1, 13 + b]
        for a in range(3):
            wa0, wa1 = weight * J[0, 13 + a], weight * J[1, 13 + a]
            g_points[at_point, a] += wa0 * r[0] + wa1 * r[1]
            for b in range(3):
                H_points[at_point, a, b] += wa0 * J[0, 13 + b] + wa1 * J[1, 13 + b]
    return cost, errors


@njit(cache=True)
def _solve_points(H_points, g_points, cross):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Each landmark's slope by the poses (L, 3, 6F) and offset (L, 3)."""
    slope, offset, inverse = np.empty_like(cross), np.empty_like(g_points), np.empty((3, 3))
    for row in range(len(cross)):
        ridge = 1e-9 * (H_points[row, 0, 0] + H_points[row, 1, 1] + H_points[row, 2, 2]) + 1e-9
        a, b, c = H_points[row, 0, 0] + ridge, H_points[row, 0, 1], H_points[row, 0, 2]
        d, e, f = H_points[row, 1, 1] + ridge, H_points[row, 1, 2], H_points[row, 2, 2] + ridge
        A, B, C = d * f - e * e, c * e - b * f, b * e - c * d  # cofactors
        det = a * A + b * B + c * C
        inverse[0, 0], inverse[0, 1], inverse[0, 2] = A / det, B / det, C / det
        inverse[1, 1], inverse[1, 2], inverse[2, 2] = (
            (a * f - c * c) / det,
            (b * c - a * e) / det,
            (a * d - b * b) / det,
        )
        inverse[1, 0], inverse[2, 0], inverse[2, 1] = inverse[0, 1], inverse[0, 2], inverse[1, 2]
        for i in range(3):
            offset[row, i] = 0.0
            for j in range(3):
                offset[row, i] -= inverse[i, j] * g_points[row, j]
            for m in range(cross.shape[2]):
                slope[row, i, m] = (
                    inverse[i, 0] * cross[row, 0, m]
                    + inverse[i, 1] * cross[row, 1, m]
                    + inverse[i, 2] * cross[row, 2, m]
                )
    return slope, offset


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


@dataclass(frozen=True, eq=False)
class Triangulated:
    """Points where rays meet best."""

    points: np.ndarray  # (L, 3) m, odom
    information: np.ndarray  # (L,) least eigenvalue of the rays' spread, small where they are parallel
    ahead: np.ndarray  # (L,) bool, in front of every camera that saw it
    miss_rad: np.ndarray  # (L,) largest angle between a ray and the point


def triangulate(poses: Poses, seen: Observations, landmarks: int, mounts: CameraMounts) -> Triangulated:
    """Least-squares points of L landmarks from the rays of their sightings (Hartley and Sturm 1997, mid-point)."""
    R, p = poses.R, poses.p
    R_odom_cam = R[seen.frame] @ np.swapaxes(mounts.R_cam_body, 1, 2)[seen.camera]
    direction = (R_odom_cam @ seen.bearing[..., None])[..., 0]
    centre = p[seen.frame] + (R[seen.frame] @ mounts.p_body_cam[seen.camera][..., None])[..., 0]
    across = np.eye(3) - direction[:, :, None] * direction[:, None, :]
    H, b = np.zeros((landmarks, 3, 3)), np.zeros((landmarks, 3))
    np.add.at(H, seen.landmark, across)
    np.add.at(b, seen.landmark, (across @ centre[..., None])[..., 0])
    points = np.linalg.solve(H + 1e-12 * np.eye(3), b[..., None])[..., 0]
    ray = points[seen.landmark] - centre
    along = (ray * direction).sum(1)
    miss = np.linalg.norm(ray - along[:, None] * direction, axis=1) / np.maximum(np.linalg.norm(ray, axis=1), 1e-3)
    ahead, worst = np.ones(landmarks, bool), np.zeros(landmarks)
    np.logical_and.at(ahead, seen.landmark, along > 0.05)
    np.maximum.at(worst, seen.landmark, miss)
    return Triangulated(points, np.linalg.eigvalsh(H)[:, 0], ahead, worst)
