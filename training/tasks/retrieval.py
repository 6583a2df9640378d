# SPDX-License-Identifier: Apache-2.0
"""Visual place recognition: how often one of the first images that come back shows the same place."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
from scipy.spatial.distance import cdist

from letvins_ros import networks
from letvins_ros.errors import ConfigError, DataError
from letvins_ros.writing import atomic_path
from training.data.images import read_rgb, resize, to_tensor
from training.data.lighting import relight
from training.data.places import read_places
from training.data.revisits import APART_S, read_frames, same_place
from training.drawing import answer
from training.metrics import recall_at

COUNTS = (1, 5, 10, 20)
Describe = Callable[[np.ndarray], np.ndarray]  # (H, W, 3) RGB uint8 -> (G,) float32


class Retrieval(NamedTuple):
    """Images to find and to be found."""

    database: Iterator[np.ndarray] | list[np.ndarray]
    queries: Iterator[np.ndarray] | list[np.ndarray]
    positives: list[np.ndarray]  # of each query, indices of the database


def dataset_places(folder: Path, split: str) -> Retrieval:
    """Pittsburgh or Tokyo 24/7."""
    places = read_places(folder, split)
    positives = places.positives(places.positive_m)
    return Retrieval((read_rgb(p) for p in places.database), (read_rgb(p) for p in places.queries), positives)


def revisits(source: Path, every: int = 5, duration_s: float | None = None, seed: int = 0) -> Retrieval:
    """Later frames of a recording, their light changed, at places where an earlier one looked the same way.

    The database is every `every`-th frame; a query never counts, nor finds, those within APART_S of itself, so that
    the database is the first half of the time and the queries are the second.
    """
    images, times, poses = read_frames(source, every, duration_s)
    half = (times[0] + times[-1]) / 2
    first, second = np.flatnonzero(times < half - APART_S / 2), np.flatnonzero(times > half + APART_S / 2)
    near = {i: np.array([k for k, j in enumerate(first) if same_place(poses[i], poses[j])], int) for i in second}
    chosen = [i for i in second if len(near[i])]
    if not chosen:
        raise DataError(f"{source}: no place is seen again after {APART_S:g} s")
    rng = np.random.default_rng(seed)
    spoilt = [relight(images[i], rng) for i in chosen]
    return Retrieval([images[j] for j in first], spoilt, [near[i] for i in chosen])


def describe_all(retrieval: Retrieval, describe: Describe) -> tuple[np.ndarray, np.ndarray]:
    """Descriptors (N, G) of the database and (M, G) of the queries."""
    database, queries = (np.stack([describe(image) for image in images]) for images in (retrieval[0], retrieval[1]))
    return database, queries


def retrieval_figures(database: np.ndarray, queries: np.ndarray, positives: list[np.ndarray]) -> dict[str, float]:
    """Recall among the first N of all queries, by exact search."""
    import faiss

    index = faiss.IndexFlatL2(database.shape[1])
    index.add(np.ascontiguousarray(database, np.float32))
    count = min(max(COUNTS), len(database))
    _, ranked = index.search(np.ascontiguousarray(queries, np.float32), count)
    recalls = recall_at(list(ranked), positives, COUNTS)
    return {**{f"recall@{n}": r for n, r in zip(COUNTS, recalls, strict=True)}, "queries": float(len(queries))}


def small_pixels(image: np.ndarray) -> np.ndarray:
    """24 x 32 gray pixels, each patch of 8 with zero mean and unit deviation, as SeqSLAM (Milford & Wyeth 2012)."""
    gray = resize(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), (24, 32)).astype(np.float32)
    patches = gray.reshape(3, 8, 4, 8).transpose(0, 2, 1, 3).reshape(12, 64)
    patches = (patches - patches.mean(axis=1, keepdims=True)) / (patches.std(axis=1, keepdims=True) + 1)
    return np.asarray(patches.ravel() / np.sqrt(patches.size), np.float32)


def raw_pixels(image: np.ndarray) -> np.ndarray:
    """24 x 32 gray pixels with zero mean and unit deviation."""
    gray = resize(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), (24, 32)).astype(np.float32).ravel()
    return np.asarray((gray - gray.mean()) / (gray.std() + 1) / np.sqrt(len(gray)), np.float32)


def open_describer(model: str, size: tuple[int, int] = (120, 160), device: str = "cpu") -> Describe:
    """`pixels`, `patches`, or kp2dtiny=WEIGHTS."""
    if model in ("pixels", "patches"):
        return raw_pixels if model == "pixels" else small_pixels
    name, equals, weights = model.partition("=")
    if name != "kp2dtiny" or not equals:
        raise ConfigError(f"unknown model {model}; known: pixels, patches, kp2dtiny=WEIGHTS")
    return network_describer(networks.load(name, Path(weights)).to(device), size)


def network_describer(network: torch.nn.Module, size: tuple[int, int]) -> Describe:
    """Global descriptors of a KP2Dtiny."""
    describe_place: Callable[[torch.Tensor], torch.Tensor] = network.describe_place  # type: ignore[assignment]

    @torch.inference_mode()
    def describe(image: np.ndarray) -> np.ndarray:
        tensor = to_tensor(resize(image, size), 3)[None].to(next(network.parameters()).device)
        return describe_place(tensor)[0].float().cpu().numpy()

    return describe


@dataclass(frozen=True)
class PlaceTask:
    """`--task vpr`; see registry.Task."""

    retrieval: Callable[[], Retrieval]
    peers: tuple[str, ...] = ("pixels", "patches")
    device: str = "cpu"

    def predict(self, model: str, folder: Path) -> Iterator[None]:
        """Write all descriptors."""
        describe, data = open_describer(model, device=self.device), self.retrieval()
        database, queries = describe_all(data, describe)
        folder.mkdir(parents=True, exist_ok=True)
        with atomic_path(folder / "descriptors.npz") as part:
            np.savez_compressed(part, database=database, queries=queries)
        yield

    def figures(self, folder: Path) -> dict[str, dict[str, float]]:
        """Recalls."""
        with np.load(folder / "descriptors.npz", allow_pickle=False) as file:
            found = retrieval_figures(file["database"], file["queries"], self.retrieval().positives)
        return {"places": found}

    def pictures(self, folder: Path) -> Iterator[tuple[str, np.ndarray]]:
        """Each query beside the image that was found first, in a green frame where it shows the same place."""
        data = self.retrieval()
        with np.load(folder / "descriptors.npz", allow_pickle=False) as file:
            first = cdist(file["queries"], file["database"]).argmin(axis=1)
        wanted, seen = set(first.tolist()), {}
        for i, image in enumerate(data.database):
            if i in wanted:
                seen[i] = image
        for k, (query, i) in enumerate(zip(data.queries, first.tolist(), strict=True)):
            yield f"{k:06d}", answer(query, seen[i], i in data.positives[k])
