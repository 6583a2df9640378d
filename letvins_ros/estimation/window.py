# SPDX-License-Identifier: Apache-2.0
"""The sliding window: frames joined by IMU factors, landmarks, and the prior that stands for all that has left."""

from dataclasses import dataclass

import gtsam
import numpy as np
import scipy.linalg

from letvins_ros.calibration import MountedCamera
from letvins_ros.estimation.frame import STATE_SIZE, Frame, State
from letvins_ros.estimation.vision import (
    CameraMounts,
    Linearised,
    Observations,
    RobustPixels,
    linearise,
    step_landmarks,
    triangulate,
)

MIN_RAY_INFORMATION = 1e-6  # a parallax of about 0.08 degrees
N = STATE_SIZE


@dataclass(frozen=True, eq=False)
class Prior:
    """What is known of some frames from data that is no longer in the window: normal equations at fixed states."""

    indices: tuple[int, ...]
    states: tuple[State, ...]
    H: np.ndarray  # (15K, 15K)
    g: np.ndarray  # (15K,)

    def at(self, states: list[State]) -> tuple[np.ndarray, float]:
        """Gradient (15K,) and cost at the frames' present states."""
        d = np.concatenate([fixed.step_to(now) for fixed, now in zip(self.states, states, strict=True)])
        return self.g + self.H @ d, float(self.g @ d + d @ self.H @ d / 2)


@dataclass(frozen=True, eq=False)
class Solution:
    """How an optimisation ended."""

    cost: float
    steps: int
    information: np.ndarray  # (15F, 15F) at the last linearisation
    errors: np.ndarray  # (F, C, L) px before the last step


