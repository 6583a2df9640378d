# SPDX-License-Identifier: Apache-2.0
"""From the features of a keyframe to the place of the map it shows, accepted when several keyframes agree."""

from dataclasses import dataclass, replace

import numpy as np

from letvins_ros.calibration import MountedCamera
from letvins_ros.config import LoopConfig
from letvins_ros.errors import Rejected
from letvins_ros.geometry import inverse
from letvins_ros.loop.features import KeyframeFeatures
from letvins_ros.loop.graph import PoseGraph
from letvins_ros.loop.motion import NO_MOTION, Motion, align_with_gravity, log, mahalanobis, rotate_frames
from letvins_ros.loop.place_map import Node, PlaceMap
from letvins_ros.loop.verification import Match, Verifier

MAX_TILT_RAD = np.radians(4)  # between the verticals of two keyframes
MAX_POSITION_STD_M = 0.3  # of a match
AGREE_CHI2 = 22.5  # 99.9 % of six degrees of freedom
MAP_STD = np.repeat([0.02, 0.05], 3)  # rad, m: of the map between two keyframes of one place


@dataclass(frozen=True, eq=False)
class PlaceMatch:
    """A place of the map that a keyframe has recognised."""

    a: int  # node of the map
    motion: Motion  # from there to the keyframe
    inliers: int
    node: int | None  # of the keyframe, None where it is no node of the map
    since: Motion = NO_MOTION  # odometry from the keyframe to the present

    @property
    def now(self) -> Motion:
        """From the place to the present pose of the body."""
        return self.motion.then(self.since)

    def moved(self, motion: Motion) -> "PlaceMatch":
        """The same match after a further motion of the body."""
        return replace(self, since=self.since.then(motion))


class Recogniser:
    """Retrieves similar places of a map and verifies them geometrically."""

    def __init__(self, places: PlaceMap, camera: MountedCamera, config: LoopConfig, gravity_aligned: bool) -> None:
        self._places, self._candidates, self._gravity_aligned = places, config.candidates, gravity_aligned
        self._verifier = Verifier(camera, config.min_inliers, config.inlier_px)

    def recognise(self, features: KeyframeFeatures, here: Node) -> PlaceMatch | Rejected:
        """The most similar place that passes verification; its motion is between the level frames."""
        numbers, _ = self._places.index.query(features.place, self._candidates)
        reason = "nothing to compare with yet"
        for a in map(int, numbers):
            if a >= len(self._places) or not self._places.graph.is_mapped(a):
                continue  # another process has mapped it since, or nobody knows yet where it is
            found = self._verifier.verify(self._places.features(a), features)
            match = self._gravity_checked(a, found, here) if isinstance(found, Match) else found
            if isinstance(match, PlaceMatch):
                return match
            reason = match.reason
        return Rejected(reason)

    def _gravity_checked(self, a: int, match: Match, here: Node) -> PlaceMatch | Rejected:
        there = self._places.nodes[a]
        motion, tilt = rotate_frames(match.motion, there.R_level_body, here.R_level_body), 0.0
        if self._gravity_aligned:
            motion, tilt = align_with_gravity(motion, np.hypot(there.vertical_std, here.vertical_std))
        if tilt > MAX_TILT_RAD:
            return Rejected(f"tilted by {np.degrees(tilt):.1f} degrees against gravity")
        if motion.position_std > MAX_POSITION_STD_M:
            return Rejected(f"position uncertain by {motion.position_std:.2f} m")
        return PlaceMatch(a, motion, match.inliers, None)


class Agreement:
    """Accepts place matches once several keyframes agree; until then they wait."""

    def __init__(self, inliers: int, max_distance_m: float) -> None:
        """inliers: needed in sum; max_distance_m: travelled, after which a waiting match is dropped."""
        self._inliers, self._max_distance_m = inliers, max_distance_m
        self._waiting: list[PlaceMatch] = []

    def move(self, motion: Motion) -> None:
        """Propagate the waiting matches by the body's motion and drop those too far back."""
        moved = [match.moved(motion) for match in self._waiting]
        self._waiting = [m for m in moved if np.linalg.norm(m.since.T_a_b[:3, 3]) < self._max_distance_m]

    def add(self, graph: PoseGraph, new: PlaceMatch) -> list[PlaceMatch] | Rejected:
        """The matches that are accepted together, the new one last."""
        same = [old for old in self._waiting if _agree(graph, old, new)]
        total = sum(match.inliers for match in same) + new.inliers
        self._waiting.append(new)
        if total < self._inliers:
            return Rejected(f"{total} inliers of agreeing keyframes, {self._inliers} needed")
        self._waiting = [match for match in self._waiting if match not in same and match is not new]
        return [*same, new]


def _agree(graph: PoseGraph, old: PlaceMatch, new: PlaceMatch) -> bool:
    """Whether both put the body at one place of the map."""
    T_map_a, T_map_b = graph.pose(old.a), graph.pose(new.a)
    by_old, by_new = old.now, new.now
    apart = log(inverse(T_map_b @ by_new.T_a_b) @ T_map_a @ by_old.T_a_b)
    covariance = by_old.covariance + by_new.covariance + np.diag(MAP_STD**2)
    return mahalanobis(apart, covariance) < AGREE_CHI2
