# SPDX-License-Identifier: Apache-2.0
"""What a training run reads, looked at before its first step."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from letvins_ros.errors import DataError


class Inputs(NamedTuple):
    """Photographs, or files that stand for others: poses of a trajectory, scene_info, rows of a file."""

    train: Sequence[Path]
    unseen: Sequence[Path]  # read by the validation


def check_inputs(inputs: Inputs) -> None:
    """Raise DataError where validation reads what is trained on."""
    trained = {path.resolve() for path in inputs.train}
    shared = [path for path in inputs.unseen if path.resolve() in trained]
    if shared:
        raise DataError(
            f"{shared[0]}: {len(shared)} of {len(inputs.unseen)} files of the validation are trained on, this one first"
        )
