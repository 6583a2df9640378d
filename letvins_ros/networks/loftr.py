# SPDX-License-Identifier: Apache-2.0
"""LoFTR (Sun et al. 2021): matches two images without keypoints, cell by cell, then to a part of a pixel."""

from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from letvins_ros.errors import ConfigError
from letvins_ros.networks.cells import check_size
from letvins_ros.networks.loftr_parts import COARSE, FINE, Backbone, Transformer, positions, sinkhorn
from letvins_ros.networks.published import Renames

CELL = 8  # px of a coarse cell
FINE_CELL = 2  # px of a fine one
WINDOW = 5  # fine cells on a side, within which a match is refined
BORDER = 2  # coarse cells off the edges, where nothing is matched
_TEMPERATURE = 0.1
_SINKHORN_STEPS = 3


class Coarse(NamedTuple):
    """How well the cells of two images match, and what refining needs; L and S cells, row by row."""

    confidence: Tensor  # (B, L, S) 0..1
    feature_a: Tensor  # (B, L, 256)
    feature_b: Tensor  # (B, S, 256)
    fine_a: Tensor  # (B, 128, H/2, W/2)
    fine_b: Tensor
    columns: tuple[int, int]  # cells in a row of a and of b


class Fine(NamedTuple):
    """Where in its window of image b the middle of a cell of image a lies."""

    offset: Tensor  # (M, 2) in -1..1 of the window's half
    spread: Tensor  # (M,) standard deviations of x and y together


class LoFTRMatches(NamedTuple):
    """Matches of a batch of pairs."""

    batch: Tensor  # (M,) int64, which pair
    uv_a: Tensor  # (M, 2) px
    uv_b: Tensor  # (M, 2) px
    confidence: Tensor  # (M,) 0..1


