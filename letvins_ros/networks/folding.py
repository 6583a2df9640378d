# SPDX-License-Identifier: Apache-2.0
"""LET-NET2 weights as four plain convolutions, in numpy, so that every backend runs the same numbers."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from letvins_ros.weights import WeightsError

FEATURES = {2: 1, 3: 3, 4: 3}  # channels of the head -> of the feature map
LUMINANCE = np.array([0.299, 0.587, 0.114], np.float32)  # of R, G, B (ITU-R BT.601), as in OpenCV
_BN_EPSILON = 1e-5
_KEYS = frozenset(
    ["conv1.weight", "conv_head.weight"]
    + [f"block1.conv{i}.weight" for i in (1, 2)]
    + [
        f"block1.bn{i}.{p}"
        for i in (1, 2)
        for p in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    ]
)


@dataclass(frozen=True, eq=False)
class Conv:
    """One stride-1 convolution with zero padding that keeps the image's size."""

    weight: np.ndarray  # (O, I, k, k) float32
    bias: np.ndarray  # (O,) float32

    @property
    def padding(self) -> int:
        """Zeros on each side."""
        return int(self.weight.shape[2]) // 2


Fold = Callable[[Mapping[str, np.ndarray], int], list[Conv]]  # of weights, for images of so many channels


def fold_letnet2(state: Mapping[str, np.ndarray], channels: int) -> list[Conv]:
    """Convolutions from a (1 or 3)-channel 0..255 image to the feature logits: ReLU between, sigmoid after the last.

    Batch norm and the division by 255 go into the weights. So does the difference between the network's channels and
    the image's: an RGB network sees a gray image three times, a gray network the luminance of an RGB image.
    """
    if set(state) != _KEYS:
        odd = sorted(_KEYS ^ set(state))
        raise WeightsError(f"not the weights of a LET-NET2: {len(odd)} keys missing or unknown, first {odd[0]}")
    first = state["block1.conv1.weight"] / 255
    if channels < first.shape[1]:
        first = first.sum(axis=1, keepdims=True)
    elif channels > first.shape[1]:
        first = first * LUMINANCE[:, None, None]
    head = state["conv_head.weight"]
    head = head[: FEATURES[len(head)]]
    return [
        _fold_batch_norm(first, state, "block1.bn1"),
        _fold_batch_norm(state["block1.conv2.weight"], state, "block1.bn2"),
        Conv(state["conv1.weight"], np.zeros(len(state["conv1.weight"]), np.float32)),
        Conv(head, np.zeros(len(head), np.float32)),
    ]


def _fold_batch_norm(weight: np.ndarray, state: Mapping[str, np.ndarray], bn: str) -> Conv:
    gain = state[f"{bn}.weight"] / np.sqrt(state[f"{bn}.running_var"] + _BN_EPSILON)
    bias = state[f"{bn}.bias"] - gain * state[f"{bn}.running_mean"]
    return Conv((weight * gain[:, None, None, None]).astype(np.float32), bias.astype(np.float32))
