# SPDX-License-Identifier: Apache-2.0
"""Rotations and rigid transforms on numpy arrays; everything works on batches (..., 3) and (..., 4, 4).

Without scipy's rotations, whose import takes 40 MB in every process.
"""

import numpy as np

from letvins_ros.errors import DataError

SHORTEST = 1e-6  # quaternion that says which way it turns
SMALL_RAD = 1e-3  # below, series stand for quotients that become 0 / 0


def skew(v: np.ndarray) -> np.ndarray:
    """Cross-product matrices (..., 3, 3) of vectors (..., 3): skew(a) @ b = a x b."""
    out = np.zeros((*v.shape[:-1], 3, 3))
    out[..., 0, 1], out[..., 0, 2] = -v[..., 2], v[..., 1]
    out[..., 1, 0], out[..., 1, 2] = v[..., 2], -v[..., 0]
    out[..., 2, 0], out[..., 2, 1] = -v[..., 1], v[..., 0]
    return out


def exp_so3(rotvec: np.ndarray) -> np.ndarray:
    """Rotation matrices (..., 3, 3) of rotation vectors (..., 3), rad."""
    angle = _norm(rotvec)
    small = angle <= SMALL_RAD
    series = 0.5 - angle**2 / 48 + angle**4 / 3840
    scale = np.where(small, series, np.sin(angle / 2) / np.where(small, 1.0, angle))
    return _rotations(np.concatenate([scale * rotvec, np.cos(angle / 2)], axis=-1))


def log_so3(R: np.ndarray) -> np.ndarray:
    """Rotation vectors (..., 3), rad, of rotation matrices (..., 3, 3)."""
    q = quaternion_xyzw(R)
    angle = 2 * np.arctan2(_norm(q[..., :3]), q[..., 3:])
    small = angle <= SMALL_RAD
    series = 2 + angle**2 / 12 + 7 * angle**4 / 2880
    return np.asarray(np.where(small, series, angle / np.where(small, 1.0, np.sin(angle / 2))) * q[..., :3])


def _norm(v: np.ndarray) -> np.ndarray:
    """Lengths (..., 1) of vectors (..., n)."""
    return np.sqrt((v * v).sum(-1, keepdims=True))


def _rotations(q_xyzw: np.ndarray) -> np.ndarray:
    """Rotation matrices (..., 3, 3) of unit quaternions (..., 4)."""
    x, y, z, w = np.moveaxis(q_xyzw, -1, 0)
    xx, yy, zz, ww = x * x, y * y, z * z, w * w
    R = np.empty((*x.shape, 3, 3))
    R[..., 0, 0], R[..., 1, 1], R[..., 2, 2] = xx - yy - zz + ww, -xx + yy - zz + ww, -xx - yy + zz + ww
    for i, j, a, b in ((0, 1, x * y, z * w), (2, 0, x * z, y * w), (1, 2, y * z, x * w)):
        R[..., i, j], R[..., j, i] = 2 * (a - b), 2 * (a + b)
    return R


def orthonormal(R: np.ndarray) -> np.ndarray:
    """The rotation (3, 3) next to a matrix that rounding has moved off the rotations (a Newton step)."""
    return np.asarray(1.5 * R - 0.5 * R @ R.T @ R)


def yaw_rotation(angle: float) -> np.ndarray:
    """The rotation (3, 3) about z by an angle, rad."""
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1.0]])


def transform(R: np.ndarray, t: np.ndarray) -> np.ndarray:
    """Rigid transforms (..., 4, 4) from rotations (..., 3, 3) and translations (..., 3)."""
    T = np.zeros((*R.shape[:-2], 4, 4))
    T[..., :3, :3], T[..., :3, 3], T[..., 3, 3] = R, t, 1.0
    return T


def distance_and_angle(T_a_b: np.ndarray) -> tuple[float, float]:
    """How far, m, and by how much, rad, a motion (4, 4) moves and turns."""
    return float(np.linalg.norm(T_a_b[:3, 3])), float(np.linalg.norm(log_so3(T_a_b[:3, :3])))


def inverse(T_a_b: np.ndarray) -> np.ndarray:
    """T_b_a (..., 4, 4) of rigid T_a_b (..., 4, 4)."""
    R_b_a = np.swapaxes(T_a_b[..., :3, :3], -1, -2)
    return transform(R_b_a, -(R_b_a @ T_a_b[..., :3, 3:])[..., 0])


def apply(T_a_b: np.ndarray, p_b: np.ndarray) -> np.ndarray:
    """Points (..., N, 3) of frame b in frame a."""
    return p_b @ np.swapaxes(T_a_b[..., :3, :3], -1, -2) + T_a_b[..., None, :3, 3]


def adjoint(T_a_b: np.ndarray) -> np.ndarray:
    """Matrices (..., 6, 6) that take twists (rotation, position) of b to a, for T_a_b (..., 4, 4)."""
    R, t = T_a_b[..., :3, :3], T_a_b[..., :3, 3]
    A = np.zeros((*R.shape[:-2], 6, 6))
    A[..., :3, :3] = A[..., 3:, 3:] = R
    A[..., 3:, :3] = skew(t) @ R
    return A