class LoFTR(nn.Module):
    """Two (B, 1, H, W) gray images in 0..1, sides multiples of 8 -> LoFTRMatches; 11,561,456 parameters.

    matching is dual_softmax, or sinkhorn (one parameter more). legacy_positions is what the released weights want.
    """

    PUBLISHED_OPTIONS: ClassVar[dict[str, Any]] = {"legacy_positions": True}
    PUBLISHED: ClassVar[Renames] = ((r"matcher\.", ""), (r"coarse_matching\.", ""))

    def __init__(self, matching: str = "dual_softmax", legacy_positions: bool = False) -> None:
        super().__init__()
        if matching not in ("dual_softmax", "sinkhorn"):
            raise ConfigError(f"unknown matching {matching} of loftr; known: dual_softmax, sinkhorn")
        self.legacy_positions = legacy_positions
        self.backbone = Backbone()
        self.loftr_coarse = Transformer(COARSE, 4)
        self.bin_score = nn.Parameter(torch.tensor(1.0)) if matching == "sinkhorn" else None
        self.fine_preprocess = _FinePreprocess()
        self.loftr_fine = Transformer(FINE, 1)

    def forward(
        self, image_a: Tensor, image_b: Tensor, least: float | Tensor = 0.2, border: int = BORDER
    ) -> LoFTRMatches:
        """Match; mutually best cells more confident than `least` and `border` cells off the edges."""
        coarse = self.coarse(image_a, image_b)
        return self.refined(coarse, *mutual_cells(coarse, least, border))

    def refined(self, coarse: Coarse, batch: Tensor, i: Tensor, j: Tensor) -> LoFTRMatches:
        """Places of matches of cells i of image a with cells j of image b, each (M,)."""
        offset = self.fine(coarse, batch, i, j).offset
        uv_a, uv_b = (_corner(index, columns) for index, columns in zip((i, j), coarse.columns, strict=True))
        reach = WINDOW // 2 * FINE_CELL
        return LoFTRMatches(batch, uv_a, uv_b + offset * reach, coarse.confidence[batch, i, j])

    def coarse(self, image_a: Tensor, image_b: Tensor) -> Coarse:
        """Match cells of 8 px."""
        for image in (image_a, image_b):
            check_size(image, 1, CELL)
        (a, fine_a), (b, fine_b) = self.backbone(image_a), self.backbone(image_b)
        columns = a.shape[-1], b.shape[-1]
        feature_a, feature_b = self.loftr_coarse(self._tokens(a), self._tokens(b))
        similarity = feature_a @ feature_b.transpose(1, 2) / COARSE
        if self.bin_score is None:
            similarity = similarity / _TEMPERATURE
            confidence = similarity.softmax(dim=1) * similarity.softmax(dim=2)
        else:
            confidence = sinkhorn(similarity, self.bin_score, _SINKHORN_STEPS).exp()[:, :-1, :-1]
        return Coarse(confidence, feature_a, feature_b, fine_a, fine_b, columns)

    def fine(self, coarse: Coarse, batch: Tensor, i: Tensor, j: Tensor) -> Fine:
        """Refine matches of cells i of image a with cells j of image b, each (M,)."""
        a = self.fine_preprocess(coarse.fine_a, coarse.feature_a, batch, i)
        b = self.fine_preprocess(coarse.fine_b, coarse.feature_b, batch, j)
        a, b = self.loftr_fine(a, b)
        similarity = torch.einsum("mc,mrc->mr", a[:, WINDOW**2 // 2], b)
        return _expectation((similarity / FINE**0.5).softmax(dim=1))

    def _tokens(self, feature: Tensor) -> Tensor:
        """(B, C, h, w) with its positions -> (B, h*w, C)."""
        _, channels, height, width = feature.shape
        code = positions(channels, height, width, self.legacy_positions).to(feature)
        return (feature + code).flatten(2).transpose(1, 2)

    @staticmethod
    def options_of(state: Mapping[str, np.ndarray]) -> dict[str, Any]:
        """How it matches; those with published names want legacy_positions."""
        return {"matching": "sinkhorn" if "bin_score" in state else "dual_softmax"}


class _FinePreprocess(nn.Module):
    """Cuts windows of the fine map round cells and adds what the coarse map knows: (M, 25, 128)."""

    def __init__(self) -> None:
        super().__init__()
        self.down_proj, self.merge_feat = nn.Linear(COARSE, FINE), nn.Linear(2 * FINE, FINE)

    def forward(self, fine: Tensor, coarse: Tensor, batch: Tensor, cell: Tensor) -> Tensor:
        stride = CELL // FINE_CELL
        # windows lie round the first fine cell of a coarse one, whose pixel the coarse match stands for
        columns = fine.shape[-1] // stride
        around = torch.arange(WINDOW, device=cell.device)  # in the padded map
        rows = (cell // columns * stride)[:, None, None] + around[:, None]
        cols = (cell % columns * stride)[:, None, None] + around
        padded = functional.pad(fine, [WINDOW // 2] * 4)
        windows = padded[batch[:, None, None], :, rows, cols].flatten(1, 2)  # (M, 25, 128)
        known = self.down_proj(coarse[batch, cell])[:, None].expand_as(windows)
        return self.merge_feat(torch.cat([windows, known], dim=2))


def mutual_cells(coarse: Coarse, least: float | Tensor, border: int) -> tuple[Tensor, Tensor, Tensor]:
    """Pair, cell of a and cell of b, each (M,), of mutually best matches."""
    confidence = coarse.confidence
    best = (confidence == confidence.amax(dim=2, keepdim=True)) & (confidence == confidence.amax(dim=1, keepdim=True))
    inner_a, inner_b = (
        _inner(count, columns, border).to(confidence.device)
        for count, columns in zip(confidence.shape[1:], coarse.columns, strict=True)
    )
    batch, i, j = torch.nonzero(best & (confidence > least) & inner_a[:, None] & inner_b, as_tuple=True)
    return batch, i, j


def _inner(count: int, columns: int, border: int) -> Tensor:
    """Which of `count` cells (count,) bool are away from the edges."""
    row, column = torch.arange(count) // columns, torch.arange(count) % columns
    rows = count // columns
    return (row >= border) & (row < rows - border) & (column >= border) & (column < columns - border)


def _corner(cell: Tensor, columns: int) -> Tensor:
    """First pixel (M, 2) of cells (M,)."""
    return torch.stack([cell % columns, cell // columns], dim=1).float() * CELL


def _expectation(weight: Tensor) -> Fine:
    """Mean and spread of a distribution (M, 25) over the window."""
    axis = torch.linspace(-1, 1, WINDOW, device=weight.device, dtype=weight.dtype)
    grid = torch.stack(torch.meshgrid(axis, axis, indexing="xy"), dim=-1).reshape(-1, 2)
    mean = weight @ grid
    variance = weight @ grid**2 - mean**2
    return Fine(mean, variance.clamp(min=1e-10).sqrt().sum(dim=1))
