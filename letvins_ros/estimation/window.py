# SPDX-License-Identifier: Apache-2.0
"""The sliding window: frames joined by IMU factors, landmarks, and the prior that stands for all that has left."""

from dataclasses import dataclass
from itertools import pairwise
from typing import cast

import gtsam
import numpy as np
from scipy.linalg.lapack import dposv

from letvins_ros.estimation.calibration_state import CLOCK, CalibrationState
from letvins_ros.estimation.calibration_state import INDEX as CALIBRATION
from letvins_ros.estimation.frame import STATE_SIZE as N
from letvins_ros.estimation.frame import Frame, State
from letvins_ros.estimation.quadratic import InertialCost, Movable, Quadratic, frame_keys, imu_factors, linearised
from letvins_ros.estimation.vision import (
    Linearised,
    Observations,
    Poses,
    RobustPixels,
    VisionCost,
    sightings,
    step_landmarks,
    triangulate,
)
from letvins_ros.geometry import exp_so3

MIN_RAY_INFORMATION = 1e-6  # a parallax of about 0.08 degrees
# a step below which the next one would not matter: rad, m, m/s, m/s^2, rad/s
SETTLED = np.repeat([1e-4, 3e-4, 2e-3, 5e-3, 5e-4], 3)
MAX_RAY_MISS = 0.01  # rad; more is a wrong match, not noise


@dataclass(frozen=True, eq=False)
class Solution:
    """How an optimisation ended."""

    cost: float
    steps: int
    information: np.ndarray  # (15F, 15F) at the last linearisation
    errors: np.ndarray  # (L,) px, each landmark's mean; 0 where it had no part


