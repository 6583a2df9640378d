# SPDX-License-Identifier: Apache-2.0
"""LoFTR on pairs with depth, or on views of photographs under homographies."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from letvins_ros import networks
from letvins_ros.networks.loftr import CELL, FINE_CELL, WINDOW, Coarse
from training.data.inputs import Inputs
from training.data.warps import Source, warps
from training.losses.loftr import TrueCells, coarse_loss, fine_loss, true_cells
from training.parallel import spread
from training.recipes.base import Batch, Recipe


class Steps(nn.Module):
    """LoFTR with a forward pass for training: both levels, the fine one at given cells."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network

    def forward(self, image_a: Tensor, image_b: Tensor, truth: TrueCells) -> tuple[Coarse, Any]:
        coarse = self.network.coarse(image_a, image_b)
        return coarse, self.network.fine(coarse, truth.batch, truth.i, truth.j)


@dataclass(frozen=True)
class LoftrRecipe(Recipe):
    """Options of the recipe."""

    source: str = "scenes"  # or tartanair, photos
    folder: str = "../data/megadepth"
    unseen: str = ""  # for validation, of the same source; of scenes if not given those of the val_list
    matching: str = "dual_softmax"  # or sinkhorn
    legacy_positions: bool = False
    dense: bool = False  # the coarse loss of cells that do not match, too
    fine_share: float = 0.3  # of the cells of an image, at most, that the fine level learns from
    height: int = 640
    width: int = 640
    validation_pairs: int = 32

    def build(self) -> nn.Module:
        """Make LoFTR."""
        return Steps(networks.build("loftr", matching=self.matching, legacy_positions=self.legacy_positions))

    def samples(self, length: int, seed: int) -> Dataset[dict[str, Tensor]]:
        """Give pairs with truth."""
        return self._source().samples(length, seed)

    def inputs(self) -> Inputs:
        """See Recipe."""
        return Inputs(self._source().items(), self._unseen().items())

    def loss(self, network: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Coarse and fine losses at the true matches."""
        network.train()
        truth = self._truth(batch)
        some = self._some(truth)
        coarse, fine = network(batch["image_a"], batch["image_b"], some)
        reach = WINDOW // 2 * FINE_CELL
        columns = coarse.columns[1]
        corner = torch.stack([some.j % columns, some.j // columns], dim=1).float() * CELL
        losses = {
            "coarse": coarse_loss(coarse.confidence, truth, self.dense),
            "fine": fine_loss(fine.offset, fine.spread, (some.uv_b - corner) / reach),
        }
        return {"total": torch.stack(list(losses.values())).sum(), **losses}

    def deployed(self, network: Any) -> nn.Module:
        """Give LoFTR itself."""
        kept: nn.Module = network.network
        return kept

    @torch.inference_mode()
    def validate(self, network: nn.Module) -> dict[str, float]:
        """Share of matches that are right within 3 px, and how many there are, on unseen pairs; score is right ones."""
        network.eval()
        device = next(network.parameters()).device
        pairs = self._unseen().samples(self.validation_pairs, 10**6)

        def row(i: int) -> tuple[int, int]:
            batch = {key: value[None].to(device) for key, value in pairs[i].items()}
            found = network(batch["image_a"], batch["image_b"])
            there, seen = warps(batch)[0](found.uv_a[None])
            near = seen[0] & ((there[0] - found.uv_b).norm(dim=1) < 3)
            return int(near.sum()), len(near)

        count = self.validation_pairs
        right, total = np.sum(spread(count, row), axis=0).tolist()
        return {"precision": right / max(total, 1), "matches": total / count, "score": right / count}

    def pictures(self, network: nn.Module) -> dict[str, np.ndarray]:
        """Two unseen images side by side."""
        item = self._unseen().samples(1, 10**6)[0]
        both = torch.cat([item["image_a"], item["image_b"]], dim=2)[0]
        gray = (255 * both).to(torch.uint8).numpy()
        return {"pair": np.repeat(gray[..., None], 3, axis=2)}

    def _source(self) -> Source:
        return Source(self.source, Path(self.folder), (self.height, self.width))

    def _unseen(self) -> Source:
        return self._source().unseen(self.unseen)

    def _truth(self, batch: Batch) -> TrueCells:
        size = (batch["image_a"].shape[-2], batch["image_a"].shape[-1])
        return true_cells(len(batch["image_a"]), size, CELL, *warps(batch), batch["image_a"].device)

    def _some(self, truth: TrueCells) -> TrueCells:
        """A random share of the matches, so that the fine level fits into memory."""
        images = int(truth.batch.max()) + 1 if len(truth.batch) else 1
        most = max(1, int(self.fine_share * truth.shape[0] * images))
        chosen = torch.randperm(len(truth.batch), device=truth.batch.device)[:most]
        return truth.map(lambda x: x[chosen])


RECIPE = LoftrRecipe
