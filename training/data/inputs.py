# SPDX-License-Identifier: Apache-2.0
"""What a training run reads, looked at before its first step."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.data import Dataset

from letvins_ros.errors import DataError
from training.data.images import ENDINGS, looks_broken

MOST = 10  # unreadable samples one after another


class Inputs(NamedTuple):
    """Photographs, or files that stand for others: poses of a trajectory, scene_info, rows of a file."""

    train: Sequence[Path]
    unseen: Sequence[Path]  # read by the validation


def check_inputs(inputs: Inputs) -> None:
    """Raise DataError where validation reads what is trained on, or where photographs are no images or cut off."""
    trained = {path.resolve() for path in inputs.train}
    shared = [path for path in inputs.unseen if path.resolve() in trained]
    if shared:
        raise DataError(
            f"{shared[0]}: {len(shared)} of {len(inputs.unseen)} files of the validation are trained on, this one first"
        )
    photos = [path for path in (*inputs.train, *inputs.unseen) if path.suffix.lower() in ENDINGS]
    bad = [(path, reason) for path in photos if (reason := looks_broken(path))]
    if bad:
        path, reason = bad[0]
        raise DataError(f"{path}: {reason}; {len(bad)} of {len(photos)} photographs are like this, take them away")


class Skipping(Dataset[dict[str, Tensor]]):
    """Samples that go on to the next one where one cannot be read; `skipped` says how many were passed over.

    A run of a night does not end with one bad photograph, but with MOST in a row, of which the first is raised.
    """

    def __init__(self, samples: Dataset[dict[str, Tensor]]) -> None:
        self._samples = samples

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        first: DataError | None = None
        for skipped in range(MOST):
            try:
                item = self._samples[(index + skipped) % len(self._samples)]  # type: ignore[arg-type]
                return {**item, "skipped": torch.tensor(skipped)}
            except DataError as error:
                warnings.warn(f"skipped: {error}", stacklevel=2)
                first = first or error
        raise first or DataError("no samples")
