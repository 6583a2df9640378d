# SPDX-License-Identifier: Apache-2.0
"""All feature observations of the window, linearised at once with the landmarks eliminated.

The residual of an observation is M n, with n the unit direction of the landmark in the camera and M, at the measured
direction, d(pixel)/d(direction): the reprojection error in pixels to first order, for every camera model. Landmarks are
eliminated by their Schur complement (Triggs 2000, section 6). GTSAM's smart factors do the same one landmark at a time,
for pinhole cameras, and four times slower from Python.
"""

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass, replace
from functools import cache

import numpy as np

from letvins_ros.estimation.calibration_variables import TIME_OFFSET, Mount, TimeOffset
from letvins_ros.estimation.costs.linear import Cost, LinearCost, Quadratic
from letvins_ros.estimation.costs.vision_kernels import accumulate, solve_points
from letvins_ros.estimation.frame import Frame
from letvins_ros.estimation.landmarks import CameraMounts, Observations, Poses, step_landmarks
from letvins_ros.estimation.state import STATE_SIZE as N
from letvins_ros.estimation.state import State
from letvins_ros.estimation.variables import AnyKey, Key, Values
from letvins_ros.geometry import exp_so3

FEW = 30  # sightings
MIN_ERROR_PX = 0.05  # median, at least: errors of nothing would let no error count
MAX_ERROR_PX = 0.5  # that is taken for noise: where images contradict an IMU that is wrong, they must not give way
MEDIAN = np.sqrt(2 * np.log(2))  # of Gaussian errors in two directions, in standard deviations


@dataclass(frozen=True)
class RobustPixels:
    """Standard deviation of a pixel, px, and the loss of its error e: Cauchy's, scale^2 / 2 log(1 + (e / scale)^2).

    Some features slide along edges of things that hide each other, and are ten times further off than most. How exact
    most are differs between cameras, lights and trackers, so both follow their median error (Huber 1981, ch. 6).
    The loss weighs errors down that are purely Gaussian too; what it takes from them in the mean, `weight` gives back.
    """

    sigma: float = 0.7  # px, while no errors are known
    scale: float = 1.5  # px, likewise
    noise_scale: float = 1.0  # sigma in standard deviations of the errors
    factor: float = 2.0  # the scale in median errors
    prior_scale: float = 1.0  # sigma of what goes into the prior, in sigmas

    def fitted(self, errors: np.ndarray) -> "RobustPixels":
        """The same as errors (K,) px show it; few of them tell nothing."""
        if len(errors) < FEW:
            return self
        median = max(float(np.median(errors)), MIN_ERROR_PX)
        sigma = self.noise_scale * min(median, MAX_ERROR_PX) / MEDIAN
        return replace(self, sigma=sigma, scale=self.factor * median)

    @property
    def in_prior(self) -> "RobustPixels":
        """Of sightings that leave the window: later ones of the same features repeat a part of their errors."""
        return replace(self, sigma=self.prior_scale * self.sigma)

    @property
    def weight(self) -> float:
        """Of an error of nothing, 1/px^2: such that the weights of Gaussian errors have the mean 1 / sigma^2."""
        return 1.0 / (self.sigma**2 * _mean_gaussian_weight(self.factor))


@cache
def _mean_gaussian_weight(factor: float) -> float:
    """Mean Cauchy weight of Gaussian errors, half of whose square, in standard deviations, is spread exponentially."""
    halved_squares, shares = np.polynomial.laguerre.laggauss(32)
    return float(shares @ (1 / (1 + 2 * halved_squares / (MEDIAN * factor) ** 2)))


@dataclass(frozen=True, eq=False)
class Sightings:
    """Landmarks and what the frames and cameras of a window saw of them."""

    frames: Sequence[Frame]
    cameras: int
    seen: Observations
    points: np.ndarray  # (L, 3) m, odom
    origin: np.ndarray  # (L, 3) m, odom: from where a landmark's distance is stepped


class LinearVision(LinearCost):
    """The poses of the frames and what is refined of the calibration, after the landmarks have been eliminated."""

    errors: np.ndarray  # (K,) px of each sighting, BEHIND_PX behind the camera
    offset: np.ndarray  # (L, 3) m: landmark steps are offset - slope d
    slope: np.ndarray  # (L, 3, n)

    def landmark_steps(self, d: np.ndarray) -> np.ndarray:
        """Steps (L, 3), m, of the landmarks that belong to the step d (n,)."""
        return np.asarray(self.offset - self.slope @ d)


