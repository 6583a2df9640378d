# SPDX-License-Identifier: Apache-2.0
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest

from letvins_ros.estimation.calibration_variables import TIME_OFFSET, Mount, TimeOffset
from letvins_ros.estimation.costs.linear import Cost, LinearCost, Quadratic
from letvins_ros.estimation.solver import marginalised, minimise, solve_dense
from letvins_ros.estimation.variables import AnyKey, Key, Layout, Values

MOUNT = Key(Mount, 0)
START = Values({TIME_OFFSET: TimeOffset(2.0), MOUNT: Mount(np.eye(4))})


class Cubic(Cost):
    """(x^3 - 8)^2 / 2 of the time offset, which Gauss-Newton from afar overshoots."""

    keys = (TIME_OFFSET,)

    def linearised(self, values: Values, where: Values) -> LinearCost:
        x, at = values[TIME_OFFSET].seconds, where[TIME_OFFSET].seconds
        r, J = x**3 - 8, 3 * at**2
        normal = Quadratic(np.array([[J * J]]), np.array([J * r]), r * r / 2)
        return LinearCost(self.keys, where, normal, values=values)


def quadratic(rng: np.random.Generator, keys: Sequence[AnyKey], points: Values) -> LinearCost:
    size = sum(key.kind.size for key in keys)
    A = rng.normal(size=(size, size + 2))
    return LinearCost(keys, points.only(keys), Quadratic(A @ A.T, rng.normal(size=size), 1.0))


@pytest.mark.parametrize("n", [1, 2, 50])
@pytest.mark.parametrize("columns", [(), (3,)])
def test_solve_dense_solves_badly_scaled_systems(n: int, columns: tuple[int, ...]) -> None:
    rng = np.random.default_rng(n)
    A, scale = rng.normal(size=(n, 2 * n + 2)), 10 ** rng.uniform(-4, 4, n)
    H = A @ A.T * np.outer(scale, scale)
    x = rng.normal(size=(n, *columns))
    x = (x.T / scale).T
    np.testing.assert_allclose(((solve_dense(H, H @ x) - x).T * scale).T, 0, atol=1e-6)


@pytest.mark.parametrize("start", [0.2, 1.0, 30.0])
def test_a_curved_cost_reaches_its_minimum_and_never_rises(start: float) -> None:
    end = minimise([Cubic()], Values({TIME_OFFSET: TimeOffset(start)}), Layout([TIME_OFFSET]), Values({}), 50)
    assert end.values[TIME_OFFSET].seconds == pytest.approx(2.0, abs=1e-3)
    assert end.steps < 50
    costs = [
        minimise([Cubic()], Values({TIME_OFFSET: TimeOffset(start)}), Layout([TIME_OFFSET]), Values({}), n).cost
        for n in range(12)
    ]
    assert all(b <= a * (1 + 1e-6) for a, b in pairwise(costs))


def test_variables_outside_the_layout_keep_their_values() -> None:
    rng = np.random.default_rng(0)
    end = minimise([quadratic(rng, [TIME_OFFSET], START)], START, Layout([TIME_OFFSET]), Values({}), 5)
    assert end.values[MOUNT] is START[MOUNT]
    assert end.values[TIME_OFFSET] is not START[TIME_OFFSET]


def test_the_minimum_of_quadratics_is_where_their_gradients_cancel() -> None:
    rng = np.random.default_rng(1)
    both = [quadratic(rng, [TIME_OFFSET, MOUNT], START), quadratic(rng, [TIME_OFFSET], START)]
    layout = Layout([MOUNT, TIME_OFFSET])  # not in the order of the costs
    end = minimise(both, START, layout, Values({}), 10)
    g = np.zeros(7)
    for cost in both:
        g[cost.rows(layout)] += cost.at(end.values)[0]
    np.testing.assert_allclose(g, 0, atol=1e-6)


def test_fixed_points_keep_the_derivatives_that_they_had() -> None:
    held = Values({TIME_OFFSET: TimeOffset(1.0)})
    end = minimise([Cubic()], Values({TIME_OFFSET: TimeOffset(1.9)}), Layout([TIME_OFFSET]), held, 1)
    assert end.information[0, 0] == pytest.approx(9.0)  # (3 x^2)^2 at 1, not at 1.9


def test_marginalising_a_variable_leaves_the_minimum_over_it() -> None:
    rng = np.random.default_rng(2)
    joint = quadratic(rng, [MOUNT, TIME_OFFSET], START)
    layout = Layout([MOUNT, TIME_OFFSET])
    left = marginalised([joint], START, layout, Values({}), MOUNT)
    assert left.keys == (TIME_OFFSET,)
    best = joint.cost - joint.g[:6] @ np.linalg.solve(joint.H[:6, :6], joint.g[:6]) / 2
    for x in (-0.3, 0.0, 1.2):
        d = np.linalg.solve(joint.H[:6, :6], -joint.g[:6] - joint.H[:6, 6] * x)
        whole = np.r_[d, x]
        cost = joint.cost + joint.g @ whole + whole @ joint.H @ whole / 2
        assert best + left.g[0] * x + left.H[0, 0] * x * x / 2 == pytest.approx(cost)


def test_what_a_leaving_variable_was_not_linked_to_gets_no_prior() -> None:
    rng = np.random.default_rng(3)
    alone = quadratic(rng, [MOUNT], START)
    left = marginalised([alone], START, Layout([MOUNT, TIME_OFFSET]), Values({}), MOUNT)
    assert left.keys == ()
    assert left.H.shape == (0, 0)
