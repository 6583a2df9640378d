# SPDX-License-Identifier: Apache-2.0
"""Radial and tangential lens distortion of the normalised image plane, and its inverse."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

_TABLE_RADIUS = 4.0  # starting points are tabulated up to here (76 degrees for a pinhole)
_MAX_STEPS = 20
_NEGLIGIBLE = 1e-100  # a coefficient that changes no digit
_LAST_STEP = 1e-6  # the error that Newton's method leaves is about the square of its last step


@dataclass(frozen=True)
class Distortion:
    """m (1 + k1 r^2 + k2 r^4 + ..) plus the tangential terms of Brown 1966, as OpenCV writes them.

    OpenCV's rational model divides the sum by 1 + k4 r^2 + k5 r^4 + k6 r^6. It is the gradient of a function that is
    strictly convex for r < max_radius, therefore one-to-one there.
    """

    radial: tuple[float, ...]  # k1, k2, ..
    tangential: tuple[float, float] = (0.0, 0.0)  # p1, p2
    divisor: tuple[float, ...] = ()  # k4, k5, k6

    @cached_property
    def max_radius(self) -> float:
        """Where the smallest eigenvalue of the Jacobian may first reach zero; inf when it never does."""
        pull = 6 * float(np.hypot(*self.tangential))  # the tangential part's eigenvalues are at least -pull * r
        roots: list[float] = []
        for slope in (1, 0):  # eigenvalues of the radial part: d(r f)/dr along the radius, f across it
            if self.divisor:
                coefficients = self._rational_eigenvalue(slope, pull)
            else:
                coefficients = [1.0, -pull]
                for i, k in enumerate(self.radial, start=1):
                    coefficients += [k * (2 * i * slope + 1), 0.0]
            found = np.polynomial.Polynomial(coefficients).trim(_NEGLIGIBLE).roots()
            roots += [float(r.real) for r in np.atleast_1d(found).astype(complex) if abs(r.imag) < 1e-9 and r.real > 0]
        return min(roots, default=np.inf)

    def _rational_eigenvalue(self, slope: int, pull: float) -> list[float]:
        """Coefficients in r of the numerator of an eigenvalue less its tangential part; zero too where f has a pole."""
        n, d = (np.polynomial.Polynomial(_in_radius(ks)) for ks in (self.radial, self.divisor))
        r = np.polynomial.Polynomial([0.0, 1.0])
        along = n * d + slope * r * (n.deriv() * d - n * d.deriv()) - pull * r * d * d
        return [float(c) for c in (along * d).coef]

    @cached_property
    def _table(self) -> tuple[np.ndarray, np.ndarray]:
        """Distorted radii (rising) and the radii they come from."""
        r = np.linspace(0.0, min(self.max_radius, _TABLE_RADIUS), 513)
        factor = np.polynomial.polynomial.polyval(r * r, (1.0, *self.radial))
        if self.divisor:
            factor = factor / np.polynomial.polynomial.polyval(r * r, (1.0, *self.divisor))
        return r * factor, r

    def _expand(self, z: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Distorted points and their derivatives by z (real) and by conj(z), of complex points z = x + iy (N,)."""
        c = complex(self.tangential[1], self.tangential[0])
        r2, bend = z.real**2 + z.imag**2, 2 * (c.real * z.real + c.imag * z.imag)
        scale = slope = 0.0  # radial factor and its derivative by r2
        for k in reversed((1.0, *self.radial)):
            scale, slope = scale * r2 + k, slope * r2 + scale
        if self.divisor:
            below = falling = 0.0
            for k in reversed((1.0, *self.divisor)):
                below, falling = below * r2 + k, falling * r2 + below
            scale, slope = scale / below, (slope * below - scale * falling) / below**2
        return z * (scale + bend) + r2 * c, scale + slope * r2 + 2 * bend, z * (slope * z + 2 * c)

    def apply(self, m: np.ndarray) -> np.ndarray:
        """Distorted points (N, 2) of points (N, 2)."""
        return _real(self._expand(_complex(m))[0])

    def jacobian(self, m: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Distorted points (N, 2) and their derivatives (N, 2, 2), symmetric, by the points (N, 2)."""
        at, a, b = self._expand(_complex(m))
        return _real(at), np.stack([a + b.real, b.imag, b.imag, a - b.real], axis=-1).reshape(-1, 2, 2)

    def invert(self, d: np.ndarray) -> np.ndarray:
        """Points (N, 2) whose distorted points are d (N, 2), to 1e-9; NaN where there is none in the domain."""
        if not any(self.radial) and not any(self.tangential) and not any(self.divisor):
            return d.copy()
        target = _complex(d)
        radius = np.abs(target)
        z = target * (np.interp(radius, *self._table) / np.where(radius > 0, radius, 1.0))
        with np.errstate(all="ignore"):
            for _ in range(_MAX_STEPS):
                at, a, b = self._expand(z)
                error = target - at
                step = (a * error - b * error.conj()) / (a * a - b.real**2 - b.imag**2)
                z = z + step
                moving = np.abs(step) >= _LAST_STEP  # not a number: there is none
                if not moving.any():
                    break
            z[moving | ~(np.abs(z) < self.max_radius)] = np.nan
        return _real(z)


def _in_radius(ks: tuple[float, ...]) -> list[float]:
    """Coefficients in r of 1 + k1 r^2 + k2 r^4 + .."""
    return [1.0] + [c for k in ks for c in (0.0, k)]


def _complex(m: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(m, float).view(complex)[:, 0]


def _real(z: np.ndarray) -> np.ndarray:
    return z[:, None].view(float)
