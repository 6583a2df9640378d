# SPDX-License-Identifier: Apache-2.0
"""LightGlue (Lindenberger et al. 2023): matches the keypoints of two images, and stops as soon as it is sure."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor, nn

from letvins_ros.errors import ConfigError
from letvins_ros.networks.lightglue_layers import Assignment, CrossBlock, RotaryPositions, SelfBlock, TokenConfidence
from letvins_ros.networks.published import Renames


class Keypoints(NamedTuple):
    """Keypoints of a batch of images."""

    uv: Tensor  # (B, N, 2) px
    descriptors: Tensor  # (B, N, D)
    size: tuple[int, int]  # of the images: width, height, px


class LightGlueOutput(NamedTuple):
    """What every layer says, for training."""

    log_assignment: list[Tensor]  # each (B, M+1, N+1) log-probabilities; the last row and column: no match
    confidence: list[tuple[Tensor, Tensor]]  # logits (B, M) and (B, N) that a point's answer is final; not of the last


class Matches(NamedTuple):
    """Mutual best matches of one pair of images."""

    indices: Tensor  # (M,) int64, in the second image, -1 for none
    scores: Tensor  # (M,) 0..1
    layers: int  # that were needed


@dataclass
class _Pair:
    """State of both images while layers pass over it; index tells which points are left."""

    x: list[Tensor]  # (B, M, d), (B, N, d)
    positions: list[Tensor]
    index: list[Tensor]


class LightGlue(nn.Module):
    """Matcher of keypoints with input_size-d descriptors.

    9 layers of 256 features with 4 heads have 11,851,601 parameters; over KP2Dtiny 4 layers of 32 (84,975) or of
    64 features (333,783).
    """

    PUBLISHED: ClassVar[Renames] = (
        (r"matcher\.", ""),
        (r"confidence_thresholds$", None),  # follow from the number of layers; some files have them
        (r"log_assignment\.\d+\.r$", None),  # left over in DISK's file, read by nothing
        (r"(self_attn|cross_attn)\.(\d+)\.", r"transformers.\2.\1."),
        (r"transformers\.", "layers."),
        (r"log_assignment\.", "assignments."),
        (r"token_confidence\.(\d+)\.token\.0\.", r"confidences.\1.linear."),
    )

    confidence_thresholds: Tensor  # (layers,) how sure a point must be, the later the less

    def __init__(self, size: int = 256, layers: int = 9, heads: int = 4, input_size: int | None = None) -> None:
        super().__init__()
        if size % (2 * heads):
            raise ConfigError(f"{heads} heads need a size that is a multiple of {2 * heads}, got {size}")
        self.input_size = input_size or size
        self.input_proj = nn.Linear(self.input_size, size) if self.input_size != size else nn.Identity()
        self.posenc = RotaryPositions(size // heads)
        self.layers = nn.ModuleList(_Layer(size, heads) for _ in range(layers))
        self.assignments = nn.ModuleList(Assignment(size) for _ in range(layers))
        self.confidences = nn.ModuleList(TokenConfidence(size) for _ in range(layers - 1))
        thresholds = [0.8 + 0.1 * math.exp(-4 * i / layers) for i in range(layers)]
        self.register_buffer("confidence_thresholds", torch.tensor(thresholds), persistent=False)

    def forward(self, a: Keypoints, b: Keypoints) -> LightGlueOutput:
        """Assign the points of a to those of b by every layer, none left out."""
        pair = self._start(a, b)
        assignments: list[Tensor] = []
        confidences: list[tuple[Tensor, Tensor]] = []
        for layer, assign in zip(self.layers, self.assignments, strict=True):
            pair.x = layer(pair.x, pair.positions)
            assignments.append(assign(pair.x[0], pair.x[1]))
            if len(confidences) < len(self.confidences):
                confident = self.confidences[len(confidences)]
                confidences.append((confident(pair.x[0]), confident(pair.x[1])))
        return LightGlueOutput(assignments, confidences)

    @torch.inference_mode()
    def match(
        self, a: Keypoints, b: Keypoints, least: float = 0.1, depth: float = 0.95, width: float = 0.99
    ) -> Matches:
        """Match one pair (B = 1): mutually best and more probable than `least`.

        Layers end when a share `depth` of the points is sure; points that are sure to have no match are left out.
        A depth or width below zero switches that off.
        """
        count = a.uv.shape[1]
        nothing = Matches(torch.full((count,), -1, device=a.uv.device), torch.zeros(count, device=a.uv.device), 0)
        if not count or not b.uv.shape[1]:
            return nothing
        pair = self._start(a, b)
        done = 0
        for i, layer in enumerate(self.layers):
            pair.x = layer(pair.x, pair.positions)
            done = i + 1
            if done == len(self.layers) or self._advance(pair, i, depth, width):
                break
            if not all(x.shape[1] for x in pair.x):
                return nothing._replace(layers=done)
        indices, scores = mutual(self.assignments[done - 1](pair.x[0], pair.x[1])[0], least)
        matched = torch.full_like(nothing.indices, -1)
        matched[pair.index[0]] = torch.where(indices >= 0, pair.index[1][indices], -1)
        all_scores = torch.zeros_like(nothing.scores)
        all_scores[pair.index[0]] = scores
        return Matches(matched, all_scores, done)

    def _start(self, a: Keypoints, b: Keypoints) -> _Pair:
        for keypoints in (a, b):
            if keypoints.descriptors.shape[-1] != self.input_size:
                raise ConfigError(
                    f"descriptors must have {self.input_size} channels, got {keypoints.descriptors.shape[-1]}"
                )
        both = (a, b)
        return _Pair(
            [self.input_proj(k.descriptors) for k in both],
            [self.posenc(normalise(k.uv, k.size)) for k in both],
            [torch.arange(k.uv.shape[1], device=k.uv.device) for k in both],
        )

    def _advance(self, pair: _Pair, i: int, depth: float, width: float) -> bool:
        """Whether enough points are sure after layer i; if not, points that need no further look are left out."""
        sure = [torch.sigmoid(self.confidences[i](x))[0] for x in pair.x]
        threshold = self.confidence_thresholds[i]
        if depth > 0 and (torch.cat(sure) >= threshold).float().mean() > depth:
            return True
        if width > 0:
            assignment = cast(Assignment, self.assignments[i])
            for k, x in enumerate(pair.x):
                matchable = torch.sigmoid(assignment.matchability(x))[0, :, 0]
                keep = (matchable > 1 - width) | (sure[k] <= threshold)
                pair.x[k], pair.index[k] = x[:, keep], pair.index[k][keep]
                pair.positions[k] = pair.positions[k][..., keep, :]
        return False

    @staticmethod
    def options_of(state: Mapping[str, np.ndarray]) -> dict[str, Any]:
        """Constructor options that the shapes of these (renamed) tensors tell."""
        size = state["layers.0.self_attn.out_proj.weight"].shape[0]
        if state["posenc.Wr.weight"].shape[1] != 2:
            raise ConfigError("it needs scale and direction of keypoints (SIFT, DoG-HardNet), which ours have not")
        return {
            "size": size,
            "layers": len({key.split(".")[1] for key in state if key.startswith("layers.")}),
            "heads": size // (2 * state["posenc.Wr.weight"].shape[0]),
            "input_size": state["input_proj.weight"].shape[1] if "input_proj.weight" in state else size,
        }


def normalise(uv: Tensor, size: tuple[int, int]) -> Tensor:
    """Pixels (B, N, 2) to -1..1 along the longer side, 0 in the middle."""
    extent = uv.new_tensor(size)
    return (uv - extent / 2) / (extent.max() / 2)


def mutual(log_assignment: Tensor, least: float | Tensor) -> tuple[Tensor, Tensor]:
    """Index (M,) of the mutually best column, -1 for none, and its probability, of one (M+1, N+1)."""
    inner = log_assignment[:-1, :-1]
    best, indices = inner.max(dim=1)
    back = inner.argmax(dim=0)
    scores = best.exp()
    rows = torch.arange(indices.shape[0], device=indices.device)  # of len() an exported file would know the number
    good = (back[indices] == rows) & (scores > least)
    return torch.where(good, indices, -1), torch.where(good, scores, 0.0)


class _Layer(nn.Module):
    """Self attention of each image, then cross attention between them."""

    def __init__(self, size: int, heads: int) -> None:
        super().__init__()
        self.self_attn, self.cross_attn = SelfBlock(size, heads), CrossBlock(size, heads)

    def forward(self, x: list[Tensor], positions: list[Tensor]) -> list[Tensor]:
        first, second = (self.self_attn(a, p) for a, p in zip(x, positions, strict=True))
        return [*self.cross_attn(first, second)]
