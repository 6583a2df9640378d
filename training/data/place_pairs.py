# SPDX-License-Identifier: Apache-2.0
"""Queries with images of the same and of other places, from a data set of places or from plain photographs."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from letvins_ros.errors import DataError
from training.data.homographies import KP2D, random_homography, warp
from training.data.images import list_images, read_rgb, resize, to_tensor
from training.data.lighting import relight
from training.data.places import read_places
from training.data.revisits import RevisitedPlaces

Size = tuple[int, int]


class PlaceSource(Protocol):
    """Images to find, and queries."""

    size: int  # images to find
    items: list[Path]  # that are read: images, or recordings
    same: list[np.ndarray]  # of each query: database images of its place, for training
    other: list[np.ndarray]  # of each query: those of surely other places
    near: list[np.ndarray]  # of each query: what counts as found

    def image(self, index: int, size: Size) -> np.ndarray:
        """(height, width, 3) RGB uint8 of the database."""
        ...

    def query(self, index: int, size: Size) -> np.ndarray:
        """The same of the queries."""
        ...


class DatasetPlaces:
    """Pittsburgh or Tokyo 24/7."""

    def __init__(self, folder: Path, split: str) -> None:
        self._places = read_places(folder, split)
        self.same, self.near = (self._places.positives(r) for r in (self._places.trivial_m, self._places.positive_m))
        self.size = len(self._places.database)
        self.items = [*self._places.database, *self._places.queries]
        every = np.arange(self.size)
        self.other = [np.setdiff1d(every, near) for near in self.near]

    def image(self, index: int, size: Size) -> np.ndarray:
        """See PlaceSource."""
        return resize(read_rgb(self._places.database[index]), size)

    def query(self, index: int, size: Size) -> np.ndarray:
        """See PlaceSource."""
        return resize(read_rgb(self._places.queries[index]), size)


class PhotoPlaces:
    """Every photograph is a place; its query is a view of it, slanted and in another light."""

    def __init__(self, folder: Path, seed: int = 0) -> None:
        self.items, self._seed = list_images(folder), seed
        self.size = len(self.items)
        every = np.arange(self.size)
        self.same: list[np.ndarray] = [every[i : i + 1] for i in every]
        self.near = self.same
        self.other: list[np.ndarray] = [np.delete(every, i) for i in every]

    def image(self, index: int, size: Size) -> np.ndarray:
        """See PlaceSource."""
        return resize(read_rgb(self.items[index]), size)

    def query(self, index: int, size: Size) -> np.ndarray:
        """See PlaceSource."""
        rng = np.random.default_rng([self._seed, index])
        image = resize(read_rgb(self.items[index]), size)
        return relight(warp(image, random_homography(rng, size, KP2D), size), rng)


def open_places(kind: str, folder: Path, split: str) -> PlaceSource:
    """`photos` or `recordings` in the folder's folder of the split, else the structs of a data set."""
    if kind not in ("photos", "recordings"):
        return DatasetPlaces(folder, split)
    part = folder / split
    if not part.is_dir():
        raise DataError(f"{part}: no such folder of {kind}")
    return PhotoPlaces(part) if kind == "photos" else _recordings(part)


@cache  # the training asks again and again, and reading takes long
def _recordings(folder: Path) -> RevisitedPlaces:
    return RevisitedPlaces(folder)


@dataclass(frozen=True)
class Triplet:
    """Indices of a query, an image of its place, and images of others."""

    query: int
    positive: int
    negatives: tuple[int, ...]


class Triplets(Dataset[dict[str, Tensor]]):
    """Item i of a seed: query, positive (3, H, W) and negatives (N, 3, H, W) of one of the given triplets.

    indices (2 + N,) are theirs.
    """

    def __init__(self, source: PlaceSource, chosen: Sequence[Triplet], length: int, seed: int, size: Size) -> None:
        self._source, self._chosen, self._length, self._seed, self._size = source, chosen, length, seed, size

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        rng = np.random.default_rng([self._seed, index])
        one = self._chosen[int(rng.integers(len(self._chosen)))]
        negatives = [to_tensor(self._source.image(i, self._size), 3) for i in one.negatives]
        return {
            "query": to_tensor(self._source.query(one.query, self._size), 3),
            "positive": to_tensor(self._source.image(one.positive, self._size), 3),
            "negatives": torch.stack(negatives),
            "indices": torch.tensor([one.query, one.positive, *one.negatives]),
        }
