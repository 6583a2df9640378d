# SPDX-License-Identifier: Apache-2.0
"""Figures of a model on views of photographs, which recipes validate with; processes share the pairs."""

from pathlib import Path

from training.data.homographies import Ranges
from training.parallel import spread
from training.tasks.hpatches import photo_pair
from training.tasks.pairs import Choice, PairModel
from training.tasks.protocols import our_row, our_summary


def photo_figures(
    match: PairModel, unseen: Path, size: tuple[int, int], counts: tuple[int, int], ranges: Ranges
) -> dict[str, float]:
    """Our figures on so many photographs of a folder, each with a view of it, and with so many keypoints."""
    pairs, top_k = counts

    def row(i: int) -> dict[str, float]:
        pair = photo_pair(unseen, size, (i, pairs), ranges)
        return our_row(pair, match(pair, [Choice(top_k)])[0])

    return our_summary({str(i): figures for i, figures in enumerate(spread(pairs, row))})
