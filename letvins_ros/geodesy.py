# SPDX-License-Identifier: Apache-2.0
"""Positions on the earth's ellipsoid WGS84 in metres east, north, up of a datum (IOGP guidance note 7-2, 4.1)."""

import numpy as np

SEMI_MAJOR_M, FLATTENING = 6378137.0, 1 / 298.257223563
ECCENTRICITY2 = FLATTENING * (2 - FLATTENING)


def ecef(geodetic: np.ndarray) -> np.ndarray:
    """Earth-centred coordinates (..., 3), m, of latitude and longitude in degrees and height in m (..., 3)."""
    latitude, longitude, height = np.radians(geodetic[..., 0]), np.radians(geodetic[..., 1]), geodetic[..., 2]
    radius = SEMI_MAJOR_M / np.sqrt(1 - ECCENTRICITY2 * np.sin(latitude) ** 2)  # of the prime vertical
    across = (radius + height) * np.cos(latitude)
    up = (radius * (1 - ECCENTRICITY2) + height) * np.sin(latitude)
    return np.stack([across * np.cos(longitude), across * np.sin(longitude), up], axis=-1)


def east_north_up(geodetic: np.ndarray, datum: np.ndarray) -> np.ndarray:
    """Metres east, north and up (..., 3) of the datum (3,), both given as for `ecef`."""
    (s, c), (sl, cl) = ((np.sin(angle), np.cos(angle)) for angle in np.radians(datum[:2]))
    R_enu_ecef = np.array([[-sl, cl, 0], [-s * cl, -s * sl, c], [c * cl, c * sl, s]])
    return np.asarray((ecef(geodetic) - ecef(datum)) @ R_enu_ecef.T)
