# SPDX-License-Identifier: Apache-2.0
"""A map for other programs: poses as TUM, the graph as g2o, landmarks as PLY."""

from collections.abc import Iterator
from decimal import Decimal
from itertools import pairwise

import numpy as np

from letvins_ros.errors import DataError
from letvins_ros.geometry import apply, quaternion_xyzw
from letvins_ros.loop.motion import Motion, swap_blocks
from letvins_ros.loop.place_map import PlaceMap


def to_tum(places: PlaceMap) -> str:
    """`stamp x y z qx qy qz qw` of every keyframe with a place in the map, in time order."""
    T, stamps = places.T_map_body(), np.array([node.stamp_ns for node in places.nodes], np.int64)
    rows = [i for i in np.argsort(stamps, kind="stable") if np.isfinite(T[i]).all()]
    return "".join(f"{Decimal(int(stamps[i])).scaleb(-9):.9f} {_pose(T[i])}\n" for i in rows)


def to_g2o(places: PlaceMap) -> str:
    """Vertices and edges SE3:QUAT with the information matrices, level frames of the keyframes."""
    T_map, graph = places.graph.poses(), places.graph
    lines = [f"VERTEX_SE3:QUAT {i} {_pose(T)}" for i, T in enumerate(T_map) if np.isfinite(T).all()]
    for a, b in pairwise(range(len(graph))):
        if graph.chains.sessions[a] == graph.chains.sessions[b] and np.isfinite(T_map[a]).all():
            lines.append(_edge(a, b, graph.odometry(a, b)))
    lines += [_edge(loop.a, loop.b, loop.motion) for loop in graph.loops if loop.trusted]
    return "\n".join(lines) + "\n"


def to_ply(places: PlaceMap) -> str:
    """The landmarks of all keyframes in the map, m."""
    T = places.T_map_body()
    parts = [np.zeros((0, 3)), *_landmarks(places, T)]
    points = np.concatenate(parts)
    axes = "".join(f"property float {axis}\n" for axis in "xyz")
    rows = "".join(f"{x:.4f} {y:.4f} {z:.4f}\n" for x, y, z in points)
    return f"ply\nformat ascii 1.0\nelement vertex {len(points)}\n{axes}end_header\n{rows}"


FORMATS = {".tum": to_tum, ".g2o": to_g2o, ".ply": to_ply}


def export(places: PlaceMap, suffix: str) -> str:
    """The map in the format that the suffix names; raises DataError for an unknown one."""
    if suffix not in FORMATS:
        raise DataError(f"cannot export a map as {suffix or 'a file without ending'}; known: {', '.join(FORMATS)}")
    return FORMATS[suffix](places)


def _landmarks(places: PlaceMap, T_map_body: np.ndarray) -> Iterator[np.ndarray]:
    for node in places.findable():
        points = places.features(node).points_body.astype(float)
        if np.isfinite(T_map_body[node]).all():
            yield apply(T_map_body[node], points[np.isfinite(points[:, 0])])


def _pose(T: np.ndarray) -> str:
    return " ".join(f"{value:.9f}" for value in (*T[:3, 3], *quaternion_xyzw(T[:3, :3])))


def _edge(a: int, b: int, motion: Motion) -> str:
    covariance = swap_blocks(motion.covariance) + 1e-15 * np.eye(6)  # g2o: position, then rotation; half angles ignored
    information = np.linalg.inv(covariance)
    numbers = " ".join(f"{value:.6g}" for value in information[np.triu_indices(6)])
    return f"EDGE_SE3:QUAT {a} {b} {_pose(motion.T_a_b)} {numbers}"
