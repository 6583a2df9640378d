# SPDX-License-Identifier: Apache-2.0
"""Keypoints with descriptors from classical detectors and from our networks, behind one contract."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from scipy.spatial import cKDTree
from torch import Tensor, nn
from torch.nn import functional

from letvins_ros import networks
from letvins_ros.errors import ConfigError
from letvins_ros.networks.cells import describe
from training.data.images import to_tensor


class Features(NamedTuple):
    """Keypoints of an image, the strongest first."""

    uv: np.ndarray  # (N, 2) float32 px
    score: np.ndarray  # (N,) float32
    descriptor: np.ndarray  # (N, D), uint8 if binary, float32 of unit length if not


Extractor = Callable[[np.ndarray], Features]  # of (H, W, 3) RGB uint8

_RANKED = 75  # px of an image for each keypoint that is ranked by its descriptor, too
_TWIN_PX = 8.0  # least distance of keypoints that are to be told apart


def orb(image: np.ndarray) -> Features:
    """ORB of OpenCV (Rublee et al. 2011)."""
    return _classical(cv2.ORB.create(5000, fastThreshold=5), image)


def sift(image: np.ndarray) -> Features:
    """SIFT of OpenCV (Lowe 2004), descriptors as RootSIFT (Arandjelovic & Zisserman 2012)."""
    found = _classical(cv2.SIFT.create(contrastThreshold=0.01), image)
    share = found.descriptor / np.maximum(found.descriptor.sum(axis=1, keepdims=True), 1e-6)
    return found._replace(descriptor=np.sqrt(share).astype(np.float32))


def _classical(detector: Any, image: np.ndarray) -> Features:
    keypoints, descriptor = detector.detectAndCompute(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), None)
    uv = np.array([k.pt for k in keypoints], np.float32).reshape(-1, 2)
    score = np.array([k.response for k in keypoints], np.float32)
    return _sorted(uv, score, np.zeros((0, 1), np.float32) if descriptor is None else descriptor)


@dataclass(frozen=True)
class CellNetwork:
    """KP2D, KP2Dtiny and KeypointFormer: a keypoint of each cell that scores high enough."""

    network: nn.Module
    threshold: float = 0.0
    multiple: int = 16  # px, of the sides that the network takes

    @torch.inference_mode()
    def __call__(self, image: np.ndarray) -> Features:
        tensor = _to_network(self.network, image, 3, self.multiple)
        output = getattr(self.network, "keypoints", self.network)(tensor)
        described = describe(output.descriptor, output.coord, (tensor.shape[-2], tensor.shape[-1]))
        inside = (output.coord[0, 0] < image.shape[1]) & (output.coord[0, 1] < image.shape[0])
        keep = (output.score[0, 0] > self.threshold) & inside
        uv, descriptor = output.coord[0][:, keep].T, described[0][:, keep].T
        return _sorted(*(x.float().cpu().numpy() for x in (uv, output.score[0, 0][keep], descriptor)))


@dataclass(frozen=True)
class HeatNetwork:
    """SuperPoint: maxima of the heat map, refined within it; scores are the chance that a point lies about there."""

    network: nn.Module
    threshold: float = 0.015
    radius: int = 2  # px within which one is kept

    @torch.inference_mode()
    def __call__(self, image: np.ndarray) -> Features:
        from letvins_ros.networks.superpoint import heat_map

        tensor = _to_network(self.network, image, 1)
        output = self.network(tensor)
        heat = heat_map(output.logits)
        uv, score = refine(heat[0], maxima(heat[0], self.radius, self.threshold)[0])
        if output.descriptor is None:  # MagicPoint
            return _sorted(*(x.float().cpu().numpy() for x in (uv, score, uv[:, :0])))
        described = describe(output.descriptor, uv.T[None, :, :, None], (tensor.shape[-2], tensor.shape[-1]))[
            0, :, :, 0
        ].T
        return _sorted(*(x.float().cpu().numpy() for x in (uv, score, described)))


def maxima(heat: Tensor, radius: int, threshold: float) -> tuple[Tensor, Tensor]:
    """Pixels (N, 2) and scores (N,) of maxima of (H, W) within `radius`, off the border; two rounds of max-pooling.

    The second round finds maxima that were hidden by a pixel which itself was suppressed.
    """
    pool = nn.MaxPool2d(2 * radius + 1, 1, radius)
    x = heat[None, None]
    best = x == pool(x)
    near = pool(best.float()) > 0
    rest = torch.where(near, torch.zeros_like(x), x)
    best = (best | ((rest == pool(rest)) & ~near))[0, 0] & (heat > threshold)
    best[:radius] = best[-radius:] = False
    best[:, :radius] = best[:, -radius:] = False
    rows, columns = best.nonzero(as_tuple=True)
    return torch.stack([columns, rows], dim=1).float(), heat[rows, columns]


def refine(heat: Tensor, uv: Tensor, radius: int = 2) -> tuple[Tensor, Tensor]:
    """Centres of mass (N, 2) and mass (N,) of the heat around pixels (N, 2) that are at least `radius` off the border.

    By that mass keypoints come back more often among the best than by the peak alone, which is lower where the
    network is unsure of the pixel.
    """
    axis = torch.arange(-radius, radius + 1, device=heat.device)
    rows = uv[:, 1].long()[:, None, None] + axis[:, None]
    columns = uv[:, 0].long()[:, None, None] + axis
    patch = heat[rows, columns]
    total = patch.sum(dim=(1, 2))
    shift = torch.stack([(patch * axis).sum(dim=(1, 2)), (patch * axis[:, None]).sum(dim=(1, 2))], dim=1)
    return uv + shift / total[:, None].clamp(min=1e-9), total


def distinct_first(extract: Extractor) -> Extractor:
    """Of the strongest keypoints, one for every 75 px of the image, put first those that no other looks like.

    They are matched right more often. The score becomes its product with the root of the distance to the most alike
    descriptor, float32 of unit length, farther off than 8 px.
    """

    def extract_distinct(image: np.ndarray) -> Features:
        uv, score, descriptor = (x[: image.shape[0] * image.shape[1] // _RANKED] for x in extract(image))
        if not len(uv):
            return Features(uv, score, descriptor)
        likeness = descriptor @ descriptor.T
        np.fill_diagonal(likeness, -1)
        near = cKDTree(uv).query_pairs(_TWIN_PX, output_type="ndarray")
        likeness[near[:, 0], near[:, 1]] = likeness[near[:, 1], near[:, 0]] = -1
        distance = np.sqrt(np.maximum(2 - 2 * likeness.max(axis=1), 0))
        return _sorted(uv, score * np.sqrt(distance), descriptor)

    return extract_distinct


def enlarged(extract: Extractor, times: float) -> Extractor:
    """Let the network see images so many times as large; keypoints are told in px of the images as they are.

    A network places keypoints to about a pixel of what it sees, so more exactly in a larger image (Lowe 2004 doubles
    images for the same reason).
    """

    def extract_from_enlarged(image: np.ndarray) -> Features:
        height, width = image.shape[:2]
        size = round(width * times), round(height * times)
        found = extract(cv2.resize(image, size, interpolation=cv2.INTER_CUBIC))
        uv = (found.uv + 0.5) * (np.array([width, height]) / size) - 0.5
        return found._replace(uv=uv.astype(np.float32))

    return extract_from_enlarged


def apart(features: Features, least_px: float, square: bool = False) -> Features:
    """Of keypoints within `least_px` of each other, or within a square of twice that side, the strongest."""
    kept = np.ones(len(features.uv), bool)
    p = np.inf if square else 2
    for i, close in enumerate(cKDTree(features.uv).query_ball_point(features.uv, least_px, p=p)):
        if kept[i]:
            kept[[j for j in close if j > i]] = False
    return Features(*(x[kept] for x in features))


def open_extractor(model: str, device: str = "cpu") -> Extractor:
    """`orb`, `sift`, or NETWORK=WEIGHTS such as kp2dtiny=best.safetensors; ConfigError names what there is."""
    if model in CLASSICAL:
        return CLASSICAL[model]
    name, equals, weights = model.partition("=")
    if not equals or name not in _NETWORKS:
        known = ", ".join([*CLASSICAL, *(f"{n}=WEIGHTS" for n in _NETWORKS)])
        raise ConfigError(f"unknown model {model}; known: {known}")
    layout = torch.channels_last  # halves the time on a CPU
    network: Any = networks.load(name, Path(weights))
    return _NETWORKS[name](network.to(device, memory_format=layout))


CLASSICAL: dict[str, Extractor] = {"orb": orb, "sift": sift}
_NETWORKS: dict[str, Callable[[nn.Module], Extractor]] = {
    "kp2d": CellNetwork,
    "kp2d_resnet": partial(CellNetwork, multiple=32),
    "kp2dtiny": CellNetwork,
    "keypointformer": partial(CellNetwork, multiple=32),
    "superpoint": HeatNetwork,
}


def _to_network(network: nn.Module, image: np.ndarray, channels: int, multiple: int = 16) -> Tensor:
    """To the network's device, repeated at its border up to a multiple of its sides."""
    tensor = to_tensor(image, channels)[None].to(next(network.parameters()).device)
    height, width = tensor.shape[-2:]
    return functional.pad(tensor, (0, -width % multiple, 0, -height % multiple), mode="replicate")


def _sorted(uv: np.ndarray, score: np.ndarray, descriptor: np.ndarray) -> Features:
    order = np.argsort(-score, kind="stable")
    return Features(uv[order], score[order], descriptor[order])
