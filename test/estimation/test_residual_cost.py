# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from letvins_ros.estimation.calibration_variables import TIME_OFFSET, TimeOffset
from letvins_ros.estimation.costs.residual import Residual, ResidualCost
from letvins_ros.estimation.solver import minimise
from letvins_ros.estimation.variables import Layout, Values


def measured(value: float, std: float = 0.1, cauchy: float = np.inf) -> ResidualCost:
    """A reading of the time offset's square."""

    def residual(values: Values) -> np.ndarray:
        return np.array([values[TIME_OFFSET].seconds ** 2 - value])

    return ResidualCost((TIME_OFFSET,), Residual(residual, np.array([std])), cauchy)


def at(x: float) -> Values:
    return Values({TIME_OFFSET: TimeOffset(x)})


def test_cost_and_gradient_are_those_of_half_the_squares() -> None:
    linear = measured(4.0).linearised(at(3.0), at(3.0))
    assert linear.cost == pytest.approx((5 / 0.1) ** 2 / 2)
    assert linear.g[0] == pytest.approx(5 * 6 / 0.1**2, rel=1e-6)
    assert linear.H[0, 0] == pytest.approx((6 / 0.1) ** 2, rel=1e-6)


def test_derivatives_are_taken_where_the_prior_has_fixed_them() -> None:
    linear = measured(4.0).linearised(at(3.0), at(1.0))
    assert linear.H[0, 0] == pytest.approx((2 / 0.1) ** 2, rel=1e-6)
    assert linear.at(at(3.0))[0][0] == pytest.approx(linear.g[0])
    assert linear.at(at(1.0))[0][0] == pytest.approx(linear.g[0] - 2 * linear.H[0, 0])


def test_with_cauchys_loss_an_outlier_pulls_less_the_further_off_it_is() -> None:
    near, far = (abs(measured(4.0, 0.1, 3.0).linearised(at(x), at(x)).g[0] / (2 * x)) for x in (2.1, 4.0))
    assert near > 3 * far
    slope = [measured(4.0, 0.1, 3.0).linearised(at(x), at(x)).cost for x in (2.2 - 1e-5, 2.2 + 1e-5)]
    assert measured(4.0, 0.1, 3.0).linearised(at(2.2), at(2.2)).g[0] == pytest.approx(
        (slope[1] - slope[0]) / 2e-5, rel=1e-4
    )


def test_one_outlier_among_good_readings_is_outvoted() -> None:
    costs = [measured(value, 0.1, 3.0) for value in (4.0, 4.05, 3.95, 9.0)]
    end = minimise(costs, at(2.2), Layout([TIME_OFFSET]), Values({}), 30)
    assert end.values[TIME_OFFSET].seconds == pytest.approx(2.0, abs=0.01)