class VisionCost(Cost):
    """What all sightings of some landmarks say about the poses, and about the calibration where that is refined."""

    def __init__(self, sightings: Sightings, noise: RobustPixels, refined: tuple[AnyKey, ...] = ()) -> None:
        """refined: the mounts and the time offset that are estimated; of others the values are taken as they are."""
        self.keys = (*(frame.key for frame in sightings.frames), *refined)
        self.sightings, self._noise, self._refined = sightings, noise, refined
        F = len(sightings.frames)
        self._components = (N * np.arange(F)[:, None] + np.arange(6)).ravel()  # velocity and biases are not seen
        extra = sum(key.kind.size for key in refined)
        self._components = np.concatenate([self._components, N * F + np.arange(extra)])
        self._columns = _columns(refined, sightings.cameras, 6 * F)

    def linearised(self, values: Values, where: Values) -> LinearVision:
        """Errors and the calibration are those of the values, derivatives are taken at the poses of `where`."""
        frames = self.sightings.frames
        poses = camera_poses(frames, values)
        fixed = poses if where is values else camera_poses(frames, where)
        rates = body_rates(frames, values) if TIME_OFFSET in self._refined else np.zeros((len(frames), 6))
        seen, points = self.sightings.seen, self.sightings.points
        n, L = len(self._components), len(points)
        H, g = np.zeros((n, n)), np.zeros(n)
        cross = np.zeros((L, 3, n))
        H_points, g_points = np.zeros((L, 3, 3)), np.zeros((L, 3))
        cost, errors = accumulate(
            (poses.R, poses.p, fixed.R, fixed.p, rates),
            points,
            mounts_of(values, self.sightings.cameras).arrays,
            (seen.frame, seen.camera, seen.landmark, seen.bearing, seen.M),
            (self._noise.weight, self._noise.scale),
            self._columns,
            (H, g, cross, H_points, g_points),
        )
        slope, offset = solve_points(H_points, g_points, cross)
        flat = cross.reshape(3 * L, n)
        H -= flat.T @ slope.reshape(3 * L, n)
        g += flat.T @ offset.reshape(3 * L)
        components, normal = self._components, Quadratic((H + H.T) / 2, g, cost)
        linear = LinearVision(self.keys, where, normal, values=values, components=components)
        linear.errors, linear.offset, linear.slope = errors, offset, slope
        return linear

    def after(self, linear: LinearCost, d: np.ndarray) -> "VisionCost":
        """The cost with its landmarks moved along."""
        if not isinstance(linear, LinearVision):
            raise TypeError(f"a vision cost steps by its own linearisation, not by {type(linear).__name__}")
        old = self.sightings
        points = step_landmarks(old.points, linear.landmark_steps(d), old.origin)
        moved = copy(self)
        moved.sightings = replace(old, points=points)
        return moved


def compile_kernels() -> None:
    """Have numba compile the estimator's loops, or load them from its cache, before the first frame waits for it."""
    none = np.zeros(0, np.int64)
    seen = Observations(none, none, none, np.zeros((0, 3)), np.zeros((0, 2, 3)))
    of_camera = np.zeros((1, 0, 3)), np.zeros((1, 0, 2, 3)), np.zeros((1, 0))
    frame = Frame(0, 0, State(np.eye(3), np.zeros(3)), none, *of_camera)
    values = Values({Key(State, 0): frame.state, Key(Mount, 0): Mount(np.eye(4)), TIME_OFFSET: TimeOffset(0.0)})
    joint = Sightings((frame,), 1, seen, np.zeros((0, 3)), np.zeros((0, 3)))
    VisionCost(joint, RobustPixels(1.0)).linearised(values, values)


def _columns(refined: tuple[AnyKey, ...], cameras: int, start: int) -> tuple[np.ndarray, int]:
    """Where the mount of each camera (C,) and the time offset begin in the equations, -1 for what is held."""
    mounts, offset = np.full(cameras, -1), -1
    for key in refined:
        if key.kind is Mount:
            mounts[key.number] = start
        else:
            offset = start
        start += key.kind.size
    return mounts, offset


def mounts_of(values: Values, cameras: int) -> CameraMounts:
    """Where the cameras sit, by these values."""
    return CameraMounts([values[Key(Mount, i)].T_body_cam for i in range(cameras)])


def camera_poses(frames: Sequence[Frame], values: Values) -> Poses:
    """Body poses when the images were taken, as the time offset says now."""
    states = [values[frame.key] for frame in frames]
    R, p = np.stack([s.R for s in states]), np.stack([s.p for s in states])
    offset_s = values[TIME_OFFSET].seconds
    if any(frame.offset_s != offset_s for frame in frames):
        late = np.array([offset_s - frame.offset_s for frame in frames])[:, None]
        rates = body_rates(frames, values)
        velocity = (R @ rates[:, 3:, None])[..., 0]
        R, p = R @ exp_so3(rates[:, :3] * late), p + velocity * late
    return Poses(R, p)


def body_rates(frames: Sequence[Frame], values: Values) -> np.ndarray:
    """Angular rate, rad/s, and velocity, m/s, (F, 6) of each frame, both in the body."""
    states = [values[frame.key] for frame in frames]
    return np.stack(
        [np.concatenate([frame.gyro - s.gyro_bias, s.R.T @ s.v]) for frame, s in zip(frames, states, strict=True)]
    )
