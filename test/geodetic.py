# SPDX-License-Identifier: Apache-2.0
"""GNSS for tests: the way from metres back to degrees, which the package does not need."""

import numpy as np

from letvins_ros.geodesy import east_north_up

DATUM = np.array([47.3769, 8.5417, 408.0])  # latitude, longitude, height


def geodetic(p_enu: np.ndarray) -> np.ndarray:
    """Latitude, longitude, height (N, 3) of positions (N, 3) east, north, up of DATUM, by Newton's method."""
    out, step = np.tile(DATUM, (len(p_enu), 1)), np.array([1e-6, 1e-6, 1e-2])
    for _ in range(4):
        here = east_north_up(out, DATUM)
        J = np.stack([(east_north_up(out + step * e, DATUM) - here) / step[i] for i, e in enumerate(np.eye(3))], -1)
        out = out + np.linalg.solve(J, (p_enu - here)[..., None])[..., 0]
    return out
