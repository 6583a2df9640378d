# SPDX-License-Identifier: Apache-2.0
"""KP2Dtiny's global descriptor for recognising places: NetVLAD begun from clusters, hard negatives kept in a cache."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from letvins_ros import networks
from letvins_ros.errors import DataError
from letvins_ros.networks.aggregators import NetVLAD
from training.data.images import to_tensor
from training.data.inputs import Inputs
from training.data.place_pairs import PlaceSource, Size, Triplet, Triplets, open_places
from training.losses.places import among_all, triplets
from training.parallel import spread
from training.recipes.base import Batch, Recipe
from training.tasks.retrieval import retrieval_figures

_PER_IMAGE = 100  # local features for the clusters


class Describer(nn.Module):
    """A network whose forward pass gives only the place."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> Tensor:
        place: Tensor = self.network.describe_place(image)
        return place


@dataclass(frozen=True)
class PlacesRecipe(Recipe):
    """Options of the recipe."""

    start: str = ""  # KP2Dtiny's weights
    config: str = "N"  # and version, where there is no start
    version: str = "V3"
    kind: str = "dataset"  # Pittsburgh or Tokyo; photos: a tree of images; recordings: with revisits
    folder: str = "../data/pittsburgh"
    split: str = "pitts30k_train"
    unseen: str = "pitts30k_val"
    all_layers: bool = False  # or only those of the place
    renew: bool = True  # begin NetVLAD with clusters
    cluster_images: int = 500
    margin: float = 0.3162  # sqrt(0.1)
    softness: float = 0.0  # > 0: of a softmax over all images of a batch, instead of triplets
    negatives: int = 10
    pool: int = 1000  # images of other places that the negatives are chosen from
    cached: int = 1000  # queries that are looked at before each validation
    height: int = 120
    width: int = 160
    validation_queries: int = 1000
    _cache: list[Triplet] = field(default_factory=list, init=False, repr=False)

    def build(self) -> nn.Module:
        """Load the network, and begin NetVLAD with clusters of local features (Arandjelovic et al. 2016)."""
        network: Any = (
            networks.load("kp2dtiny", Path(self.start))
            if self.start
            else networks.build("kp2dtiny", config=self.config, version=self.version)
        )
        if not self.all_layers:
            network.requires_grad_(False)
            network.place.requires_grad_(True)
        if self.renew and isinstance(network.place.aggregator, NetVLAD):
            self._cluster(network.eval())
        return Describer(network)

    def prepare(self, network: nn.Module) -> None:
        """Choose, for some queries, the nearest positive and those negatives that the network finds nearest."""
        source, images, queries = self._source(), _Memo(self._describe(network)), _Memo(self._describe(network))
        usable = [i for i, same in enumerate(source.same) if len(same)]
        if not usable:
            raise DataError(f"{self.folder}: no query has an image of its place")
        self._cache.clear()
        for k in torch.randperm(len(usable))[: self.cached].tolist():
            query = usable[k]
            described = queries.of(query, lambda: source.query(query, self._size))  # noqa: B023  called at once
            order = torch.randperm(len(source.other[query]))[: self.pool].numpy()
            positives, others = source.same[query][:20], source.other[query][order]
            near = [images.distances(described, i, source, self._size) for i in (positives, others)]
            hardest = others[np.argsort(near[1], kind="stable")[: self.negatives]]
            self._cache.append(Triplet(query, int(positives[near[0].argmin()]), tuple(int(i) for i in hardest)))

    def samples(self, length: int, seed: int) -> Dataset[dict[str, Tensor]]:
        """Give the triplets that were prepared."""
        return Triplets(self._source(), self._cache, length, seed, self._size)

    def inputs(self) -> Inputs:
        """See Recipe."""
        return Inputs(self._source().items, open_places(self.kind, Path(self.folder), self.unseen).items)

    def loss(self, network: Any, batch: Batch) -> dict[str, Tensor]:
        """Triplets or a softmax, all images in one pass; batch norms of frozen layers keep their statistics."""
        network.eval()
        if self.all_layers:
            network.train()
        elif self.softness:
            network.network.place.train()
        count, many = batch["negatives"].shape[:2]
        images = torch.cat([batch["query"], batch["positive"], batch["negatives"].flatten(0, 1)])
        query, positive, negatives = network(images).split([count, count, count * many])
        if self.softness:
            indices = batch["indices"].cpu().numpy()
            shown = np.concatenate([indices[:, 1], indices[:, 2:].ravel()])
            wrong = np.stack([np.isin(shown, self._source().other[i]) for i in indices[:, 0]])
            pictures = torch.cat([positive, negatives])
            return {"total": among_all(query, pictures, torch.from_numpy(wrong).to(query.device), self.softness)}
        return {"total": triplets(query, positive, negatives.view(count, many, -1), self.margin)}

    def deployed(self, network: Any) -> nn.Module:
        """Give KP2Dtiny itself."""
        kept: nn.Module = network.network
        return kept

    def validate(self, network: Any) -> dict[str, float]:
        """Recall on unseen places; score is recall@1."""
        source = open_places(self.kind, Path(self.folder), self.unseen)
        describe = self._describe(Describer(network))
        count = min(self.validation_queries, len(source.near))
        wanted = range(count)
        shown = sorted({int(i) for q in wanted for i in source.near[q]} | set(range(count)))
        index = {image: row for row, image in enumerate(shown)}
        database = np.stack(spread(len(shown), lambda k: describe(source.image(shown[k], self._size))))
        queries = np.stack(spread(count, lambda q: describe(source.query(q, self._size))))
        positives = [np.array([index[int(i)] for i in source.near[q]], int) for q in wanted]
        figures = retrieval_figures(database, queries, positives)
        return {**figures, "score": figures["recall@1"]}

    @property
    def _size(self) -> Size:
        return self.height, self.width

    def _source(self) -> PlaceSource:
        return open_places(self.kind, Path(self.folder), self.split)

    def _describe(self, network: nn.Module) -> Callable[[np.ndarray], np.ndarray]:
        network.eval()
        device = next(network.parameters()).device

        @torch.inference_mode()
        def describe(image: np.ndarray) -> np.ndarray:
            return np.asarray(network(to_tensor(image, 3)[None].to(device))[0].float().cpu().numpy())

        return describe

    @torch.no_grad()
    def _cluster(self, network: Any) -> None:
        import faiss

        source, found = self._source(), []
        for i in torch.randperm(source.size)[: self.cluster_images].tolist():
            feature = network.place_features(to_tensor(source.image(i, self._size), 3)[None])[0].flatten(1).T
            found.append(feature[torch.randperm(len(feature))[:_PER_IMAGE]])
        features = torch.cat(found)
        aggregator = network.place.aggregator
        clusters, channels = aggregator.centroids.shape
        kmeans = faiss.Kmeans(channels, clusters, niter=100, seed=0)
        kmeans.train(features.numpy())
        aggregator.start_from(torch.from_numpy(kmeans.centroids), features)


class _Memo:
    """Descriptors of images, each made once."""

    def __init__(self, describe: Callable[[np.ndarray], np.ndarray]) -> None:
        self._describe, self._known = describe, dict[int, np.ndarray]()

    def of(self, index: int, image: Callable[[], np.ndarray]) -> np.ndarray:
        """Descriptor of an image that is read only where it is new."""
        if index not in self._known:
            self._known[index] = self._describe(image())
        return self._known[index]

    def distances(self, query: np.ndarray, indices: Sequence[int], source: PlaceSource, size: Size) -> np.ndarray:
        """Of database images from a query's descriptor."""
        rows = [self.of(int(i), lambda: source.image(int(i), size)) for i in indices]  # noqa: B023  called at once
        return np.asarray(np.linalg.norm(np.stack(rows) - query, axis=1))


RECIPE = PlacesRecipe
