# SPDX-License-Identifier: Apache-2.0
"""The sliding window: which frames are in it, their landmarks, and the prior that stands for all that has left."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import gtsam
import numpy as np

from letvins_ros.calibration import ImuNoise, MountedCamera
from letvins_ros.estimation.calibration_variables import calibrated, calibration_values
from letvins_ros.estimation.costs.gtsam_factors import GtsamCost, factor_keys
from letvins_ros.estimation.costs.inertial import contradiction, imu_factors
from letvins_ros.estimation.costs.linear import NOTHING, Cost
from letvins_ros.estimation.costs.vision import (
    LinearVision,
    RobustPixels,
    Sightings,
    VisionCost,
    camera_poses,
    mounts_of,
)
from letvins_ros.estimation.frame import Frame
from letvins_ros.estimation.landmarks import Observations, sightings, triangulate
from letvins_ros.estimation.preintegration import preintegrate
from letvins_ros.estimation.solver import marginalised, minimise, solve_dense
from letvins_ros.estimation.state import State
from letvins_ros.estimation.variables import AnyKey, Key, Layout, Values
from letvins_ros.geometry import inverse
from letvins_ros.pose_from_landmarks import pose_from_landmarks

MIN_RAY_INFORMATION = 1e-6  # a parallax of about 0.08 degrees
TYPICAL_DEPTH_M = 10.0
MAX_RAY_MISS = 0.01  # rad; more is a wrong match, not noise

Extra = Cost | gtsam.NonlinearFactor  # what else is known of the frames in the window


@dataclass(frozen=True, eq=False)
class Solution:
    """How an optimisation ended."""

    cost: float
    steps: int
    information: np.ndarray  # (n, n) at the last linearisation: the frames' states, then what is refined
    errors: np.ndarray  # (L,) px, each landmark's mean; 0 where it had no part
    followed: np.ndarray  # (L,) bool, seen by the newest frame and one before it: these tell of its motion
    contradiction: float  # mean chi-square of the IMU's intervals

    def doubtful_share(self, limit_px: float) -> float:
        """Share of the followed landmarks that are beyond a limit; new ones fit any motion and have no vote."""
        return float((self.errors[self.followed] > limit_px).mean()) if self.followed.any() else 0.0


class Window:
    """Keyframes and the newest frame, with their landmarks."""

    def __init__(self, cameras: tuple[MountedCamera, ...], refined: tuple[AnyKey, ...], noise: RobustPixels) -> None:
        """refined: what of the calibration is estimated."""
        self._cameras, self._refined, self._noise = cameras, refined, noise
        self.calibration = calibration_values(cameras)
        self.frames: list[Frame] = []
        self.ids = np.zeros(0, np.int64)  # of landmarks, sorted
        self.points = np.zeros((0, 3))  # (L, 3) m, odom
        self.prior = NOTHING
        self.extra: list[Extra] = []

    @property
    def cameras(self) -> tuple[MountedCamera, ...]:
        """The cameras as they are known now."""
        return calibrated(self._cameras, self.calibration)

    # -- landmarks ----------------------------------------------------------------------------------------------------

    def add_landmarks(self) -> None:
        """Triangulate features of the newest frame that have no landmark yet, where their rays suffice."""
        new = np.setdiff1d(self.frames[-1].ids, self.ids, assume_unique=True)
        if not len(new):
            return
        seen = sightings(new, self.frames)
        poses = camera_poses(self.frames, self._values())
        found = triangulate(poses, seen, len(new), mounts_of(self.calibration, len(self._cameras)))
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

    def place_newest(self, limit_px: float) -> None:
        """Move the newest frame to where most of its landmarks are seen from, where they agree on that."""
        frame, left = self.frames[-1], self._cameras[0]
        _, row, column = np.intersect1d(self.ids, frame.ids[frame.seen[0]], assume_unique=True, return_indices=True)
        limit_rad = limit_px / left.camera.focal_px
        T_odom_cam = pose_from_landmarks(self.points[row], frame.bearings[0][frame.seen[0]][column], limit_rad)
        if T_odom_cam is not None:
            T = T_odom_cam @ inverse(left.T_body_cam)
            frame.state = replace(frame.state, R=T[:3, :3], p=T[:3, 3])

    def depth_m(self) -> float:
        """Median distance of the newest frame's landmarks, m; TYPICAL_DEPTH_M where it has none."""
        frame = self.frames[-1]
        mine = self.points[np.isin(self.ids, frame.ids, assume_unique=True, kind="sort")]
        return float(np.median(np.linalg.norm(mine - frame.state.p, axis=1))) if len(mine) else TYPICAL_DEPTH_M

    def shared(self, frame: Frame) -> np.ndarray:
        """The landmarks (N,) that a frame sees."""
        return np.intersect1d(frame.ids, self.ids, assume_unique=True)

    # -- IMU ----------------------------------------------------------------------------------------------------------

    def reweigh(self, noise: ImuNoise) -> None:
        """Give the readings between the frames the weight of another noise."""
        for before, after in pairwise(self.frames):
            if after.pim is not None and after.steps is not None:
                after.pim = preintegrate(after.steps, noise, before.state.accel_bias, before.state.gyro_bias)

    # -- optimisation -------------------------------------------------------------------------------------------------

    def solve(self, iterations: int) -> Solution:
        """Levenberg-Marquardt over all frames; landmarks are eliminated and follow."""
        active, seen = self._active()
        layout = self._layout()
        vision = self._vision(seen, self.points[active], self._noise)
        costs = self._costs(layout, imu_factors(pairwise(self.frames)), self.extra, vision)
        end = minimise(costs, self._values(), layout, self.prior.points, iterations)
        for frame in self.frames:
            frame.state = end.values[frame.key]
        self.calibration = end.values.only(self.calibration)
        self.points[active] = end.cost_of(VisionCost).sightings.points
        errors = end.linear_of(LinearVision).errors
        self._noise = self._noise.fitted(errors)
        mean = self._mean_errors(active, seen, errors)
        followed = self._followed(active, seen)
        return Solution(end.cost, end.steps, end.information, mean, followed, contradiction(self.frames))

    def _costs(
        self, layout: Layout, imu: list[gtsam.NonlinearFactor], extra: Sequence[Extra], vision: VisionCost | None
    ) -> list[Cost]:
        """All costs, GTSAM's factors joined in one."""
        own = [one for one in extra if isinstance(one, Cost)]
        factors = imu + [one for one in extra if not isinstance(one, Cost)]
        of_images = [] if vision is None else [vision]
        return [GtsamCost(factors, layout.keys), self.prior, *of_images, *own]

    def _active(self) -> tuple[np.ndarray, Observations]:
        """Rows of landmarks seen at least twice, and their sightings."""
        none = Observations(*(np.zeros(0, int),) * 3, np.zeros((0, 3)), np.zeros((0, 2, 3)))
        if not len(self.ids):
            return np.zeros(0, int), none
        seen = sightings(self.ids, self.frames)
        enough = seen.counts(len(self.ids)) >= 2
        return np.flatnonzero(enough), seen.select(enough[seen.landmark], np.cumsum(enough) - 1)

    def _vision(self, seen: Observations, points: np.ndarray, noise: RobustPixels) -> VisionCost:
        """The cost of these sightings; a landmark's distance is stepped from the first frame that saw it."""
        first = np.full(len(points), len(self.frames) - 1)
        np.minimum.at(first, seen.landmark, seen.frame)
        origin = np.stack([frame.state.p for frame in self.frames])[first]
        joint = Sightings(tuple(self.frames), len(self._cameras), seen, points, origin)
        return VisionCost(joint, noise, self._refined)

    def _mean_errors(self, active: np.ndarray, seen: Observations, errors: np.ndarray) -> np.ndarray:
        mean = np.zeros(len(self.ids))
        total = np.bincount(seen.landmark, errors, len(active))
        mean[active] = total / np.maximum(seen.counts(len(active)), 1)
        return mean

    def _followed(self, active: np.ndarray, seen: Observations) -> np.ndarray:
        newest = seen.frame == len(self.frames) - 1
        now, before = (np.bincount(seen.landmark[mask], minlength=len(active)) > 0 for mask in (newest, ~newest))
        followed = np.zeros(len(self.ids), bool)
        followed[active] = now & before
        return followed

    # -- what is estimated: the frames' states, then what is refined of the calibration -------------------------------

    def _values(self) -> Values:
        return Values({frame.key: frame.state for frame in self.frames}) | self.calibration

    def _layout(self) -> Layout:
        return Layout([*(frame.key for frame in self.frames), *self._refined])

    def refix_prior(self) -> None:
        """Fix the prior at the present values; only right while nothing has been marginalised into it."""
        self.prior = self.prior.fixed_at(self._values())

    def covariance(self, information: np.ndarray, newest: int = 1) -> np.ndarray:
        """Joint covariance of the newest frames, oldest of them first, in the order of `State` steps."""
        rows = self._layout().rows(frame.key for frame in self.frames[-newest:])
        columns = np.zeros((len(information), len(rows)))
        columns[rows] = np.eye(len(rows))
        return np.asarray(solve_dense(information, columns)[rows])

    # -- leaving the window -------------------------------------------------------------------------------------------

    def marginalise(self, position: int, repeats: bool = False) -> None:
        """Take a frame out; what it says about the others goes into the prior (Schur complement).

        So do all sightings of its landmarks, but the newest frame's, from which those in sight start anew: each
        sighting counts once, and none is lost. Those of a frame that another one repeats tell nothing more: its
        landmarks stay.
        """
        leaving = self.frames[position]
        key, gone = leaving.key, leaving.ids[:0] if repeats else leaving.ids
        lost = np.isin(self.ids, gone, assume_unique=True, kind="sort")
        frames = self.frames
        neighbours = [(frames[i - 1], frames[i]) for i in (position, position + 1) if 0 < i < len(frames)]
        extra = [one for one in self.extra if key in _keys(one)]
        vision = None
        if lost.any():
            seen = sightings(self.ids[lost], self.frames[:-1])
            vision = self._vision(seen, self.points[lost], self._noise.in_prior)
        layout = self._layout()
        costs = self._costs(layout, imu_factors(neighbours), extra, vision)
        self.prior = marginalised(costs, self._values(), layout, self.prior.points, key)
        self.extra = [one for one in self.extra if one not in extra]
        self.ids, self.points = self.ids[~lost], self.points[~lost]
        for frame in self.frames[:-1]:
            frame.forget(gone)
        self._unlink(position)

    def drop_newest(self) -> None:
        """Take the newest frame out as if it had not been; its IMU steps are the caller's to keep."""
        mine = Key(State, self.frames.pop().index)
        self.extra = [one for one in self.extra if mine not in _keys(one)]

    def _unlink(self, position: int) -> None:
        """Remove a frame whose IMU factors are already in the prior."""
        if position + 1 < len(self.frames):
            self.frames[position + 1].steps = self.frames[position + 1].pim = None
        del self.frames[position]


def _keys(extra: Extra) -> set[AnyKey]:
    return set(extra.keys) if isinstance(extra, Cost) else factor_keys(extra)
