# SPDX-License-Identifier: Apache-2.0
"""Recorded sequences of many formats behind one protocol."""

from pathlib import Path

from letvins_ros.calibration import Rig
from letvins_ros.datasets.base import Dataset, ReadReport
from letvins_ros.errors import DataError

__all__ = ["Dataset", "ReadReport", "open_dataset"]


def open_dataset(
    path: Path, rig: Rig | None = None, *, color: bool = False, frame_rate_hz: float | None = None
) -> Dataset:
    """Open a recording whose format is recognised by what lies in it.

    rig: calibration to use instead of the recording's own; with one camera, only the left images are read.
    color: (H, W, 3) RGB images instead of gray ones.
    frame_rate_hz: of a recording without times (TartanAir V1), 10 Hz where it is not given.
    Raises DataError where nothing known is found or nothing usable is in it.
    """
    from letvins_ros.datasets import euroc, kitti, rosbag, tartanair  # each format only when data are read

    if not path.exists():
        raise DataError(f"{path}: no such file or folder")
    if euroc.recognises(path):
        return euroc.open_euroc(path, rig, color)
    if tartanair.recognises(path):
        return tartanair.open_tartanair(path, rig, color, frame_rate_hz or 10.0)
    if kitti.recognises(path):
        return kitti.open_kitti(path, rig, color)
    if rosbag.recognises(path):
        return rosbag.open_bag(path, rig, color)
    looked_for = (
        "mav0/cam0 (EuRoC, TUM-VI), image_left (TartanAir), image_0 with times.txt (KITTI), *.bag, *.db3, *.mcap"
    )
    raise DataError(f"{path}: no recording that is known; looked for {looked_for}")
