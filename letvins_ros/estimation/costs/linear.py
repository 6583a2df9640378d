# SPDX-License-Identifier: Apache-2.0
"""What a cost is, and its linearisation: quadratic in the step of the variables that it touches."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from letvins_ros.estimation.variables import AnyKey, Layout, Values


class Cost(ABC):
    """Something known about some variables, as half a sum of squares to be made small."""

    keys: tuple[AnyKey, ...]  # the variables that it touches

    @abstractmethod
    def linearised(self, values: Values, where: Values) -> "LinearCost":
        """The cost near these values, with derivatives taken at `where`.

        `where` holds the same objects but for variables that the marginal prior knows: those keep the derivatives
        that they had when it was made, or the prior learns of directions that nothing measures (Huang 2010).
        """

    def after(self, linear: "LinearCost", d: np.ndarray) -> "Cost":
        """The cost after a step d of the variables in the rows of its linearisation.

        One that has eliminated variables of its own (landmarks) moves them along; any other stays as it is.
        """
        del linear, d
        return self


class Quadratic(NamedTuple):
    """cost + g d + d H d / 2 of a step d."""

    H: np.ndarray  # (n, n)
    g: np.ndarray  # (n,)
    cost: float = 0.0


class LinearCost(Cost):
    """A quadratic in the step d from `points`: its gradient is g and its value `cost` at `values`.

    As a cost of its own it is a prior with fixed linearisation points, such as marginalisation leaves behind.
    """

    def __init__(
        self,
        keys: Sequence[AnyKey],
        points: Values,
        normal: Quadratic,
        *,
        values: Values | None = None,
        components: np.ndarray | None = None,
    ) -> None:
        """normal: of the stacked tangent components (n,) of the keys, or of those that `components` (n,) picks.

        values: where its g and cost hold, if that is not at the points.
        """
        self.keys, self.points = tuple(keys), points
        self.H, self.g, self.cost = normal
        self.values = points if values is None else values
        self._components = components
        self._last: tuple[Values | None, np.ndarray] = (None, np.zeros(0))

    def linearised(self, values: Values, where: Values) -> "LinearCost":
        del values, where
        return self

    def rows(self, layout: Layout) -> np.ndarray | slice:
        """Its rows (n,) in a system; a slice where they are all of them in order."""
        if self._components is None and self.keys == layout.keys:
            return slice(None)
        rows = layout.rows(self.keys)
        return rows if self._components is None else rows[self._components]

    def step_to(self, values: Values) -> np.ndarray:
        """The stacked step of all its keys from its points."""
        if self._last[0] is not values:
            self._last = values, self.points.steps_to(values, self.keys)
        return self._last[1]

    def at(self, values: Values) -> tuple[np.ndarray, float]:
        """Gradient (n,) and cost at other values."""
        if values is self.values:
            return self.g, self.cost
        d = self.step_to(values)
        if self.values is not self.points:
            d = d - self.step_to(self.values)
        if self._components is not None:
            d = d[self._components]
        H_d = self.H @ d
        return self.g + H_d, float(self.cost + self.g @ d + d @ H_d / 2)

    def beside(self, other: "LinearCost") -> "LinearCost":
        """The sum with a cost on other variables."""
        n = len(self.g)
        H = np.zeros((n + len(other.g),) * 2)
        H[:n, :n], H[n:, n:] = self.H, other.H
        g = np.concatenate([self.g, other.g])
        return LinearCost(self.keys + other.keys, self.points | other.points, Quadratic(H, g, self.cost + other.cost))

    def fixed_at(self, values: Values) -> "LinearCost":
        """The same cost, to first order, with other points."""
        return LinearCost(self.keys, values.only(self.keys), Quadratic(self.H, *self.at(values)))


NOTHING = LinearCost((), Values({}), Quadratic(np.zeros((0, 0)), np.zeros(0)))
