# SPDX-License-Identifier: Apache-2.0
import numpy as np

from letvins_ros.geodesy import east_north_up, ecef

DEGREE = np.array([1, 1 / 60, 1 / 3600])
PLACE = np.array([DEGREE @ (53, 48, 33.82), DEGREE @ (2, 7, 46.38), 73.0])


def test_the_example_of_the_guidance_note() -> None:
    """IOGP 373-7-2, 4.1.1 and 4.1.2."""
    np.testing.assert_allclose(ecef(PLACE), [3771793.968, 140253.342, 5124304.349], atol=1e-3)
    np.testing.assert_allclose(
        east_north_up(PLACE, np.array([55.0, 5.0, 200.0])), [-189013.869, -128642.040, -4220.171], atol=1e-3
    )


def test_near_the_datum_a_degree_is_as_long_as_the_ellipsoid_is_curved() -> None:
    at_the_equator = east_north_up(np.array([[0, 1e-5, 0], [1e-5, 0, 0], [0, 0, 2.0]]), np.zeros(3))
    north = 1e-5 * np.pi / 180 * 6335439.327  # the meridian's radius there, a (1 - e^2)
    np.testing.assert_allclose(at_the_equator, [[1.1131949, 0.0, 0.0], [0.0, north, 0.0], [0.0, 0.0, 2.0]], atol=1e-6)
