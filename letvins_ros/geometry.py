# SPDX-License-Identifier: Apache-2.0
"""Rotations and rigid transforms on numpy arrays; everything works on batches (..., 3) and (..., 4, 4)."""

import numpy as np


def skew(v: np.ndarray) -> np.ndarray:
    """Cross-product matrices (..., 3, 3) of vectors (..., 3): skew(a) @ b = a x b."""
    out = np.zeros((*v.shape[:-1], 3, 3))
    out[..., 0, 1], out[..., 0, 2] = -v[..., 2], v[..., 1]
    out[..., 1, 0], out[..., 1, 2] = v[..., 2], -v[..., 0]
    out[..., 2, 0], out[..., 2, 1] = -v[..., 1], v[..., 0]
    return out


def exp_so3(rotvec: np.ndarray) -> np.ndarray:
    """Rotation matrices (..., 3, 3) of rotation vectors (..., 3), rad."""
    half = np.sqrt((rotvec * rotvec).sum(axis=-1))[..., None, None] / 2
    K, sinc = skew(rotvec), np.sinc(half / np.pi)
    return np.asarray(np.eye(3) + sinc * (np.cos(half) * K + sinc / 2 * (K @ K)))  # Rodrigues, by the half angle


def log_so3(R: np.ndarray) -> np.ndarray:
    """Rotation vectors (..., 3), rad, of rotation matrices (..., 3, 3)."""
    q = quaternion_xyzw(R)
    sine = np.sqrt((q[..., :3] * q[..., :3]).sum(axis=-1, keepdims=True))
    small = sine < 1e-9
    factor = np.where(small, 2.0, 2 * np.arctan2(sine, q[..., 3:]) / np.where(small, 1.0, sine))
    return np.asarray(q[..., :3] * factor)


def orthonormal(R: np.ndarray) -> np.ndarray:
    """The rotation (3, 3) next to a matrix that rounding has moved off the rotations (a Newton step)."""
    return np.asarray(1.5 * R - 0.5 * R @ R.T @ R)


def transform(R: np.ndarray, t: np.ndarray) -> np.ndarray:
    """Rigid transforms (..., 4, 4) from rotations (..., 3, 3) and translations (..., 3)."""
    T = np.zeros((*R.shape[:-2], 4, 4))
    T[..., :3, :3], T[..., :3, 3], T[..., 3, 3] = R, t, 1.0
    return T


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
    """Rigid transforms (..., 4, 4) from positions (..., 3) and quaternions x y z w (..., 4)."""
    q = np.asarray(quaternion_xyzw, float)
    return transform(_rotation(q / np.linalg.norm(q, axis=-1, keepdims=True)), np.asarray(position, float))


def quaternion_xyzw(R: np.ndarray) -> np.ndarray:
    """Unit quaternions x y z w (..., 4), w >= 0, of rotation matrices (..., 3, 3)."""
    K = np.empty((*R.shape[:-2], 4, 4))  # four times q times its transpose; its longest row is exact for every angle
    a, b, c = R[..., 0, 0], R[..., 1, 1], R[..., 2, 2]
    K[..., 0, 0], K[..., 1, 1], K[..., 2, 2] = 1 + a - b - c, 1 - a + b - c, 1 - a - b + c
    K[..., 3, 3] = 1 + a + b + c
    for i, j, k in ((0, 1, 2), (1, 2, 0), (2, 0, 1)):
        K[..., i, j] = K[..., j, i] = R[..., i, j] + R[..., j, i]
        K[..., k, 3] = K[..., 3, k] = R[..., j, i] - R[..., i, j]
    longest = np.argmax(np.diagonal(K, axis1=-2, axis2=-1), axis=-1)
    q = np.take_along_axis(K, longest[..., None, None], axis=-2)[..., 0, :]
    q /= np.sqrt((q * q).sum(axis=-1, keepdims=True))
    return np.asarray(np.where(q[..., 3:] < 0, -q, q))


def _rotation(q: np.ndarray) -> np.ndarray:
    """Rotation matrices (..., 3, 3) of unit quaternions x y z w (..., 4)."""
    x, y, z, w = np.moveaxis(q, -1, 0)
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    return np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)


def align_se3(p_a: np.ndarray, p_b: np.ndarray) -> np.ndarray:
    """T_a_b (4, 4) that best takes points p_b (N, 3) to p_a (N, 3) in least squares (Umeyama 1991, scale 1)."""
    mean_a, mean_b = p_a.mean(0), p_b.mean(0)
    u, _, vt = np.linalg.svd((p_a - mean_a).T @ (p_b - mean_b))
    R = u @ np.diag([1.0, 1.0, np.linalg.det(u @ vt)]) @ vt
    return transform(R, mean_a - R @ mean_b)


def rotation_between(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The smallest rotation (3, 3) that takes direction a to direction b."""
    a, b = a / np.linalg.norm(a), b / np.linalg.norm(b)
    axis, cosine = np.cross(a, b), float(a @ b)
    if cosine < -1 + 1e-9:  # opposite: any axis across a
        across = np.cross(a, np.eye(3)[np.argmin(np.abs(a))])
        return exp_so3(np.pi * across / np.linalg.norm(across))
    K = skew(axis)
    return np.eye(3) + K + K @ K / (1 + cosine)