class Window:
    """Keyframes and the newest frame, with their landmarks."""

    def __init__(self, cameras: tuple[MountedCamera, ...], noise: RobustPixels) -> None:
        self.mounts = CameraMounts([camera.T_body_cam for camera in cameras])
        self._noise = noise
        self.frames: list[Frame] = []
        self.ids = np.zeros(0, np.int64)  # of landmarks, sorted
        self.points = np.zeros((0, 3))  # (L, 3) m, odom
        self.prior = Prior((), (), np.zeros((0, 0)), np.zeros(0))
        self.extra: list[gtsam.NonlinearFactor] = []  # factors on the frames in the window, such as no motion

    # -- landmarks ----------------------------------------------------------------------------------------------------

    def observations(self, ids: np.ndarray, frames: list[Frame]) -> Observations:
        """What these frames saw of these landmarks (sorted ids)."""
        F, C, L = len(frames), len(self.mounts.p_body_cam), len(ids)
        bearings, M, seen = np.zeros((F, C, L, 3)), np.zeros((F, C, L, 2, 3)), np.zeros((F, C, L), bool)
        for f, frame in enumerate(frames):
            _, mine, theirs = np.intersect1d(ids, frame.ids, assume_unique=True, return_indices=True)
            bearings[f][:, mine], M[f][:, mine], seen[f][:, mine] = (
                frame.bearings[:, theirs],
                frame.M[:, theirs],
                frame.seen[:, theirs],
            )
        return Observations(bearings, M, seen)

    def add_landmarks(self) -> None:
        """Triangulate features of the newest frame that have no landmark yet, where their rays suffice."""
        new = np.setdiff1d(self.frames[-1].ids, self.ids, assume_unique=True)
        if not len(new):
            return
        seen = self.observations(new, self.frames)
        centres, directions = self._rays(seen)
        flat = seen.seen.reshape(-1, len(new))
        points, information = triangulate(centres, directions, flat)
        to_point = points - centres
        ahead = ((to_point * directions).sum(-1) > 0.05) | ~flat
        good = (information > MIN_RAY_INFORMATION) & ahead.all(0) & (flat.sum(0) >= 2)
        # an angle of 1 px off is noise, of 3 px a mistake
        miss = np.linalg.norm(to_point - directions * (to_point * directions).sum(-1, keepdims=True), axis=-1)
        good &= np.where(flat, miss / np.maximum(np.linalg.norm(to_point, axis=-1), 1e-3), 0).max(0) < 0.01
        ids = np.concatenate([self.ids, new[good]])
        order = np.argsort(ids)
        self.ids, self.points = ids[order], np.concatenate([self.points, points[good]])[order]

    def _rays(self, seen: Observations) -> tuple[np.ndarray, np.ndarray]:
        """Origins and directions (F * C, L, 3) in odom."""
        F, C, L = seen.seen.shape
        R = np.stack([frame.state.R for frame in self.frames])
        p = np.stack([frame.state.p for frame in self.frames])
        centres = p[:, None] + np.matmul(R[:, None], self.mounts.p_body_cam[None, :, :, None])[..., 0]
        R_odom_cam = np.matmul(R[:, None], np.swapaxes(self.mounts.R_cam_body, 1, 2)[None])
        directions = np.matmul(seen.bearings, np.swapaxes(R_odom_cam, 2, 3))
        return np.broadcast_to(centres[:, :, None], (F, C, L, 3)).reshape(-1, L, 3), directions.reshape(-1, L, 3)

    def forget_landmarks(self, ids: np.ndarray) -> None:
        """Drop landmarks; what older frames saw of them is dropped too, the newest frame's view may start anew."""
        keep = ~np.isin(self.ids, ids)
        self.ids, self.points = self.ids[keep], self.points[keep]
        for frame in self.frames[:-1]:
            frame.forget(ids)

    # -- optimisation -------------------------------------------------------------------------------------------------

    def solve(self, iterations: int) -> Solution:
        """Levenberg-Marquardt over all frames; landmarks are eliminated and follow."""
        active, seen = self._active()
        points = self.points[active]
        states, damping = [frame.state for frame in self.frames], 0.0
        best = np.inf
        accepted = (states, points)
        for step in range(iterations + 1):
            H, g, cost, vision = self._linearise(states, points, seen)
            if cost > best * (1 + 1e-6) + 1e-9:
                states, points = accepted
                damping = max(damping * 10, 1e-4)
                H, g, cost, vision = last
            else:
                best, accepted, last = cost, (states, points), (H, g, cost, vision)
                damping = damping / 10 if damping > 1e-6 else 0.0
            if step == iterations:
                break
            d = solve_dense(H + damping * np.diag(np.diag(H)), -g)
            states = [state.stepped(d[N * i : N * i + N]) for i, state in enumerate(states)]
            poses = d.reshape(-1, N)[:, :6].ravel()
            points = self._step_points(points, vision.landmark_steps(poses), seen)
            if np.abs(d.reshape(-1, N)[:, :9]).max() < 1e-5:
                break
        for frame, state in zip(self.frames, states, strict=True):
            frame.state = state
        self.points[active] = points
        errors = np.full((*vision.errors.shape[:2], len(self.ids)), np.nan)
        errors[:, :, active] = vision.errors
        return Solution(best, step, H, errors)

    def _active(self) -> tuple[np.ndarray, Observations]:
        seen = self.observations(self.ids, self.frames)
        active = np.flatnonzero(seen.seen.sum((0, 1)) >= 2)
        return active, Observations(seen.bearings[:, :, active], seen.M[:, :, active], seen.seen[:, :, active])

    def _step_points(self, points: np.ndarray, steps: np.ndarray, seen: Observations) -> np.ndarray:
        first = seen.seen.any(1).argmax(0)
        origin = np.stack([frame.state.p for frame in self.frames])[first]
        return step_landmarks(points, steps, origin)

    def _linearise(
        self, states: list[State], points: np.ndarray, seen: Observations
    ) -> tuple[np.ndarray, np.ndarray, float, Linearised]:
        R, p = np.stack([s.R for s in states]), np.stack([s.p for s in states])
        vision = linearise(R, p, points, seen, self.mounts, self._noise)
        H, g, cost = self._inertial(states, self._factors())
        cost += vision.cost + self._add_prior(states, H, g)
        rows = _pose_rows(len(states))
        H[np.ix_(rows, rows)] += vision.H
        g[rows] += vision.g
        return H, g, cost, vision

    def _factors(self) -> list[gtsam.NonlinearFactor]:
        return self._imu_factors(range(1, len(self.frames))) + self.extra

    def _imu_factors(self, positions: range | list[int]) -> list[gtsam.NonlinearFactor]:
        pairs = [(self.frames[i - 1], self.frames[i]) for i in positions]
        return [
            gtsam.CombinedImuFactor(X(a.index), V(a.index), X(b.index), V(b.index), B(a.index), B(b.index), b.pim)
            for a, b in pairs
            if b.pim is not None
        ]

    def _inertial(
        self, states: list[State], factors: list[gtsam.NonlinearFactor]
    ) -> tuple[np.ndarray, np.ndarray, float]:
        """Normal equations of GTSAM factors over all frames, dense."""
        size = N * len(states)
        if not factors:
            return np.zeros((size, size)), np.zeros(size), 0.0
        graph, values = gtsam.NonlinearFactorGraph(), gtsam.Values()
        for factor in factors:
            graph.add(factor)
        for frame, state in zip(self.frames, states, strict=True):
            values.insert(X(frame.index), gtsam.Pose3(gtsam.Rot3(state.R), state.p))
            values.insert(V(frame.index), state.v)
            values.insert(B(frame.index), gtsam.imuBias.ConstantBias(state.accel_bias, state.gyro_bias))
        linear = graph.linearize(values)
        touched, ordering = [], gtsam.Ordering()
        keys = set(linear.keyVector())
        for i, frame in enumerate(self.frames):
            for key, start, length in ((X(frame.index), 0, 6), (V(frame.index), 6, 3), (B(frame.index), 9, 6)):
                if key in keys:
                    ordering.push_back(key)
                    touched.append(np.arange(N * i + start, N * i + start + length))
        rows = np.concatenate(touched)
        dense, eta = linear.hessian(ordering)
        H, g = np.zeros((size, size)), np.zeros(size)
        H[np.ix_(rows, rows)] = dense
        g[rows] = -eta
        return H, g, float(graph.error(values))

    def _add_prior(self, states: list[State], H: np.ndarray, g: np.ndarray) -> float:
        positions = self._positions(self.prior.indices)
        if not positions:
            return 0.0
        gradient, cost = self.prior.at([states[i] for i in positions])
        rows = _rows(positions)
        H[np.ix_(rows, rows)] += self.prior.H
        g[rows] += gradient
        return cost

    def _positions(self, indices: tuple[int, ...]) -> list[int]:
        where = {frame.index: i for i, frame in enumerate(self.frames)}
        return [where[index] for index in indices]

    def covariance(self, information: np.ndarray) -> np.ndarray:
        """Covariance (15, 15) of the newest frame, in the order of `State` steps."""
        newest = np.zeros((len(information), N))
        newest[-N:] = np.eye(N)
        return np.asarray(solve_dense(information, newest)[-N:])

    # -- leaving the window -------------------------------------------------------------------------------------------

    def marginalise(self, position: int) -> None:
        """Take a frame out; what it says about the others goes into the prior (Schur complement)."""
        leaving = self.frames[position]
        gone = np.setdiff1d(leaving.ids, self.frames[-1].ids, assume_unique=True)
        lost = np.isin(self.ids, gone)
        states = [frame.state for frame in self.frames]
        touching = [i for i in (position, position + 1) if 0 < i < len(self.frames)]
        mine = {X(leaving.index), V(leaving.index), B(leaving.index)}
        extra = [factor for factor in self.extra if mine & set(factor.keys())]
        H, g, _ = self._inertial(states, self._imu_factors(touching) + extra)
        self._add_prior(states, H, g)
        if lost.any():
            seen = self.observations(self.ids[lost], self.frames)
            R, p = np.stack([s.R for s in states]), np.stack([s.p for s in states])
            vision = linearise(R, p, self.points[lost], seen, self.mounts, self._noise)
            rows = _pose_rows(len(states))
            H[np.ix_(rows, rows)] += vision.H
            g[rows] += vision.g
        self._replace_prior(position, H, g)
        self.extra = [factor for factor in self.extra if factor not in extra]
        self.ids, self.points = self.ids[~lost], self.points[~lost]
        for frame in self.frames:
            frame.forget(gone)
        self._unlink(position)

    def _replace_prior(self, position: int, H: np.ndarray, g: np.ndarray) -> None:
        out = np.arange(N * position, N * position + N)
        stay = [i for i in range(len(self.frames)) if i != position]
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
        frames = [self.frames[stay[k]] for k in linked]
        self.prior = Prior(
            tuple(frame.index for frame in frames),
            tuple(frame.state for frame in frames),
            (H_new[np.ix_(rows, rows)] + H_new[np.ix_(rows, rows)].T) / 2,
            g_new[rows],
        )

    def drop_newest(self) -> None:
        """Take the newest frame out as if it had not been; its IMU steps are the caller's to keep."""
        frame = self.frames.pop()
        mine = {X(frame.index), V(frame.index), B(frame.index)}
        self.extra = [factor for factor in self.extra if not mine & set(factor.keys())]

    def _unlink(self, position: int) -> None:
        """Remove a frame whose IMU factors are already in the prior."""
        if position + 1 < len(self.frames):
            self.frames[position + 1].steps = self.frames[position + 1].pim = None
        del self.frames[position]


def solve_dense(H: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Solve the scaled system, with a tiny ridge against directions that nothing constrains."""
    scale = 1 / np.sqrt(np.maximum(np.diag(H), 1e-9))
    scaled = H * np.outer(scale, scale)
    scaled[np.diag_indices_from(scaled)] += 1e-10
    factor = scipy.linalg.cho_factor(scaled, check_finite=False, overwrite_a=True)
    solved = scipy.linalg.cho_solve(factor, (right.T * scale).T, check_finite=False)
    return np.asarray((solved.T * scale).T)


def _rows(positions: list[int]) -> np.ndarray:
    return np.concatenate([np.arange(N * i, N * i + N) for i in positions]) if positions else np.zeros(0, int)


def _pose_rows(frames: int) -> np.ndarray:
    return (N * np.arange(frames)[:, None] + np.arange(6)).ravel()


def X(index: int) -> int:  # noqa: N802  GTSAM's letters for pose, velocity and bias
    return int(gtsam.symbol("x", index))


def V(index: int) -> int:  # noqa: N802
    return int(gtsam.symbol("v", index))


def B(index: int) -> int:  # noqa: N802
    return int(gtsam.symbol("b", index))
