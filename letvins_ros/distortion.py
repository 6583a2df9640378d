# SPDX-License-Identifier: Apache-2.0
"""Radial and tangential lens distortion of the normalised image plane, and its inverse."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

_TABLE_RADIUS = (
    4.0  # starting points are tabulated up to here (76 degrees for a pinhole), Newton's method does the rest
)
_MAX_STEPS = 20


@dataclass(frozen=True)
class Distortion:
    """m (1 + k1 r^2 + k2 r^4 + ..) plus the tangential terms of Brown 1966, as OpenCV writes them.

    It is the gradient of a function that is strictly convex for r < max_radius, therefore one-to-one there.
    """

    radial: tuple[float, ...]  # k1, k2, ..
    tangential: tuple[float, float] = (0.0, 0.0)  # p1, p2

    @cached_property
    def max_radius(self) -> float:
        """Where the smallest eigenvalue of the Jacobian may first reach zero; inf when it never does."""
        pull = 6 * float(np.hypot(*self.tangential))  # the tangential part's eigenvalues are at least -pull * r
        roots: list[float] = []
        for slope in (1, 0):  # eigenvalues of the radial part: d(r f)/dr along the radius, f across it
            coefficients = [1.0, -pull]
            for i, k in enumerate(self.radial, start=1):
                coefficients += [k * (2 * i * slope + 1), 0.0]
            found = np.polynomial.Polynomial(coefficients).trim().roots()
            roots += [float(r.real) for r in np.atleast_1d(found) if abs(r.imag) < 1e-9 and r.real > 0]
        return min(roots, default=np.inf)

    @cached_property
    def _table(self) -> tuple[np.ndarray, np.ndarray]:
        """Distorted radii (rising) and the radii they come from."""
        r = np.linspace(0.0, min(self.max_radius, _TABLE_RADIUS), 513)
        return r * self._scale(r * r), r

    def _scale(self, r2: np.ndarray) -> np.ndarray:
        scale = np.zeros_like(r2)
        for k in reversed(self.radial):
            scale = (scale + k) * r2
        return scale + 1.0

    def apply(self, m: np.ndarray) -> np.ndarray:
        """Distorted points (N, 2) of points (N, 2)."""
        x, y = m[:, 0], m[:, 1]
        p1, p2 = self.tangential
        r2 = x * x + y * y
        bend = 2 * (p2 * x + p1 * y)
        out: np.ndarray = m * (self._scale(r2) + bend)[:, None] + r2[:, None] * np.array([p2, p1])
        return out

    def jacobian(self, m: np.ndarray) -> np.ndarray:
        """The derivatives (N, 2, 2), symmetric, of the distorted points by the points (N, 2)."""
        x, y = m[:, 0], m[:, 1]
        p1, p2 = self.tangential
        r2 = x * x + y * y
        slope = np.zeros_like(r2)  # d scale / d r2
        for i in range(len(self.radial), 0, -1):
            slope = slope * r2 + i * self.radial[i - 1]
        scale = self._scale(r2)
        out = np.empty((len(m), 2, 2))
        out[:, 0, 0] = scale + 2 * x * x * slope + 6 * p2 * x + 2 * p1 * y
        out[:, 1, 1] = scale + 2 * y * y * slope + 6 * p1 * y + 2 * p2 * x
        out[:, 0, 1] = out[:, 1, 0] = 2 * (x * y * slope + p1 * x + p2 * y)
        return out

    def invert(self, d: np.ndarray) -> np.ndarray:
        """Points (N, 2) whose distorted points are d (N, 2), to 1e-9; NaN where there is none in the domain."""
        if not any(self.radial) and not any(self.tangential):
            return d.copy()
        radius = np.hypot(d[:, 0], d[:, 1])
        ratio = np.interp(radius, *self._table) / np.where(radius > 0, radius, 1.0)
        m: np.ndarray = d * ratio[:, None]
        with np.errstate(all="ignore"):
            for _ in range(_MAX_STEPS):
                J, error = self.jacobian(m), d - self.apply(m)
                det = J[:, 0, 0] * J[:, 1, 1] - J[:, 0, 1] ** 2
                step_x = (J[:, 1, 1] * error[:, 0] - J[:, 0, 1] * error[:, 1]) / det
                step_y = (J[:, 0, 0] * error[:, 1] - J[:, 0, 1] * error[:, 0]) / det
                m[:, 0] += step_x
                m[:, 1] += step_y
                moving = ~(np.hypot(step_x, step_y) < 1e-9)
                if not moving.any():
                    break
            m[moving | ~(np.hypot(m[:, 0], m[:, 1]) < self.max_radius)] = np.nan
        return m
