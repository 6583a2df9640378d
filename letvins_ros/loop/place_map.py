# SPDX-License-Identifier: Apache-2.0
"""The map: the pose graph of keyframes, their features, and the index that retrieves them."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from letvins_ros.geometry import transform
from letvins_ros.loop.features import KeyframeFeatures
from letvins_ros.loop.graph import PoseGraph
from letvins_ros.loop.index import PlaceIndex


@dataclass(frozen=True, eq=False)
class Node:
    """Attributes of a keyframe of the map; its pose is in the graph."""

    stamp_ns: int
    R_level_body: np.ndarray  # (3, 3)
    vertical_std: float  # of the attitude against gravity, rad about each horizontal axis


class Archive(Protocol):
    """Features of a map file, read on demand."""

    def features(self, node: int) -> KeyframeFeatures:
        """Features of one node; KeyError where it has none."""
        ...

    def nodes(self) -> list[int]:
        """Nodes with features, in order."""
        ...


class PlaceMap:
    """Keyframes are numbered as in the graph."""

    def __init__(self, place_size: int) -> None:
        self.graph = PoseGraph()
        self.index = PlaceIndex(place_size)
        self.nodes: list[Node] = []
        self.archive: Archive | None = None
        self.own: dict[int, KeyframeFeatures] = {}  # of nodes that are not in the archive

    def __len__(self) -> int:
        return len(self.nodes)

    def features(self, node: int) -> KeyframeFeatures:
        """Features of a node; KeyError where they were not kept."""
        if node in self.own or self.archive is None:
            return self.own[node]
        return self.archive.features(node)

    def findable(self) -> list[int]:
        """Nodes whose features were kept, in order."""
        return [*(self.archive.nodes() if self.archive else ()), *sorted(self.own)]

    def make_findable(self, node: int) -> None:
        """Add the node to the index, so that its place can be recognised."""
        self.index.add(np.array([node]), self.features(node).place[None])

    def T_map_body(self) -> np.ndarray:
        """Poses (N, 4, 4) of all bodies, NaN where a session has no place in the map."""
        R = np.stack([node.R_level_body for node in self.nodes]) if self.nodes else np.zeros((0, 3, 3))
        return np.asarray(self.graph.poses() @ transform(R, np.zeros((len(R), 3))))
