# SPDX-License-Identifier: Apache-2.0
"""Models that match two images: keypoints with descriptors, LightGlue between them, LoFTR without any."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from letvins_ros import networks
from letvins_ros.errors import ConfigError
from letvins_ros.networks.lightglue import Keypoints
from training.data.images import to_tensor
from training.data.pair import Pair
from training.features import CLASSICAL, Features, distinct_first, enlarged, open_extractor
from training.tasks.pairs import Choice, KeypointMatcher, PairModel, Partners, Prediction, Size, lucas_kanade

_CELL = 8  # px, LoFTR's


def open_pair_model(model: str, device: str = "cpu", distinct: bool = False, enlarge: float = 1.0) -> PairModel:
    """`gftt-lk`, loftr=WEIGHTS, what `open_extractor` knows, with +lightglue=WEIGHTS or without.

    distinct, enlarge: whether networks' keypoints come in the order of `distinct_first`; how many times as large
    networks with keypoints see the images. Neither is for the classical ones.
    """
    if model == "gftt-lk":
        return lucas_kanade
    name, _, weights = model.partition("=")
    if name == "loftr":
        return DetectorFree(_open("loftr", weights, device))
    extractor, plus, matcher = model.partition("+")
    extract = open_extractor(extractor, device)
    if extractor not in CLASSICAL:
        extract = distinct_first(extract) if distinct else extract
        extract = enlarged(extract, enlarge) if enlarge != 1 else extract
    if not plus:
        return KeypointMatcher(extract)
    name, _, weights = matcher.partition("=")
    if name != "lightglue" or not weights:
        raise ConfigError(f"unknown matcher {matcher} of {extractor}; known: lightglue=WEIGHTS")
    return KeypointMatcher(extract, LightGluePairing(_open(name, weights, device)))


@dataclass(frozen=True)
class LightGluePairing:
    """Partners by LightGlue, as sure as it is."""

    network: Any

    def __call__(self, a: Features, b: Features, sizes: tuple[Size, Size]) -> Partners:
        """See `pairs.Pairing`."""
        found = self.network.match(*(self._keypoints(x, size) for x, size in zip((a, b), sizes, strict=True)))
        to_b, sure_a = found.indices.cpu().numpy(), found.scores.cpu().numpy()
        matched = np.flatnonzero(to_b >= 0)
        to_a, sure_b = np.full(len(b.uv), -1), np.zeros(len(b.uv), np.float32)
        to_a[to_b[matched]], sure_b[to_b[matched]] = matched, sure_a[matched]
        return Partners(to_b, to_a, sure_a, sure_b)

    def _keypoints(self, x: Features, size: Size) -> Keypoints:
        device = next(self.network.parameters()).device
        uv, descriptor = (torch.from_numpy(values)[None].to(device) for values in (x.uv, x.descriptor))
        return Keypoints(uv, descriptor.float(), (size[1], size[0]))


@dataclass(frozen=True)
class DetectorFree:
    """LoFTR: its matches are the keypoints, the surest first."""

    network: Any

    @torch.inference_mode()
    def __call__(self, pair: Pair, choices: Sequence[Choice]) -> list[Prediction]:
        """Match once; a choice takes the surest, however close they are."""
        found = self.network(*(self._gray(image) for image in (pair.image_a, pair.image_b)))
        order = found.confidence.argsort(descending=True, stable=True)
        matches = torch.hstack([found.uv_a, found.uv_b])[order].float().cpu().numpy()
        sure = found.confidence[order].float().cpu().numpy()
        inside = (matches < [*pair.image_a.shape[1::-1], *pair.image_b.shape[1::-1]]).all(axis=1)
        return [_as_keypoints(matches[inside][: c.top_k], sure[inside][: c.top_k]) for c in choices]

    def _gray(self, image: np.ndarray) -> Tensor:
        """Repeated at the border up to whole cells."""
        tensor = to_tensor(image, 1)[None].to(next(self.network.parameters()).device)
        height, width = tensor.shape[-2:]
        return functional.pad(tensor, (0, -width % _CELL, 0, -height % _CELL), mode="replicate")


def _as_keypoints(matches: np.ndarray, sure: np.ndarray) -> Prediction:
    a, b = matches[:, :2], matches[:, 2:]
    return Prediction(a, b, b, a, sure, sure, matches, sure, matches, np.hstack([b, a]))


def _open(name: str, weights: str, device: str) -> Any:
    return networks.load(name, Path(weights)).to(device)
