# SPDX-License-Identifier: Apache-2.0
"""Ideal lenses: points in the camera frame to the normalised image plane and back, without distortion."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np


class Lens(Protocol):
    """A one-to-one map of directions to the plane."""

    def flatten(self, p: np.ndarray) -> np.ndarray:
        """Plane points (N, 2) of points (N, 3); NaN outside the domain."""
        ...

    def jacobian(self, p: np.ndarray) -> np.ndarray:
        """The derivatives (N, 2, 3) of the plane points by the points (N, 3)."""
        ...

    def lift(self, m: np.ndarray) -> np.ndarray:
        """The unit bearings (N, 3) of plane points (N, 2); NaN where there is none."""
        ...


def _ratio_jacobian(p: np.ndarray, n: np.ndarray, dn: np.ndarray) -> np.ndarray:
    """The derivatives (N, 2, 3) of (x, y) / n, where dn (N, 3) are those of n (N,)."""
    out: np.ndarray = -(p[:, :2] / n[:, None] ** 2)[:, :, None] * dn[:, None, :]
    out[:, 0, 0] += 1 / n
    out[:, 1, 1] += 1 / n
    return out


@dataclass(frozen=True)
class UnifiedSphere:
    """Mei and Rives 2007: onto the unit sphere, then from a point xi behind its centre; xi = 0 is the pinhole."""

    xi: float

    def flatten(self, p: np.ndarray) -> np.ndarray:
        """See Lens."""
        d, z = np.linalg.norm(p, axis=1), p[:, 2]
        inside = z > -d * min(self.xi, 1 / max(self.xi, 1e-12))  # beyond, two directions share a plane point
        return p[:, :2] / np.where(inside, z + self.xi * d, np.nan)[:, None]

    def jacobian(self, p: np.ndarray) -> np.ndarray:
        """See Lens."""
        d = np.linalg.norm(p, axis=1)
        return _ratio_jacobian(p, p[:, 2] + self.xi * d, self.xi * p / d[:, None] + (0.0, 0.0, 1.0))

    def lift(self, m: np.ndarray) -> np.ndarray:
        """See Lens."""
        r2 = np.einsum("ni,ni->n", m, m)
        factor = (self.xi + np.sqrt(1 + (1 - self.xi**2) * r2)) / (r2 + 1)
        return np.column_stack([m * factor[:, None], factor - self.xi])


@dataclass(frozen=True)
class AngleLens:
    """The plane's radius is the angle from the optical axis (Kannala and Brandt 2006 distort this radius)."""

    def flatten(self, p: np.ndarray) -> np.ndarray:
        """See Lens."""
        m: np.ndarray = p[:, :2] * self._angle_ratio(p)[:, None]
        return m

    def jacobian(self, p: np.ndarray) -> np.ndarray:
        """See Lens."""
        xy, r2 = p[:, :2], np.einsum("ni,ni->n", p[:, :2], p[:, :2])
        d2, ratio = r2 + p[:, 2] ** 2, self._angle_ratio(p)
        bend = (p[:, 2] / d2 - ratio) / np.where(r2 > 0, r2, np.inf)
        out = np.empty((len(p), 2, 3))
        out[:, :, :2] = xy[:, :, None] * xy[:, None, :] * bend[:, None, None] + ratio[:, None, None] * np.eye(2)
        out[:, :, 2] = -xy / d2[:, None]
        return out

    def lift(self, m: np.ndarray) -> np.ndarray:
        """See Lens."""
        angle = np.hypot(m[:, 0], m[:, 1])
        angle = np.where(angle < np.pi, angle, np.nan)
        return np.column_stack([m * np.sinc(angle / np.pi)[:, None], np.cos(angle)])

    @staticmethod
    def _angle_ratio(p: np.ndarray) -> np.ndarray:
        """Angle over distance from the axis (N,); on the axis its limit in front, NaN behind."""
        r, z = np.hypot(p[:, 0], p[:, 1]), p[:, 2]
        on_axis = 1 / np.where(z > 0, z, np.nan)
        return np.where(r > 0, np.arctan2(r, z) / np.where(r > 0, r, 1.0), on_axis)


