# SPDX-License-Identifier: Apache-2.0
"""A cost from one function: residuals of some variables, with robust loss."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from letvins_ros.estimation.costs.linear import Cost, LinearCost, Quadratic
from letvins_ros.estimation.variables import AnyKey, Layout, Values

NUDGE = 1e-6  # step of numeric derivatives, in a variable's own units


@dataclass(frozen=True, eq=False)
class Residual:
    """What was measured, as numbers (m,) that would vanish without noise."""

    of: Callable[[Values], np.ndarray]
    std: np.ndarray  # (m,) of the numbers
    jacobian: Callable[[Values], np.ndarray] | None = None  # (m, n) by the stacked steps; None: found numerically


class ResidualCost(Cost):
    """Half the sum of squares of a residual over its standard deviation, or less where that is large.

    Derivatives are taken at the linearisation points of the prior, errors at the present values.
    """

    def __init__(self, keys: Sequence[AnyKey], residual: Residual, cauchy: float = np.inf) -> None:
        """cauchy: standard deviations from which Cauchy's loss treats it as an outlier; infinite for plain squares."""
        self.keys, self._residual, self._cauchy = tuple(keys), residual, cauchy

    def linearised(self, values: Values, where: Values) -> LinearCost:
        r = self._residual.of(values) / self._residual.std
        jacobian = self._residual.jacobian or self._numeric
        J = jacobian(where) / self._residual.std[:, None]
        square, limit = float(r @ r), self._cauchy**2
        weight = 1 / (1 + square / limit)
        cost = square / 2 if np.isinf(limit) else limit / 2 * float(np.log1p(square / limit))
        return LinearCost(self.keys, where, Quadratic(weight * J.T @ J, weight * J.T @ r, cost), values=values)

    def _numeric(self, values: Values) -> np.ndarray:
        """Derivatives (m, n) by central differences."""
        layout = Layout(self.keys)
        ahead, behind = (
            [self._residual.of(layout.stepped(values, sign * NUDGE * axis)) for axis in np.eye(layout.size)]
            for sign in (1, -1)
        )
        return np.asarray(np.stack(ahead, 1) - np.stack(behind, 1)) / (2 * NUDGE)
