# SPDX-License-Identifier: Apache-2.0
"""A recognised place is believed when several keyframes in a row tell the same."""

from dataclasses import dataclass, replace

import numpy as np

from letvins_ros.errors import Rejected
from letvins_ros.geometry import inverse
from letvins_ros.loop.graph import PoseGraph
from letvins_ros.loop.twist import STILL, Motion, log, mahalanobis

AGREE_CHI2 = 22.5  # 99.9 % of six degrees of freedom
SLACK_STD = np.repeat([0.02, 0.05], 3)  # rad, m: of the map between two keyframes of one place


@dataclass(frozen=True, eq=False)
class Sighting:
    """A place of the map that a keyframe has recognised."""

    a: int  # node of the map
    motion: Motion  # from there to the keyframe
    inliers: int
    node: int | None  # of the keyframe, None where it was not kept
    since: Motion = STILL  # odometry from the keyframe to now

    @property
    def now(self) -> Motion:
        """From the place to where the body is now."""
        return self.motion.then(self.since)

    def moved(self, motion: Motion) -> "Sighting":
        """The same when the body has moved on."""
        return replace(self, since=self.since.then(motion))


class Agreement:
    """Holds sightings that wait for others to agree with them."""

    def __init__(self, inliers: int, patience_m: float) -> None:
        self._inliers, self._patience_m = inliers, patience_m
        self._waiting: list[Sighting] = []

    def move(self, motion: Motion) -> None:
        """Carry what waits along with the body; what is too long ago is forgotten."""
        moved = [sighting.moved(motion) for sighting in self._waiting]
        self._waiting = [s for s in moved if np.linalg.norm(s.since.T_a_b[:3, 3]) < self._patience_m]

    def add(self, graph: PoseGraph, new: Sighting) -> list[Sighting] | Rejected:
        """The sightings that together are believed, the new one among them."""
        same = [old for old in self._waiting if _agree(graph, old, new)]
        total = sum(sighting.inliers for sighting in same) + new.inliers
        self._waiting.append(new)
        if total < self._inliers:
            return Rejected(f"{total} inliers of agreeing keyframes, {self._inliers} needed")
        self._waiting = [sighting for sighting in self._waiting if sighting not in same and sighting is not new]
        return [*same, new]


def _agree(graph: PoseGraph, old: Sighting, new: Sighting) -> bool:
    """Whether both put the body at one place of the map."""
    T_map_a, T_map_b = graph.pose(old.a), graph.pose(new.a)
    by_old, by_new = old.now, new.now
    apart = log(inverse(T_map_b @ by_new.T_a_b) @ T_map_a @ by_old.T_a_b)
    covariance = by_old.covariance + by_new.covariance + np.diag(SLACK_STD**2)
    return mahalanobis(apart, covariance) < AGREE_CHI2
