# SPDX-License-Identifier: Apache-2.0
"""The map: the pose graph of keyframes, their features, and the index that retrieves similar places."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from letvins_ros.geometry import transform
from letvins_ros.loop.features import KeyframeFeatures
from letvins_ros.loop.graph import PoseGraph

EXACT_UP_TO = 50_000  # places; above, lists of 8-bit vectors
LISTS = 1024
PROBES = 16
TRAINING = 40_000  # vectors from which the lists are learned


class PlaceStore(Protocol):
    """Vectors (D,) float32 with a number each; a number is that of a keyframe."""

    size: int  # D

    def __len__(self) -> int: ...

    def add(self, numbers: np.ndarray, places: np.ndarray) -> None:
        """Add places (N, D) under numbers that it does not have."""
        ...

    def query(self, place: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Numbers and similarities of the places most like this one (D,), the best first, at most count."""
        ...

    def remove(self, numbers: np.ndarray) -> None:
        """Forget the places of these numbers, where it has them."""
        ...


class PlaceIndex:
    """A PlaceStore in this process's memory, which compares with every place until there are very many."""

    def __init__(self, size: int) -> None:
        self.size, self._count = size, 0
        self._numbers = np.zeros(64, np.int64)  # these two with room for more
        self._places = np.zeros((64, size), np.float32)
        self._lists: Any = None  # faiss's index, instead of both

    def __len__(self) -> int:
        return self._count if self._lists is None else int(self._lists.ntotal)

    def add(self, numbers: np.ndarray, places: np.ndarray) -> None:
        """See PlaceStore; the first addition beyond EXACT_UP_TO learns the lists, which takes seconds."""
        if len(numbers) == 0:
            return
        if self._lists is None and len(self) + len(numbers) > EXACT_UP_TO:
            self._lists = _learned(self._numbers[: len(self)], self._places[: len(self)], places)
            self._numbers, self._places = self._numbers[:0].copy(), self._places[:0].copy()
        if self._lists is not None:
            self._lists.add_with_ids(np.ascontiguousarray(places, np.float32), np.ascontiguousarray(numbers, np.int64))
            return
        rows = slice(self._count, self._count + len(numbers))
        if rows.stop > len(self._numbers):
            self._numbers.resize(2 * rows.stop, refcheck=False)
            self._places.resize((2 * rows.stop, self.size), refcheck=False)
        self._numbers[rows], self._places[rows] = numbers, places
        self._count = rows.stop

    def query(self, place: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
        if self._lists is not None:
            likeness, numbers = self._lists.search(place[None], count)
            found = numbers[0] >= 0
            return numbers[0][found], likeness[0][found]
        likeness = self._places[: len(self)] @ place
        best = np.argsort(-likeness, kind="stable")[:count]
        return self._numbers[best], likeness[best]

    def remove(self, numbers: np.ndarray) -> None:
        if self._lists is not None:
            import faiss

            self._lists.remove_ids(faiss.IDSelectorBatch(np.ascontiguousarray(numbers, np.int64)))
            return
        kept = np.flatnonzero(~np.isin(self._numbers[: len(self)], numbers))
        self._count = len(kept)
        self._numbers[: len(kept)], self._places[: len(kept)] = self._numbers[kept], self._places[kept]


def _learned(numbers: np.ndarray, places: np.ndarray, more: np.ndarray) -> Any:
    """Lists that hold these places (N, D) under their numbers (N,), and were learned from more of them."""
    import faiss  # 14 MB

    faiss.omp_set_num_threads(1)  # of this thread
    size = places.shape[1]
    known = np.concatenate([places, more])
    kind = faiss.ScalarQuantizer.QT_8bit
    words = faiss.IndexFlatIP(size)
    lists = faiss.IndexIVFScalarQuantizer(words, size, LISTS, kind, faiss.METRIC_INNER_PRODUCT, False)
    lists.cp.seed, lists.cp.niter, lists.nprobe = 0, 8, PROBES
    step = max(len(known) // TRAINING, 1)
    lists.train(np.ascontiguousarray(known[::step][:TRAINING], np.float32))
    if len(numbers):
        lists.add_with_ids(places, numbers)
    return lists


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
        self.index: PlaceStore = PlaceIndex(place_size)
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

    def share(self, folder: Path, mode: str) -> None:
        """Look places up in a database on disk: mode map writes it anew, with what is known; localise only reads it.

        Raises DataError where there is nothing to read, ConfigError where LanceDB is not installed.
        """
        from letvins_ros.loop.lance_store import LanceStore

        if mode == "localise":
            self.index = LanceStore.opened(folder, self.index.size)
            return
        known = self.findable()
        places = [self.features(node).place for node in known]
        empty = np.zeros((0, self.index.size), np.float32)
        self.index = LanceStore.created(folder, np.array(known, np.int64), np.stack(places) if places else empty)

    def T_map_body(self) -> np.ndarray:
        """Poses (N, 4, 4) of all bodies, NaN where a session has no place in the map."""
        R = np.stack([node.R_level_body for node in self.nodes]) if self.nodes else np.zeros((0, 3, 3))
        return np.asarray(self.graph.poses() @ transform(R, np.zeros((len(R), 3))))
