# SPDX-License-Identifier: Apache-2.0
"""Costs that are quadratic in the states of some frames: linearised GTSAM factors, and the marginal prior."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import cast

import gtsam
import numpy as np
import scipy.linalg

from letvins_ros.estimation.calibration_state import CalibrationState
from letvins_ros.estimation.frame import STATE_SIZE as N
from letvins_ros.estimation.frame import Frame, State

# moves beyond which a factor is linearised anew: rad, m, m/s, m/s^2, rad/s
FAR = np.repeat([3e-3, 1e-1, 1e-1, 1e-1, 1e-2], 3)


Movable = State | CalibrationState


@dataclass(frozen=True, eq=False)
class Quadratic:
    """cost(d) = cost + g d + d H d / 2, with d the step from fixed states of K frames to their present ones."""

    indices: tuple[int, ...]  # of the frames
    states: tuple[Movable, ...]
    H: np.ndarray  # (15K, 15K)
    g: np.ndarray  # (15K,)
    cost: float = 0.0

    def step_to(self, states: Sequence[Movable]) -> np.ndarray:
        """The step (15K,) from the fixed states."""
        if not states:
            return np.zeros(0)
        return np.concatenate([fixed.step_to(now) for fixed, now in zip(self.states, states, strict=True)])  # type: ignore[arg-type]

    def at(self, d: np.ndarray) -> tuple[np.ndarray, float]:
        """Gradient (15K,) and cost after a step."""
        H_d = self.H @ d
        return self.g + H_d, float(self.cost + self.g @ d + d @ H_d / 2)

    def joined(self, index: int, state: Movable, H: np.ndarray) -> "Quadratic":
        """The sum of this cost and an independent one (15, 15) on something else."""
        both = scipy.linalg.block_diag(self.H, H)
        return Quadratic((*self.indices, index), (*self.states, state), both, np.r_[self.g, np.zeros(N)], self.cost)

    def fixed_at(self, states: Sequence[Movable]) -> "Quadratic":
        """The same cost, to first order, with other fixed states."""
        g, cost = self.at(self.step_to(states))
        return Quadratic(self.indices, tuple(states), self.H, g, cost)


class InertialCost:
    """The factors between frames, linearised by GTSAM, and again only when the states have moved far.

    Frames that the prior knows stay linearised where the prior is.
    """

    def __init__(self, frames: list[Frame], factors: list[gtsam.NonlinearFactor], fixed: dict[int, Movable]) -> None:
        """fixed: states of frames in the prior, by position in the window."""
        self._frames, self._factors, self._fixed = frames, factors, fixed
        self._free = [i for i in range(len(frames)) if i not in fixed]
        self._quadratic: Quadratic | None = None

    def at(self, states: list[State]) -> tuple[np.ndarray, np.ndarray, float]:
        """Normal equations H (15F, 15F), g (15F,) and cost at these states."""
        d = None if self._quadratic is None else self._quadratic.step_to(states)
        if self._quadratic is None or d is None or (np.abs(d.reshape(-1, N)[self._free]) > FAR).any():
            where = cast(list[State], [self._fixed.get(i, state) for i, state in enumerate(states)])
            self._quadratic = linearised(self._frames, where, self._factors)
            d = self._quadratic.step_to(states)
        return (self._quadratic.H.copy(), *self._quadratic.at(d))


def linearised(frames: list[Frame], states: list[State], factors: list[gtsam.NonlinearFactor]) -> Quadratic:
    """The sum of GTSAM factors as one quadratic over all frames."""
    size = N * len(frames)
    H, g, cost = np.zeros((size, size)), np.zeros(size), 0.0
    if factors:
        graph, values = gtsam.NonlinearFactorGraph(), gtsam.Values()
        for factor in factors:
            graph.add(factor)
        for frame, state in zip(frames, states, strict=True):  # named: GTSAM tries 44 types one after the other
            values.insert(X(frame.index), pose3=gtsam.Pose3(gtsam.Rot3(state.R), state.p))
            values.insert(V(frame.index), state.v)
            bias = gtsam.imuBias.ConstantBias(state.accel_bias, state.gyro_bias)
            values.insert(B(frame.index), constant_bias=bias)
        linear, cost = graph.linearize(values), float(graph.error(values))
        ordering, rows = _ordering(frames, set(linear.keyVector()))
        dense, eta = linear.hessian(ordering)
        H[np.ix_(rows, rows)] = dense
        g[rows] = -eta
    return Quadratic(tuple(frame.index for frame in frames), tuple(states), H, g, cost)


def imu_factors(pairs: Iterable[tuple[Frame, Frame]]) -> list[gtsam.NonlinearFactor]:
    """GTSAM's factors (Forster 2017) between neighbours that have IMU readings between them."""
    return [
        gtsam.CombinedImuFactor(X(a.index), V(a.index), X(b.index), V(b.index), B(a.index), B(b.index), b.pim)
        for a, b in pairs
        if b.pim is not None
    ]


def _ordering(frames: list[Frame], keys: set[int]) -> tuple[gtsam.Ordering, np.ndarray]:
    """The keys that factors touch, in the order of our rows, and these rows."""
    ordering, touched = gtsam.Ordering(), []
    for i, frame in enumerate(frames):
        for key, start, length in ((X(frame.index), 0, 6), (V(frame.index), 6, 3), (B(frame.index), 9, 6)):
            if key in keys:
                ordering.push_back(key)
                touched.append(np.arange(N * i + start, N * i + start + length))
    return ordering, np.concatenate(touched)


def X(index: int) -> int:
    """GTSAM's key of a frame's pose."""
    return int(gtsam.symbol("x", index))


def V(index: int) -> int:
    """GTSAM's key of a frame's velocity."""
    return int(gtsam.symbol("v", index))


def B(index: int) -> int:
    """GTSAM's key of a frame's biases."""
    return int(gtsam.symbol("b", index))


def frame_keys(frame: Frame) -> set[int]:
    """GTSAM's keys of a frame."""
    return {X(frame.index), V(frame.index), B(frame.index)}
