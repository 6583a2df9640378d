# SPDX-License-Identifier: Apache-2.0
"""Merge two maps with places in common."""

import numpy as np

from letvins_ros.calibration import MountedCamera
from letvins_ros.config import LoopConfig
from letvins_ros.errors import DataError, Rejected
from letvins_ros.geometry import inverse
from letvins_ros.loop.closer import MAX_WAIT_M
from letvins_ros.loop.motion import Motion
from letvins_ros.loop.place_map import PlaceMap
from letvins_ros.loop.recognition import Agreement, PlaceMatch, Recogniser
from letvins_ros.loop.solving import Loop


def merge(places: PlaceMap, other: PlaceMap, camera: MountedCamera, gravity_aligned: bool) -> int:
    """Add the other map to the first one; returns the number of loops between them.

    Raises DataError where no place of the other map is recognised.
    """
    config = LoopConfig()
    matches = _common(places, other, Recogniser(places, camera, config, gravity_aligned), config)
    if not matches:
        raise DataError("the maps have no place in common that is recognised with certainty")
    last, first = matches[-1], len(places)
    T_map_other = places.graph.pose(last.a) @ last.motion.T_a_b @ inverse(other.graph.pose(_node(last)))
    places.graph.append(other.graph, T_map_other)
    places.nodes.extend(other.nodes)
    for match in matches:
        places.graph.add_loop(Loop(match.a, first + _node(match), match.motion))
    failed = places.graph.solve()
    if failed is not None:
        raise DataError(f"the maps cannot be merged: {failed.reason}")
    for node in other.findable():
        places.own[first + node] = other.features(node)
        places.make_findable(first + node)
    return len(matches)


def _node(match: PlaceMatch) -> int:
    if match.node is None:
        raise ValueError("a match without a node")
    return match.node


def _common(places: PlaceMap, other: PlaceMap, recogniser: Recogniser, config: LoopConfig) -> list[PlaceMatch]:
    """Accepted matches of the other map's keyframes with places of the first."""
    agreement, found = Agreement(config.agree_inliers, MAX_WAIT_M), []
    nodes = [node for node in other.findable() if other.graph.is_mapped(node)]
    for before, node in zip([*nodes[:1], *nodes[:-1]], nodes, strict=True):
        T = inverse(other.graph.pose(before)) @ other.graph.pose(node)
        agreement.move(Motion(T, np.eye(6) * 1e-6))
        match = recogniser.recognise(other.features(node), other.nodes[node])
        if isinstance(match, Rejected):
            continue
        agreed = agreement.add(places.graph, PlaceMatch(match.a, match.motion, match.inliers, node))
        if not isinstance(agreed, Rejected):
            found += agreed
    return found
