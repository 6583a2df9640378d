# SPDX-License-Identifier: Apache-2.0
"""Nearest neighbours that agree, and distances between descriptors."""

import numpy as np


def descriptor_distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Distances (N, M), 0 to 1, between descriptors (N, C) and (M, C).

    uint8: the share of bits that differ; unit vectors: (1 - inner product) / 2, which is the same where bits are signs.
    """
    if a.dtype == np.uint8:
        a, b = (np.unpackbits(x, axis=1).astype(np.float32) * 2 - 1 for x in (a, b))
        a = a / np.float32(a.shape[1])
    return np.asarray((1 - a.astype(np.float32) @ b.astype(np.float32).T) / 2)


def mutual(to_b: np.ndarray, to_a: np.ndarray) -> np.ndarray:
    """Which of a (N,) bool are the nearest of their own nearest; indices of the nearest in b (N,) and in a (M,)."""
    return np.asarray(to_a[to_b] == np.arange(len(to_b)))


def mutual_nearest(distance: np.ndarray, largest: float, ratio: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns (K,) of distances (N, M) that are each other's nearest.

    They are closer than `largest`, and by the ratio closer than the second nearest: none where N or M is 1.
    """
    if min(distance.shape) < 2:
        return np.zeros(0, int), np.zeros(0, int)
    nearest = distance.argmin(axis=1)
    rows = np.flatnonzero(mutual(nearest, distance.argmin(axis=0)))
    best = distance[rows, nearest[rows]]
    second = np.partition(distance[rows], 1, axis=1)[:, 1]
    clear = (best < largest) & (best <= ratio * second)
    return rows[clear], nearest[rows[clear]]
