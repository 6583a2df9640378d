# SPDX-License-Identifier: Apache-2.0
"""Recorded sequences of many formats behind one protocol."""

from pathlib import Path

from letvins_ros.calibration import Rig
from letvins_ros.datasets.base import Dataset, ReadReport
from letvins_ros.errors import DataError

__all__ = ["Dataset", "ReadReport", "open_dataset"]


def open_dataset(path: Path, rig: Rig | None = None, *, color: bool = False) -> Dataset:
    """Open a recording whose format is recognised by what lies in it.

    rig: calibration to use instead of the recording's own; with one camera, only the left images are read.
    color: (H, W, 3) RGB images instead of gray ones.
    Raises DataError where nothing known is found or nothing usable is in it.
    """
    from letvins_ros.datasets import euroc  # noqa: PLC0415  formats are imported when they are needed

    if not path.exists():
        raise DataError(f"{path}: no such file or folder")
    if euroc.is_euroc(path):
        return euroc.open_euroc(path, rig, color)
    raise DataError(f"{path}: no known recording (EuRoC folder, TartanAir trajectory, KITTI sequence, ROS bag)")