class Window:
    """Keyframes and the newest frame, with their landmarks."""

    def __init__(self, calibration: CalibrationState, refine: bool, noise: RobustPixels) -> None:
        self.calibration, self._refine, self._noise = calibration, refine, noise
        self.frames: list[Frame] = []
        self.ids = np.zeros(0, np.int64)  # of landmarks, sorted
        self.points = np.zeros((0, 3))  # (L, 3) m, odom
        self.prior = Quadratic((), (), np.zeros((0, 0)), np.zeros(0))
        self.extra: list[gtsam.NonlinearFactor] = []  # factors on the frames in the window, such as no motion

    # -- landmarks ----------------------------------------------------------------------------------------------------

    def add_landmarks(self) -> None:
        """Triangulate features of the newest frame that have no landmark yet, where their rays suffice."""
        new = np.setdiff1d(self.frames[-1].ids, self.ids, assume_unique=True)
        if not len(new):
            return
        seen = sightings(new, self.frames)
        found = triangulate(self._poses(self._states()), seen, len(new), self.calibration.mounts())
        good = (found.information > MIN_RAY_INFORMATION) & found.ahead & (found.miss_rad < MAX_RAY_MISS)
        good &= seen.counts(len(new)) >= 2
        ids = np.concatenate([self.ids, new[good]])
        order = np.argsort(ids)
        self.ids, self.points = ids[order], np.concatenate([self.points, found.points[good]])[order]

    def forget_landmarks(self, ids: np.ndarray) -> None:
        """Drop landmarks; what older frames saw of them is dropped too, the newest frame's view may start anew."""
        if not len(ids):
            return
        keep = ~np.isin(self.ids, ids, assume_unique=True, kind="sort")
        self.ids, self.points = self.ids[keep], self.points[keep]
        for frame in self.frames[:-1]:
            frame.forget(ids)

    # -- optimisation -------------------------------------------------------------------------------------------------

    def solve(self, iterations: int) -> Solution:
        """Levenberg-Marquardt over all frames; landmarks are eliminated and follow."""
        active, seen = self._active()
        points = self.points[active]
        states, damping = self._states(), 0.0
        inertial = InertialCost(self.frames, imu_factors(pairwise(self.frames)) + self.extra, self._fixed())
        best, steps = np.inf, 0
        accepted, last = (states, points), None
        while True:
            H, g, cost, vision = self._linearise(states, points, seen, inertial)
            if last is not None and cost > best * (1 + 1e-6) + 1e-9:
                states, points = accepted
                damping = max(damping * 10, 1e-4)
                H, g, cost, vision = last
            else:
                best, accepted, last = cost, (states, points), (H, g, cost, vision)
                damping = damping / 10 if damping > 1e-6 else 0.0
            if steps == iterations:
                break
            d = solve_dense(H + damping * np.diag(np.diag(H)), -g)
            steps += 1
            states = [state.stepped(d[N * i : N * i + N]) for i, state in enumerate(states)]
            points = self._step_points(points, vision.landmark_steps(d[self._vision_rows()]), seen)
            if (np.abs(d.reshape(-1, N)) < SETTLED).all():
                break
        for frame, state in zip(self.frames, states, strict=False):
            frame.state = cast(State, state)
        if self._refine:
            self.calibration = cast(CalibrationState, states[-1])
        self.points[active] = points
        return Solution(best, steps, H, self._mean_errors(active, seen, vision.errors))

    def _active(self) -> tuple[np.ndarray, Observations]:
        """Rows of landmarks seen at least twice, and their sightings."""
        none = Observations(*(np.zeros(0, int),) * 3, np.zeros((0, 3)), np.zeros((0, 2, 3)))
        if not len(self.ids):
            return np.zeros(0, int), none
        seen = sightings(self.ids, self.frames)
        enough = seen.counts(len(self.ids)) >= 2
        return np.flatnonzero(enough), seen.select(enough[seen.landmark], np.cumsum(enough) - 1)

    def _mean_errors(self, active: np.ndarray, seen: Observations, errors: np.ndarray) -> np.ndarray:
        mean = np.zeros(len(self.ids))
        total = np.bincount(seen.landmark, errors, len(active))
        mean[active] = total / np.maximum(seen.counts(len(active)), 1)
        return mean

    def _step_points(self, points: np.ndarray, steps: np.ndarray, seen: Observations) -> np.ndarray:
        first = np.full(len(points), len(self.frames) - 1)
        np.minimum.at(first, seen.landmark, seen.frame)
        origin = np.stack([frame.state.p for frame in self.frames])[first]
        return step_landmarks(points, steps, origin)

    def _linearise(
        self, states: list[Movable], points: np.ndarray, seen: Observations, inertial: InertialCost
    ) -> tuple[np.ndarray, np.ndarray, float, Linearised]:
        F = len(self.frames)
        H, g = np.zeros((N * len(states), N * len(states))), np.zeros(N * len(states))
        H[: N * F, : N * F], g[: N * F], cost = inertial.at(cast(list[State], states[:F]))
        vision = self._vision_cost(states, seen).at(self._poses(states), self._poses(self._where(states)), points)
        cost += vision.cost + self._add_prior(states, H, g)
        rows = self._vision_rows()
        H[np.ix_(rows, rows)] += vision.H
        g[rows] += vision.g
        return H, g, cost, vision

    def _vision_cost(self, states: list[Movable], seen: Observations) -> VisionCost:
        calibration = cast(CalibrationState, states[-1]) if self._refine else self.calibration
        return VisionCost(seen, calibration.mounts(), self._noise)

    def _add_prior(self, states: list[Movable], H: np.ndarray, g: np.ndarray) -> float:
        positions = self._positions(self.prior.indices)
        if not positions:
            return 0.0
        gradient, cost = self.prior.at(self.prior.step_to([states[i] for i in positions]))
        rows = _rows(positions)
        H[np.ix_(rows, rows)] += self.prior.H
        g[rows] += gradient
        return cost

    # -- what is estimated: the frames' states, then the calibration --------------------------------------------------

    def _states(self) -> list[Movable]:
        states: list[Movable] = [frame.state for frame in self.frames]
        return [*states, self.calibration] if self._refine else states

    def _indices(self) -> list[int]:
        return [frame.index for frame in self.frames] + ([CALIBRATION] if self._refine else [])

    def _positions(self, indices: tuple[int, ...]) -> list[int]:
        where = {index: i for i, index in enumerate(self._indices())}
        return [where[index] for index in indices]

    def _fixed(self) -> dict[int, Movable]:
        """Where the prior holds its states, by position."""
        return dict(zip(self._positions(self.prior.indices), self.prior.states, strict=True))

    def _where(self, states: list[Movable]) -> list[Movable]:
        """Where derivatives are taken."""
        fixed = self._fixed()
        return [fixed.get(i, state) for i, state in enumerate(states)]

    def _poses(self, states: list[Movable]) -> Poses:
        """Body poses when the images were taken, as the time offset says now."""
        frames = cast(list[State], states[: len(self.frames)])
        R, p = np.stack([s.R for s in frames]), np.stack([s.p for s in frames])
        if not self._refine:
            return Poses(R, p)
        offset_s = cast(CalibrationState, states[-1]).time_offset_s
        late = np.array([offset_s - frame.offset_s for frame in self.frames])[:, None]
        turn = np.stack([frame.turn - s.gyro_bias for frame, s in zip(self.frames, frames, strict=True)])
        v = np.stack([s.v for s in frames])
        v_body = np.matmul(v[:, None], R)[:, 0]
        return Poses(R @ exp_so3(turn * late), p + v * late, np.concatenate([turn, v_body], 1))

    def _vision_rows(self) -> np.ndarray:
        """Rows of what the images bear on."""
        F, C = len(self.frames), len(self.calibration.T_body_cams)
        rows = (N * np.arange(F)[:, None] + np.arange(6)).ravel()
        return np.concatenate([rows, N * F + np.r_[np.arange(6 * C), CLOCK]]) if self._refine else rows

    def refix_prior(self) -> None:
        """Fix the prior at the present states; only right while nothing has been marginalised into it."""
        states = self._states()
        self.prior = self.prior.fixed_at([states[i] for i in self._positions(self.prior.indices)])

    def covariance(self, information: np.ndarray, newest: int = 1) -> np.ndarray:
        """Joint covariance of the newest frames, oldest of them first, in the order of `State` steps."""
        rows = _rows(list(range(len(self.frames) - newest, len(self.frames))))
        columns = np.zeros((len(information), len(rows)))
        columns[rows] = np.eye(len(rows))
        return np.asarray(solve_dense(information, columns)[rows])

    # -- leaving the window -------------------------------------------------------------------------------------------

    def marginalise(self, position: int) -> None:
        """Take a frame out; what it says about the others goes into the prior (Schur complement).

        So do all sightings of its landmarks, but the newest frame's, from which those in sight start anew: each
        sighting counts once, and none is lost.
        """
        leaving = self.frames[position]
        gone = leaving.ids
        lost = np.isin(self.ids, gone, assume_unique=True, kind="sort")
        states = self._states()
        where = self._where(states)
        touching = [(self.frames[i - 1], self.frames[i]) for i in (position, position + 1) if 0 < i < len(self.frames)]
        extra = [factor for factor in self.extra if frame_keys(leaving) & set(factor.keys())]
        F, size = len(self.frames), N * len(states)
        inertial = linearised(self.frames, cast(list[State], where[:F]), imu_factors(touching) + extra)
        H, g = np.zeros((size, size)), np.zeros(size)
        H[: N * F, : N * F], g[: N * F] = inertial.H, inertial.g
        rows = _rows(self._positions(self.prior.indices))
        H[np.ix_(rows, rows)] += self.prior.H
        g[rows] += self.prior.g
        if lost.any():
            seen = sightings(self.ids[lost], self.frames[:-1])
            poses = self._poses(states), self._poses(where)
            vision = self._vision_cost(states, seen).at(*poses, self.points[lost])
            rows = self._vision_rows()
            moved = Quadratic((), tuple(where), H, g).step_to(states)[rows]
            H[np.ix_(rows, rows)] += vision.H
            g[rows] += vision.g - vision.H @ moved
        self._replace_prior(position, H, g, where)
        self.extra = [factor for factor in self.extra if factor not in extra]
        self.ids, self.points = self.ids[~lost], self.points[~lost]
        for frame in self.frames[:-1]:
            frame.forget(gone)
        self._unlink(position)

    def _replace_prior(self, position: int, H: np.ndarray, g: np.ndarray, where: list[Movable]) -> None:
        out = np.arange(N * position, N * position + N)
        indices = self._indices()
        stay = [i for i in range(len(indices)) if i != position]
        kept = _rows(stay)
        # scaled so that a singular direction shows against its own size
        scale = 1 / np.sqrt(np.maximum(np.diag(H)[out], 1e-12))
        values, vectors = np.linalg.eigh(H[np.ix_(out, out)] * np.outer(scale, scale))
        inverse = (vectors * np.where(values > 1e-10, 1 / np.maximum(values, 1e-10), 0)) @ vectors.T
        inverse *= np.outer(scale, scale)
        cross = H[np.ix_(kept, out)] @ inverse
        H_new = H[np.ix_(kept, kept)] - cross @ H[np.ix_(out, kept)]
        g_new = g[kept] - cross @ g[out]
        linked = [k for k in range(len(stay)) if np.abs(H_new[N * k : N * k + N]).max() > 0]
        rows = _rows(linked)
        self.prior = Quadratic(
            tuple(indices[stay[k]] for k in linked),
            tuple(where[stay[k]] for k in linked),
            (H_new[np.ix_(rows, rows)] + H_new[np.ix_(rows, rows)].T) / 2,
            g_new[rows],
        )

    def drop_newest(self) -> None:
        """Take the newest frame out as if it had not been; its IMU steps are the caller's to keep."""
        mine = frame_keys(self.frames.pop())
        self.extra = [factor for factor in self.extra if not mine & set(factor.keys())]

    def _unlink(self, position: int) -> None:
        """Remove a frame whose IMU factors are already in the prior."""
        if position + 1 < len(self.frames):
            self.frames[position + 1].steps = self.frames[position + 1].pim = None
        del self.frames[position]


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


def _rows(positions: list[int]) -> np.ndarray:
    return np.concatenate([np.arange(N * i, N * i + N) for i in positions]) if positions else np.zeros(0, int)
