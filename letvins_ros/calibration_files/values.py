# SPDX-License-Identifier: Apache-2.0
"""Numbers and transforms under the keys of a calibration file."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from letvins_ros.errors import CalibrationError
from letvins_ros.geometry import from_quaternion

Plain = dict[str, Any]

_ROTATION_TOLERANCE = 5e-3  # files are rounded to a few digits, and some matrices are simply wrong


@contextmanager
def named(where: object) -> Iterator[None]:
    """Put the place in front of a CalibrationError's message."""
    try:
        yield
    except CalibrationError as e:
        raise CalibrationError(f"{where}: {e}") from None


def value(d: object, key: str) -> Any:
    """Look up a key that must be there."""
    if not isinstance(d, dict) or key not in d:
        raise CalibrationError(f"{key} is missing")
    return d[key]


def numbers(d: object, key: str, count: int | None = None) -> list[float]:
    """Read the finite numbers under a key, flat: one number, a list, a list of rows, or a matrix with `data`."""
    found = value(d, key)
    found = found.get("data") if isinstance(found, dict) else found
    try:
        out = [float(v) for v in np.ravel(np.array(found, dtype=object))]
    except (TypeError, ValueError, OverflowError):
        raise CalibrationError(f"{key} must hold numbers, got {str(found)[:60]}") from None
    if not np.isfinite(out).all():
        raise CalibrationError(f"{key} must hold finite numbers, got {out}")
    if count not in (None, len(out)):
        raise CalibrationError(f"{key} must hold {count} numbers, got {len(out)}")
    return out


def number(d: object, key: str) -> float:
    """Read the one finite number under a key."""
    return numbers(d, key, 1)[0]


def rigid_error(T: np.ndarray) -> float:
    """How far T is from rigid: the largest entry of R^T R - I; inf for a mirror, a wrong last row, no (4, 4) or NaN."""
    if T.shape != (4, 4) or not np.isfinite(T).all() or np.abs(T[3] - (0, 0, 0, 1)).max() > 1e-9:
        return np.inf
    R = T[:3, :3]
    return float(np.abs(R.T @ R - np.eye(3)).max()) if np.linalg.det(R) > 0 else np.inf


def rigid(d: object, key: str) -> np.ndarray:
    """Read the rigid transform (4, 4) under a key, row by row; a rotation rounded to few digits is mended."""
    return mended(np.reshape(numbers(d, key, 16), (4, 4)), key)


def pose(position: list[float], quaternion: list[float], key: str) -> np.ndarray:
    """T (4, 4) of a position and a quaternion x y z w, which may be rounded; CalibrationError where it is no unit."""
    norm = float(np.linalg.norm(quaternion))
    if abs(norm - 1) > 1e-2:
        raise CalibrationError(f"{key} must be a unit quaternion, its length is {norm:.3g}")
    return from_quaternion(np.array([position]), np.array([quaternion]) / norm)[0]


def mended(T: np.ndarray, key: str) -> np.ndarray:
    """T (4, 4) with a rotation that is one to the last digit; CalibrationError where it is none by far."""
    error = rigid_error(T)
    if error > _ROTATION_TOLERANCE:
        raise CalibrationError(
            f"{key} is no rigid transform: its rotation is off by {error:.2g}, at most {_ROTATION_TOLERANCE} is mended "
            f"(determinant {np.linalg.det(T[:3, :3]):.3g}, last row {T[3].tolist()})"
        )
    if error > 1e-10:  # else as it is, so that writing and reading changes nothing
        u, _, vt = np.linalg.svd(T[:3, :3])
        T[:3, :3] = u @ vt
    return T