def from_quaternion(position: np.ndarray, quaternion_xyzw: np.ndarray) -> np.ndarray:
    """Rigid transforms (..., 4, 4) from positions (..., 3) and quaternions x y z w (..., 4) of any length.

    Raises DataError for a quaternion of length zero, or numbers that are not finite.
    """
    if not (np.isfinite(quaternion_xyzw).all() and np.isfinite(position).all()):
        raise DataError("a pose is not finite")
    if np.linalg.norm(quaternion_xyzw, axis=-1).min(initial=1.0) < SHORTEST:
        raise DataError("a quaternion has the length zero")
    return transform(_rotations(quaternion_xyzw / _norm(quaternion_xyzw)), np.asarray(position, float))


def vector_from_text(text: str) -> np.ndarray:
    """Three numbers (3,); ValueError for others."""
    values = np.array([float(word) for word in text.replace(",", " ").split()])
    if len(values) != 3 or not np.isfinite(values).all():
        raise ValueError(f"{text!r} is not three numbers")
    return values


def pose_from_text(text: str) -> np.ndarray:
    """Rigid transform (4, 4) of seven numbers, x y z and a quaternion x y z w of any length; ValueError for others."""
    values = np.array([float(word) for word in text.replace(",", " ").split()])
    if len(values) != 7 or not np.isfinite(values).all() or np.linalg.norm(values[3:]) < SHORTEST:
        raise ValueError(f"{text!r} is not seven numbers: x y z, then a quaternion x y z w")
    return from_quaternion(values[:3], values[3:])


def quaternion_xyzw(R: np.ndarray) -> np.ndarray:
    """Unit quaternions x y z w (..., 4), w >= 0, of rotation matrices (..., 3, 3)."""
    off = np.stack([R[..., 2, 1] - R[..., 1, 2], R[..., 0, 2] - R[..., 2, 0], R[..., 1, 0] - R[..., 0, 1]], axis=-1)
    diagonal = np.diagonal(R, axis1=-2, axis2=-1)
    trace = diagonal.sum(-1, keepdims=True)
    # 4 q q^T: each of its columns is q but for the length, the largest one to the full precision (Shepperd 1978)
    Q = np.empty((*R.shape[:-2], 4, 4))
    Q[..., :3, :3] = R + np.swapaxes(R, -1, -2)
    Q[..., 0, 0], Q[..., 1, 1], Q[..., 2, 2] = np.moveaxis(1 - trace + 2 * diagonal, -1, 0)
    Q[..., :3, 3] = Q[..., 3, :3] = off
    Q[..., 3, 3] = 1 + trace[..., 0]
    largest = np.argmax(np.concatenate([diagonal, trace], axis=-1), axis=-1)
    q = np.take_along_axis(Q, largest[..., None, None], axis=-1)[..., 0]
    q = q / _norm(q)
    return np.asarray(np.where(q[..., 3:] < 0, -q, q))


def align_se3(p_a: np.ndarray, p_b: np.ndarray) -> np.ndarray:
    """T_a_b (4, 4) that best takes points p_b (N, 3) to p_a (N, 3) in least squares (Umeyama 1991, scale 1)."""
    mean_a, mean_b = p_a.mean(0), p_b.mean(0)
    u, _, vt = np.linalg.svd((p_a - mean_a).T @ (p_b - mean_b))
    R = u @ np.diag([1.0, 1.0, np.linalg.det(u @ vt)]) @ vt
    return transform(R, mean_a - R @ mean_b)


def align_sim3(p_a: np.ndarray, p_b: np.ndarray) -> tuple[float, np.ndarray]:
    """Scale s and T_a_b (4, 4) with which T_a_b (s p_b) fits p_a best, points (N, 3) (Umeyama 1991, eq. 40 to 43)."""
    mean_a, mean_b = p_a.mean(0), p_b.mean(0)
    u, singular, vt = np.linalg.svd((p_a - mean_a).T @ (p_b - mean_b))
    signs = np.array([1.0, 1.0, np.linalg.det(u @ vt)])
    scale = float(singular @ signs / ((p_b - mean_b) ** 2).sum())
    return scale, align_se3(p_a, scale * p_b)


def rotation_between(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The smallest rotation (3, 3) that takes direction a to direction b."""
    a, b = a / np.linalg.norm(a), b / np.linalg.norm(b)
    axis, cosine = np.cross(a, b), float(a @ b)
    if cosine < -1 + 1e-9:  # opposite: any axis across a
        across = np.cross(a, np.eye(3)[np.argmin(np.abs(a))])
        return exp_so3(np.pi * across / np.linalg.norm(across))
    K = skew(axis)
    return np.eye(3) + K + K @ K / (1 + cosine)


def image_roll(T_up_cam: np.ndarray) -> float:
    """Angle in an image, rad, from its y axis to where down points; 0 where the camera (4, 4) looks up or down.

    T_up_cam is in a frame whose z axis points up.
    """
    down = -T_up_cam[2, :2]
    return float(np.arctan2(-down[0], down[1])) if np.hypot(*down) > 0.2 else 0.0
