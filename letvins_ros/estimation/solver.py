# SPDX-License-Identifier: Apache-2.0
"""Levenberg-Marquardt and marginalisation over variables and costs, whatever they are."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from scipy.linalg.lapack import dposv

from letvins_ros.estimation.costs.linear import Cost, LinearCost, Quadratic
from letvins_ros.estimation.variables import AnyKey, Layout, Values

C = TypeVar("C")


@dataclass(frozen=True, eq=False)
class Minimum:
    """Where a minimisation ended."""

    values: Values
    costs: tuple[Cost, ...]  # with the variables that they have eliminated where these ended
    linear: tuple[LinearCost, ...]  # the last linearisation of each
    information: np.ndarray  # (n, n) in the layout's rows, at the last linearisation
    cost: float
    steps: int

    def linear_of(self, kind: type[C]) -> C:
        """The linearisation of this kind."""
        return next(one for one in self.linear if isinstance(one, kind))

    def cost_of(self, kind: type[C]) -> C:
        """The cost of this kind."""
        return next(one for one in self.costs if isinstance(one, kind))


@dataclass(frozen=True, eq=False)
class _System:
    """Normal equations H d = -g of all costs at some values."""

    values: Values
    costs: tuple[Cost, ...]
    linear: tuple[LinearCost, ...]
    rows: tuple[np.ndarray | slice, ...]
    H: np.ndarray
    g: np.ndarray
    cost: float


def minimise(costs: Sequence[Cost], values: Values, layout: Layout, fixed: Values, iterations: int) -> Minimum:
    """Step the layout's variables until they settle, or so many times; others keep their values.

    fixed: linearisation points of variables in the prior. Raises LinAlgError where the system is not positive definite.
    """
    damping, steps, settled = 0.0, 0, layout.settled()
    system = _linearised(tuple(costs), values, layout, fixed)
    while steps < iterations:
        d = solve_dense(system.H + damping * np.diag(np.diag(system.H)), -system.g)
        steps += 1
        moved = tuple(
            cost.after(linear, d[rows])
            for cost, linear, rows in zip(system.costs, system.linear, system.rows, strict=True)
        )
        values = layout.stepped(system.values, d)
        if (np.abs(d) < settled).all():
            return Minimum(values, moved, system.linear, system.H, system.cost, steps)
        candidate = _linearised(moved, values, layout, fixed)
        if candidate.cost > system.cost * (1 + 1e-6) + 1e-9:
            damping = max(damping * 10, 1e-4)
        else:
            system = candidate
            damping = damping / 10 if damping > 1e-6 else 0.0
    return Minimum(system.values, system.costs, system.linear, system.H, system.cost, steps)


def _linearised(costs: tuple[Cost, ...], values: Values, layout: Layout, fixed: Values) -> _System:
    where = values | fixed
    H, g, total = np.zeros((layout.size, layout.size)), np.zeros(layout.size), 0.0
    linear = tuple(cost.linearised(values, where) for cost in costs)
    every = tuple(one.rows(layout) for one in linear)
    for one, rows in zip(linear, every, strict=True):
        gradient, cost = one.at(values)
        _add(H, one.H, rows)
        g[rows] += gradient
        total += cost
    return _System(values, costs, linear, every, H, g, total)


def _add(H: np.ndarray, part: np.ndarray, rows: np.ndarray | slice) -> None:
    """Add to rows and columns of H."""
    if isinstance(rows, slice):
        H += part
    else:
        H[np.ix_(rows, rows)] += part


def marginalised(costs: Sequence[Cost], values: Values, layout: Layout, fixed: Values, leaving: AnyKey) -> LinearCost:
    """What the costs say of the other variables when one is left free (Schur complement); a prior on those it links."""
    where = values | fixed
    H, g = np.zeros((layout.size, layout.size)), np.zeros(layout.size)
    for cost in costs:
        linear = cost.linearised(values, where)
        rows = linear.rows(layout)
        _add(H, linear.H, rows)
        g[rows] += linear.at(where)[0]
    out = layout.rows([leaving])
    staying = Layout(key for key in layout.keys if key != leaving)
    kept = layout.rows(staying.keys)
    cross = H[np.ix_(kept, out)] @ _inverse(H[np.ix_(out, out)])
    H_new = H[np.ix_(kept, kept)] - cross @ H[np.ix_(out, kept)]
    g_new = g[kept] - cross @ g[out]
    linked = [key for key in staying.keys if np.abs(H_new[staying.rows([key])]).max() > 0]
    rows = staying.rows(linked)
    H_linked = H_new[np.ix_(rows, rows)]
    return LinearCost(linked, where.only(linked), Quadratic((H_linked + H_linked.T) / 2, g_new[rows]))


def _inverse(H: np.ndarray) -> np.ndarray:
    """Pseudo-inverse of a symmetric matrix, scaled so that a singular direction shows against its own size."""
    scale = 1 / np.sqrt(np.maximum(np.diag(H), 1e-12))
    values, vectors = np.linalg.eigh(H * np.outer(scale, scale))
    inverse = (vectors * np.where(values > 1e-10, 1 / np.maximum(values, 1e-10), 0)) @ vectors.T
    return np.asarray(inverse * np.outer(scale, scale))


def solve_dense(H: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Solve the scaled system, with a tiny ridge against directions that nothing constrains.

    Raises LinAlgError where H is not positive definite.
    """
    scale = 1 / np.sqrt(np.maximum(np.diag(H), 1e-9))
    scaled = H * (scale[:, None] * scale)
    scaled.ravel()[:: len(H) + 1] += 1e-10
    # LAPACK itself: scipy's own functions around it take longer than the factorisation
    _, solved, fault = dposv(scaled.T, (right.T * scale).T, overwrite_a=True)
    if fault:
        raise np.linalg.LinAlgError(f"not positive definite from row {fault} on")
    return np.asarray((solved.T * scale).T)