@dataclass(frozen=True)
class FovLens:
    """Devernay and Faugeras 2001: the plane's radius grows as the angle seen from a point nearer by 2 tan(w / 2)."""

    w: float  # rad

    @property
    def _stretch(self) -> float:
        return 2 * float(np.tan(self.w / 2))

    def flatten(self, p: np.ndarray) -> np.ndarray:
        """See Lens."""
        m: np.ndarray = p[:, :2] * self._ratio(p)[:, None]
        return m

    def jacobian(self, p: np.ndarray) -> np.ndarray:
        """See Lens."""
        xy, r2 = p[:, :2], np.einsum("ni,ni->n", p[:, :2], p[:, :2])
        ratio, slope = self._ratio(p), self._stretch / (self.w * (p[:, 2] ** 2 + self._stretch**2 * r2))
        bend = (slope * p[:, 2] - ratio) / np.where(r2 > 0, r2, np.inf)
        out = np.empty((len(p), 2, 3))
        out[:, :, :2] = xy[:, :, None] * xy[:, None, :] * bend[:, None, None] + ratio[:, None, None] * np.eye(2)
        out[:, :, 2] = -xy * slope[:, None]
        return out

    def lift(self, m: np.ndarray) -> np.ndarray:
        """See Lens."""
        radius = np.hypot(m[:, 0], m[:, 1])
        angle = np.where(radius * self.w < np.pi / 2, radius * self.w, np.nan)
        p = np.column_stack([m * (self.w * np.sinc(angle / np.pi) / self._stretch)[:, None], np.cos(angle)])
        return np.asarray(p / np.linalg.norm(p, axis=1, keepdims=True))

    def _ratio(self, p: np.ndarray) -> np.ndarray:
        """Radius in the plane over distance from the axis (N,); NaN behind the camera, where directions come again."""
        r, z = np.hypot(p[:, 0], p[:, 1]), np.where(p[:, 2] > 0, p[:, 2], np.nan)
        on_axis = self._stretch / (self.w * z)
        return np.where(r > 0, np.arctan(self._stretch * r / z) / (self.w * np.where(r > 0, r, 1.0)), on_axis)


@dataclass(frozen=True)
class EllipsoidLens:
    """The enhanced unified camera model of Khomutenko, Garcia and Martinet 2016; beta = 1 is a unified sphere."""

    alpha: float
    beta: float

    def flatten(self, p: np.ndarray) -> np.ndarray:
        """See Lens."""
        d, z = self._distance(p), p[:, 2]
        inside = z > -d * min(self.alpha, 1 - self.alpha) / max(self.alpha, 1 - self.alpha)
        return p[:, :2] / np.where(inside, self.alpha * d + (1 - self.alpha) * z, np.nan)[:, None]

    def jacobian(self, p: np.ndarray) -> np.ndarray:
        """See Lens."""
        d = self._distance(p)
        dn = self.alpha * p * (self.beta, self.beta, 1.0) / d[:, None] + (0.0, 0.0, 1 - self.alpha)
        return _ratio_jacobian(p, self.alpha * d + (1 - self.alpha) * p[:, 2], dn)

    def lift(self, m: np.ndarray) -> np.ndarray:
        """See Lens."""
        r2, alpha, rest = np.einsum("ni,ni->n", m, m), self.alpha, 1 - self.alpha
        root = np.sqrt(1 - (alpha - rest) * self.beta * r2)
        p = np.column_stack([m, (1 - self.beta * alpha**2 * r2) / (alpha * root + rest)])
        return np.asarray(p / np.linalg.norm(p, axis=1, keepdims=True))

    def _distance(self, p: np.ndarray) -> np.ndarray:
        return np.asarray(np.sqrt(self.beta * (p[:, 0] ** 2 + p[:, 1] ** 2) + p[:, 2] ** 2))


@dataclass(frozen=True)
class DoubleSphere:
    """Usenko, Demmel and Cremers 2018."""

    xi: float
    alpha: float

    def flatten(self, p: np.ndarray) -> np.ndarray:
        """See Lens."""
        n, shifted, _, d2 = self._spheres(p)
        limit = min(self.alpha, 1 - self.alpha) / max(self.alpha, 1 - self.alpha)
        inside = shifted > -limit * d2  # exact for every xi and alpha, unlike the paper's bound on z
        return p[:, :2] / np.where(inside, n, np.nan)[:, None]

    def jacobian(self, p: np.ndarray) -> np.ndarray:
        """See Lens."""
        n, shifted, d1, d2 = self._spheres(p)
        d_shifted = self.xi * p / d1[:, None] + (0.0, 0.0, 1.0)
        d_d2 = (p * (1.0, 1.0, 0.0) + shifted[:, None] * d_shifted) / d2[:, None]
        return _ratio_jacobian(p, n, self.alpha * d_d2 + (1 - self.alpha) * d_shifted)

    def lift(self, m: np.ndarray) -> np.ndarray:
        """See Lens."""
        r2, alpha, xi = np.einsum("ni,ni->n", m, m), self.alpha, self.xi
        mz = (1 - alpha**2 * r2) / (alpha * np.sqrt(1 - (2 * alpha - 1) * r2) + 1 - alpha)
        factor = (mz * xi + np.sqrt(mz**2 + (1 - xi**2) * r2)) / (mz**2 + r2)
        return np.column_stack([m * factor[:, None], factor * mz - xi])

    def _spheres(self, p: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Divisor, z seen from the second sphere, and the distances from both centres, each (N,)."""
        d1 = np.linalg.norm(p, axis=1)
        shifted = self.xi * d1 + p[:, 2]
        d2 = np.sqrt(p[:, 0] ** 2 + p[:, 1] ** 2 + shifted**2)
        return self.alpha * d2 + (1 - self.alpha) * shifted, shifted, d1, d2
