# SPDX-License-Identifier: Apache-2.0
"""From what a keyframe sees to the place of the map that it shows."""

import numpy as np

from letvins_ros.calibration import MountedCamera
from letvins_ros.config import LoopConfig
from letvins_ros.errors import Rejected
from letvins_ros.loop.agreement import Sighting
from letvins_ros.loop.features import Features
from letvins_ros.loop.place_map import Node, PlaceMap
from letvins_ros.loop.twist import turned, upright
from letvins_ros.loop.verification import Match, Verifier

MAX_TILT_RAD = np.radians(4)  # between the verticals of two keyframes
MAX_POSITION_STD_M = 0.3  # of a match


class Recogniser:
    """Searches a map for places and lets geometry decide."""

    def __init__(self, places: PlaceMap, camera: MountedCamera, config: LoopConfig, is_upright: bool) -> None:
        self._places, self._candidates, self._is_upright = places, config.candidates, is_upright
        self._verifier = Verifier(camera, config.min_inliers, config.inlier_px)

    def recognise(self, features: Features, here: Node) -> Sighting | Rejected:
        """The first of the places most alike that geometry confirms; its motion is that of the level frames."""
        numbers, _ = self._places.index.search(features.place, self._candidates)
        reason = "nothing to compare with yet"
        for a in map(int, numbers):
            if not self._places.graph.is_mapped(a):
                continue
            match = self._verifier.verify(self._places.features(a), features)
            seen = self._levelled(a, match, here) if isinstance(match, Match) else match
            if isinstance(seen, Sighting):
                return seen
            reason = seen.reason
        return Rejected(reason)

    def _levelled(self, a: int, match: Match, here: Node) -> Sighting | Rejected:
        there = self._places.nodes[a]
        motion, tilt = turned(match.motion, there.R_level_body, here.R_level_body), 0.0
        if self._is_upright:
            motion, tilt = upright(motion, np.hypot(there.vertical_std, here.vertical_std))
        if tilt > MAX_TILT_RAD:
            return Rejected(f"tilted by {np.degrees(tilt):.1f} degrees against gravity")
        if motion.position_std > MAX_POSITION_STD_M:
            return Rejected(f"position uncertain by {motion.position_std:.2f} m")
        return Sighting(a, motion, match.inliers, None)
