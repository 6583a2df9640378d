# SPDX-License-Identifier: Apache-2.0
"""Any GTSAM factors as a cost, linearised by GTSAM, and anew only when a variable has moved far."""

from collections.abc import Sequence
from functools import lru_cache

import gtsam
import numpy as np

from letvins_ros.estimation.calibration_variables import Mount, TimeOffset
from letvins_ros.estimation.costs.linear import Cost, LinearCost, Quadratic
from letvins_ros.estimation.state import State
from letvins_ros.estimation.variables import AnyKey, Key, Layout, Values, Variable

_KINDS: dict[str, type[Variable]] = {
    letter: kind for kind in (State, Mount, TimeOffset) for letter, _ in kind.gtsam_parts
}


def factor_keys(factor: gtsam.NonlinearFactor) -> set[AnyKey]:
    """The variables that a factor touches."""
    symbols = [gtsam.Symbol(key) for key in factor.keys()]
    return {Key(_KINDS[chr(symbol.chr())], symbol.index()) for symbol in symbols}


class GtsamCost(Cost):
    """The sum of GTSAM factors, whatever they are.

    Variables that the prior knows stay linearised where it is.
    """

    def __init__(self, factors: Sequence[gtsam.NonlinearFactor], keys: Sequence[AnyKey]) -> None:
        """keys: variables among which those of all factors are; any that moves far makes all linearised anew."""
        self.keys = tuple(keys)
        self._graph = gtsam.NonlinearFactorGraph()
        for factor in factors:
            self._graph.add(factor)
        self._linear: LinearCost | None = None
        self._layout = Layout(keys)
        self._nonlinear = np.concatenate([key.kind.nonlinear for key in self.keys])

    def linearised(self, values: Values, where: Values) -> LinearCost:
        if self._linear is None or self._has_moved_far(self._linear, values, where):
            self._linear = self._at(where)
        return self._linear

    def _has_moved_far(self, linear: LinearCost, values: Values, where: Values) -> bool:
        far = np.abs(linear.step_to(values)) > self._nonlinear
        if not far.any():
            return False
        free = [np.full(key.kind.size, values[key] is where[key]) for key in self.keys]
        return bool((far & np.concatenate(free)).any())

    def _at(self, where: Values) -> LinearCost:
        layout = self._layout
        H, g, cost = np.zeros((layout.size, layout.size)), np.zeros(layout.size), 0.0
        if self._graph.size():
            values = gtsam.Values()
            for key in self.keys:
                values.insert(gtsam_values(where[key], key.number))
            linear, cost = self._graph.linearize(values), float(self._graph.error(values))
            ordering, rows = _ordering(layout, set(linear.keyVector()))
            dense, eta = linear.hessian(ordering)
            H[np.ix_(rows, rows)] = dense
            g[rows] = -eta
        return LinearCost(self.keys, where, Quadratic(H, g, cost))


@lru_cache(maxsize=64)  # most variables of a window stay where they are from frame to frame
def gtsam_values(variable: Variable, number: int) -> gtsam.Values:
    """GTSAM's values of one variable."""
    values = gtsam.Values()
    variable.insert(values, number)
    return values


def _ordering(layout: Layout, touched: set[int]) -> tuple[gtsam.Ordering, np.ndarray]:
    """GTSAM's keys that factors touch, in the order of our rows, and these rows."""
    ordering, rows = gtsam.Ordering(), []
    for key in layout.keys:
        start = 0
        of_key = layout.rows([key])
        for gtsam_key, size in key.gtsam_keys():
            if gtsam_key in touched:
                ordering.push_back(gtsam_key)
                rows.append(of_key[start : start + size])
            start += size
    return ordering, np.concatenate(rows)
