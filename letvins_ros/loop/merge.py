# SPDX-License-Identifier: Apache-2.0
"""Two maps of overlapping places made into one."""

import numpy as np

from letvins_ros.calibration import MountedCamera
from letvins_ros.config import LoopConfig
from letvins_ros.errors import DataError, Rejected
from letvins_ros.geometry import inverse
from letvins_ros.loop.agreement import Agreement, Sighting
from letvins_ros.loop.closer import PATIENCE_M
from letvins_ros.loop.graph import Loop
from letvins_ros.loop.place_map import PlaceMap
from letvins_ros.loop.recognition import Recogniser
from letvins_ros.loop.twist import Motion


def merge(places: PlaceMap, other: PlaceMap, camera: MountedCamera, is_upright: bool) -> int:
    """Add the other map to the first one; returns by how many loops they were joined.

    Raises DataError where no place of the other map is recognised.
    """
    config = LoopConfig()
    sightings = _common(places, other, Recogniser(places, camera, config, is_upright), config)
    if not sightings:
        raise DataError("the maps have no place in common that is surely recognised")
    last, first = sightings[-1], len(places)
    T_map_other = places.graph.pose(last.a) @ last.motion.T_a_b @ inverse(other.graph.pose(_kept(last)))
    places.graph.append(other.graph, T_map_other)
    places.nodes.extend(other.nodes)
    for seen in sightings:
        places.graph.add_loop(Loop(seen.a, first + _kept(seen), seen.motion))
    failed = places.graph.solve()
    if failed is not None:
        raise DataError(f"the maps cannot be joined: {failed.reason}")
    for node in other.findable():
        places.own[first + node] = other.features(node)
        places.make_findable(first + node)
    return len(sightings)


def _kept(seen: Sighting) -> int:
    if seen.node is None:
        raise ValueError("a sighting of no keyframe")
    return seen.node


def _common(places: PlaceMap, other: PlaceMap, recogniser: Recogniser, config: LoopConfig) -> list[Sighting]:
    """Which keyframes of the other map surely show a place of the first."""
    agreement, found = Agreement(config.agree_inliers, PATIENCE_M), []
    nodes = [node for node in other.findable() if other.graph.is_mapped(node)]
    for before, node in zip([*nodes[:1], *nodes[:-1]], nodes, strict=True):
        T = inverse(other.graph.pose(before)) @ other.graph.pose(node)
        agreement.move(Motion(T, np.eye(6) * 1e-6))
        seen = recogniser.recognise(other.features(node), other.nodes[node])
        if isinstance(seen, Rejected):
            continue
        agreed = agreement.add(places.graph, Sighting(seen.a, seen.motion, seen.inliers, node))
        if not isinstance(agreed, Rejected):
            found += agreed
    return found
