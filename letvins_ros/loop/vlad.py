# SPDX-License-Identifier: Apache-2.0
"""One vector for an image from its binary descriptors: VLAD (Jegou 2010) over bits reduced by PCA."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from letvins_ros.weights import ORB_VLAD, load_weights


@dataclass(frozen=True, eq=False)
class Vlad:
    """A vocabulary: how bits become short vectors, and the words that these are counted by."""

    mean: np.ndarray  # (256,) float32 of the bits
    axes: np.ndarray  # (256, P) float32
    words: np.ndarray  # (K, P) float32

    @staticmethod
    def load(path: Path = ORB_VLAD) -> "Vlad":
        """Read a vocabulary; raises WeightsError where the file cannot be used."""
        weights = load_weights(path)
        return Vlad(weights["mean"], weights["axes"], weights["words"])

    @property
    def size(self) -> int:
        """Length of the vector."""
        return int(self.words.size)

    def reduce(self, descriptors: np.ndarray) -> np.ndarray:
        """Short vectors (N, P) float32 of descriptors (N, 32) uint8."""
        bits = np.unpackbits(descriptors, axis=1).astype(np.float32)
        return np.asarray((bits - self.mean) @ self.axes)

    def aggregate(self, descriptors: np.ndarray) -> np.ndarray:
        """Unit vector (K * P,) float32; zero where there is nothing to describe."""
        x = self.reduce(descriptors)
        word = np.argmax(x @ self.words.T - 0.5 * (self.words**2).sum(axis=1), axis=1)
        sums = np.zeros_like(self.words)
        np.add.at(sums, word, x - self.words[word])
        norms = np.linalg.norm(sums, axis=1, keepdims=True)
        sums /= np.maximum(norms, 1e-9) ** 0.5  # a repeated pattern must not outshout the rest (burstiness)
        flat = sums.ravel()
        return np.asarray(flat / max(float(np.linalg.norm(flat)), 1e-9), np.float32)
