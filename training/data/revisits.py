# SPDX-License-Identifier: Apache-2.0
"""Frames of recordings with their true poses, and which of them show the same place."""

from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from letvins_ros.datasets import open_dataset
from letvins_ros.errors import DataError
from letvins_ros.geometry import from_quaternion
from training.data.images import resize
from training.data.lighting import relight

NEAR_M, NEAR_DEG, APART_S = 1.0, 30.0, 8.0  # of a revisit
_FAR_M = 3.0  # of surely another place
_STORED = (240, 320)  # size of the images that training keeps


class Frames(NamedTuple):
    """Of one recording."""

    images: list[np.ndarray]  # (H, W, 3) RGB uint8
    times: np.ndarray  # (N,) s
    poses: list[np.ndarray]  # T_odom_body


def read_frames(source: Path, every: int = 5, duration_s: float | None = None) -> Frames:
    """Left images, each `every`-th; DataError for a recording without truth."""
    dataset = open_dataset(source)
    truth = dataset.truth
    if truth is None:
        raise DataError(f"{source}: revisits need a true trajectory")
    images, times, poses = [], [], []
    for number, frame in enumerate(dataset.frames(0.0, duration_s)):
        image = frame.images[0]
        if number % every or image is None:
            continue
        row = int(np.abs(truth.stamps_ns - frame.stamp_ns).argmin())
        images.append(cv2.cvtColor(image, cv2.COLOR_GRAY2RGB) if image.ndim == 2 else image)
        times.append(frame.stamp_ns / 1e9)
        poses.append(from_quaternion(truth.positions[row], truth.quaternions[row]))
    return Frames(images, np.array(times), poses)


def same_place(T_a: np.ndarray, T_b: np.ndarray) -> bool:
    """Whether two poses see about the same."""
    near = np.linalg.norm(T_a[:3, 3] - T_b[:3, 3]) < NEAR_M
    cosine = (np.trace(T_a[:3, :3].T @ T_b[:3, :3]) - 1) / 2
    return bool(near and np.degrees(np.arccos(np.clip(cosine, -1, 1))) < NEAR_DEG)


class RevisitedPlaces:
    """Recordings in a folder as a PlaceSource: a query is a frame in another light, its place what returns later."""

    def __init__(self, folder: Path, seed: int = 0) -> None:
        self._images: list[np.ndarray] = []
        self._seed = seed
        self.same: list[np.ndarray] = []
        self.near: list[np.ndarray] = []
        self.other: list[np.ndarray] = []
        self.items = sorted(p for p in folder.iterdir() if p.is_dir())
        for source in self.items:
            self._add(read_frames(source))
        self.size = len(self._images)
        if not self.size:
            raise DataError(f"{folder}: no recordings; letvins simulate {folder}/NAME --scenario relit makes one")

    def image(self, index: int, size: tuple[int, int]) -> np.ndarray:
        """See PlaceSource."""
        return resize(self._images[index], size)

    def query(self, index: int, size: tuple[int, int]) -> np.ndarray:
        """See PlaceSource."""
        return relight(self.image(index, size), np.random.default_rng([self._seed, index]))

    def _add(self, frames: Frames) -> None:
        first = len(self._images)
        self._images += [resize(image, _STORED) for image in frames.images]
        places = np.array([T[:3, 3] for T in frames.poses])
        for i, T in enumerate(frames.poses):
            near = np.array([k for k, T_k in enumerate(frames.poses) if same_place(T, T_k)], int)
            later = np.abs(frames.times[near] - frames.times[i]) > APART_S
            self.near.append(first + near)
            self.same.append(first + near[later])
            self.other.append(first + np.flatnonzero(np.linalg.norm(places - places[i], axis=1) > _FAR_M))
