# SPDX-License-Identifier: Apache-2.0
"""Nearest-neighbour search of places: inner products of unit vectors, exact at first, then by inverted lists."""

from typing import Any

import faiss
import numpy as np

EXACT_UP_TO = 50_000  # places; above, lists of 8-bit vectors
LISTS = 1024
PROBES = 16
TRAINING = 40_000  # vectors from which the lists are learned


class PlaceIndex:
    """Vectors (D,) float32 with a number each; a number is that of a keyframe."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._index: faiss.Index = faiss.IndexIDMap(faiss.IndexFlatIP(size))

    def __len__(self) -> int:
        return int(self._index.ntotal)

    def add(self, numbers: np.ndarray, places: np.ndarray) -> None:
        """Add places (N, D); the first addition beyond EXACT_UP_TO learns the lists, which takes seconds."""
        if len(numbers) == 0:
            return
        if isinstance(self._index, faiss.IndexIDMap) and len(self) + len(numbers) > EXACT_UP_TO:
            self._use_lists(places)
        self._index.add_with_ids(np.ascontiguousarray(places, np.float32), np.ascontiguousarray(numbers, np.int64))

    def search(self, place: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Numbers and similarities of the places most like this one (D,), the best first, at most count."""
        similarity, numbers = self._index.search(place[None], count)
        found = numbers[0] >= 0
        return numbers[0][found], similarity[0][found]

    def _use_lists(self, more: np.ndarray) -> None:
        before: Any = self._index
        numbers = faiss.vector_to_array(before.id_map)
        vectors = before.index.reconstruct_n(0, len(numbers)) if len(numbers) else np.zeros((0, self.size), np.float32)
        known = np.concatenate([vectors, more])
        kind = faiss.ScalarQuantizer.QT_8bit
        lists = faiss.IndexIVFScalarQuantizer(
            faiss.IndexFlatIP(self.size), self.size, LISTS, kind, faiss.METRIC_INNER_PRODUCT, False
        )
        lists.cp.seed, lists.cp.niter, lists.nprobe = 0, 8, PROBES
        step = max(len(known) // TRAINING, 1)
        lists.train(np.ascontiguousarray(known[::step][:TRAINING], np.float32))
        if len(numbers):
            lists.add_with_ids(vectors, numbers)
        self._index = lists
