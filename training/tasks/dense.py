# SPDX-License-Identifier: Apache-2.0
"""`--task segmentation` and `--task depth`; see registry.Task."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch

from letvins_ros import networks
from letvins_ros.errors import ConfigError, DataError
from letvins_ros.image_files import read_image
from letvins_ros.reading import read_array
from letvins_ros.writing import write_atomic
from training.data.images import resize, to_tensor
from training.data.label_sets import NyuV2
from training.data.labelled import Labelled
from training.data.tartanair import find_trajectories
from training.drawing import classes, heat
from training.tasks.segmentation import confusion, depth_figures, predict_classes, segmentation_figures

SIZE = (120, 160)
_FURTHEST_M = 80.0
Shot = tuple[np.ndarray, np.ndarray]  # (H, W, 3) RGB uint8, (H, W) m


@dataclass(frozen=True)
class SegmentationTask:
    """Classes of a labelled data set; the peer is the class of which there is most."""

    data: Labelled
    count: int = 0
    peers: tuple[str, ...] = ("most-frequent",)
    device: str = "cpu"

    def predict(self, model: str, folder: Path) -> Iterator[None]:
        """Write a map of classes per image."""
        network = None if model == "most-frequent" else _open(model, self.device)
        constant = np.full(SIZE, self._most_frequent(), np.uint8)
        for i in range(self._length()):
            found = constant if network is None else predict_classes(network, self.data[i].image, SIZE)
            write_atomic(folder / f"{i:06d}.png", cv2.imencode(".png", found)[1].tobytes())
            yield

    def figures(self, folder: Path) -> dict[str, dict[str, float]]:
        """IoU and the like of all pixels together."""
        counts = np.zeros((self.data.classes, self.data.classes), np.int64)
        for i in range(self._length()):
            predicted = read_image(folder / f"{i:06d}.png", cv2.IMREAD_UNCHANGED)
            labels = self.data[i].labels
            if predicted is None or labels is None:
                raise DataError(f"{folder}: no prediction, or no labels, for image {i}")
            counts += confusion(predicted, resize(labels, SIZE, nearest=True), self.data.classes)
        return {"classes": segmentation_figures(counts)}

    def pictures(self, folder: Path) -> Iterator[tuple[str, np.ndarray]]:
        """Image, true and predicted classes side by side."""
        for i in range(self._length()):
            sample, predicted = self.data[i], read_image(folder / f"{i:06d}.png", cv2.IMREAD_UNCHANGED)
            if predicted is not None and sample.labels is not None:
                shown = [resize(sample.image, SIZE), classes(sample.labels, SIZE), classes(predicted, SIZE)]
                yield f"{i:06d}", np.hstack(shown)

    def _length(self) -> int:
        return min(self.count or len(self.data), len(self.data))

    def _most_frequent(self) -> int:
        counts = np.zeros(256, np.int64)
        for i in range(min(self._length(), 200)):
            labels = self.data[i].labels
            if labels is not None:
                counts += np.bincount(labels.ravel(), minlength=256)
        return int(counts[: self.data.classes].argmax())


@dataclass(frozen=True)
class DepthTask:
    """Relative depth, scaled to the median of the truth in each image; the peer is one depth for all pixels."""

    source: Path  # NYUv2 (kind nyu) or TartanAir trajectories
    kind: str
    count: int = 0
    peers: tuple[str, ...] = ("constant",)
    device: str = "cpu"

    def predict(self, model: str, folder: Path) -> Iterator[None]:
        """Write a depth map per image."""
        network = None if model == "constant" else _open(model, self.device)
        folder.mkdir(parents=True, exist_ok=True)
        for i, (image, _) in enumerate(self._shots()):
            depth = np.ones(SIZE, np.float32)
            if network is not None:
                with torch.inference_mode():
                    found = network(to_tensor(resize(image, SIZE), 3)[None].to(self.device)).depth
                if found is None:
                    raise ConfigError(f"{model} has no depth")
                depth = found[0, 0].cpu().numpy()
            np.save(folder / f"{i:06d}.npy", depth)
            yield

    def figures(self, folder: Path) -> dict[str, dict[str, float]]:
        """Eigen's figures."""
        return {"depth": depth_figures(self._compared(folder))}

    def pictures(self, folder: Path) -> Iterator[tuple[str, np.ndarray]]:
        """Image, true and predicted depth side by side."""
        for i, (image, depth) in enumerate(self._shots()):
            predicted = read_array(folder / f"{i:06d}.npy")
            near = np.minimum(depth, _FURTHEST_M)
            yield f"{i:06d}", np.hstack([resize(image, SIZE), heat(near, SIZE), heat(predicted, SIZE)])

    def _compared(self, folder: Path) -> Iterator[Shot]:
        for i, (_, depth) in enumerate(self._shots()):
            predicted = read_array(folder / f"{i:06d}.npy")
            true = resize(depth, predicted.shape, nearest=True)
            known = (true > 0) & (true < _FURTHEST_M)
            if known.any():
                scaled = np.maximum(predicted[known], 1e-4)
                yield scaled * np.median(true[known]) / np.median(scaled), true[known]

    def _shots(self) -> Iterator[Shot]:
        if self.kind == "nyu":
            data = NyuV2(self.source, "val")
            for i in range(min(self.count or len(data), len(data))):
                yield data[i].image, np.asarray(data[i].depth)
            return
        places = [(t, i) for t in find_trajectories(self.source) for i in range(len(t))]
        for k in np.unique(np.linspace(0, len(places) - 1, self.count or 100).astype(int)):
            trajectory, i = places[k]
            yield trajectory.image(i), trajectory.depth(i)


def _open(model: str, device: str) -> torch.nn.Module:
    name, equals, weights = model.partition("=")
    if name != "kp2dtiny" or not equals:
        raise ConfigError(f"unknown model {model}; known: the peer, kp2dtiny=WEIGHTS")
    return networks.load(name, Path(weights)).to(device)
