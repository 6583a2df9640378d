# SPDX-License-Identifier: Apache-2.0
"""How much of each class is found, and how well depth is guessed."""

from collections.abc import Iterable

import numpy as np
import torch
from torch import nn

from letvins_ros.errors import DataError
from training.data.images import resize, to_tensor
from training.data.label_sets import IGNORED
from training.data.labelled import Labelled
from training.parallel import spread


def confusion(predicted: np.ndarray, labels: np.ndarray, classes: int) -> np.ndarray:
    """Counts (classes, classes) of pixels by true and predicted class, ignored ones left out.

    Raises DataError for a class beyond them, which would be counted as another.
    """
    known = labels != IGNORED
    for what, found in (("predicted", predicted[known]), ("true", labels[known])):
        if found.size and found.max() >= classes:
            raise DataError(f"{what} class {found.max()} of data with {classes} classes: these do not belong together")
    index = labels[known].astype(np.int64) * classes + predicted[known]
    return np.bincount(index, minlength=classes**2).reshape(classes, classes)


def segmentation_figures(counts: np.ndarray) -> dict[str, float]:
    """Mean IoU over the classes that occur, IoU over all pixels, accuracy and mean F1 of counts (C, C)."""
    right, true, said = np.diag(counts), counts.sum(axis=1), counts.sum(axis=0)
    there = true + said > 0
    if not there.any():
        raise DataError("no labelled pixels")
    union = true + said - right
    return {
        "mIoU": float((right[there] / union[there]).mean()),
        "IoU": float(right.sum() / union.sum()),
        "accuracy": float(right.sum() / counts.sum()),
        "F1": float((2 * right[there] / (true + said)[there]).mean()),
    }


def depth_figures(pairs: Iterable[tuple[np.ndarray, np.ndarray]]) -> dict[str, float]:
    """Eigen's figures of predicted and true depths (M,), all > 0; means over images."""
    rows = [_depth_row(predicted, true) for predicted, true in pairs]
    if not rows:
        raise DataError("no depths")
    return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}


def _depth_row(predicted: np.ndarray, true: np.ndarray) -> dict[str, float]:
    ratio = np.maximum(predicted / true, true / predicted)
    log = np.log(predicted) - np.log(true)
    return {
        **{f"a{i}": float(np.mean(ratio < 1.25**i)) for i in (1, 2, 3)},
        "abs_rel": float(np.mean(np.abs(predicted - true) / true)),
        "sq_rel": float(np.mean((predicted - true) ** 2 / true)),
        "rmse": float(np.sqrt(np.mean((predicted - true) ** 2))),
        "rmse_log": float(np.sqrt(np.mean(log**2))),
        "log_10": float(np.mean(np.abs(log)) / np.log(10)),
        "silog": float(100 * np.sqrt(max(np.mean(log**2) - np.mean(log) ** 2, 0))),
    }


def predict_classes(network: nn.Module, image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Most likely class (height, width) of an RGB image."""
    device = next(network.parameters()).device
    with torch.inference_mode():
        logits = network(to_tensor(resize(image, size), 3)[None].to(device)).segmentation
    return resize(logits[0].argmax(dim=0).to(torch.uint8).cpu().numpy(), size, nearest=True)


def validate_segmentation(network: nn.Module, data: Labelled, size: tuple[int, int], count: int) -> float:
    """Mean IoU of some images."""
    network.eval()
    none = np.zeros((data.classes, data.classes), np.int64)

    def row(i: int) -> np.ndarray:
        sample = data[i]
        if sample.labels is None:
            return none
        labels = resize(sample.labels, size, nearest=True)
        return confusion(predict_classes(network, sample.image, size), labels, data.classes)

    return segmentation_figures(sum(spread(min(count, len(data)), row), none))["mIoU"]
