# SPDX-License-Identifier: Apache-2.0
"""Recorded sequences of many formats behind one protocol."""

from pathlib import Path

from letvins_ros.calibration import Rig, choose_cameras
from letvins_ros.config import InputConfig
from letvins_ros.datasets.base import Dataset, ReadReport
from letvins_ros.errors import DataError

__all__ = ["Dataset", "ReadReport", "open_dataset"]


def open_dataset(
    path: Path,
    rig: Rig | None = None,
    *,
    color: bool = False,
    frame_rate_hz: float | None = None,
    inputs: InputConfig | None = None,
) -> Dataset:
    """Open a recording whose format is recognised by what lies in it.

    rig: calibration to use instead of the recording's own; with one camera, only the left images are read.
    color: (H, W, 3) RGB images instead of gray ones.
    inputs: which topics of a bag and which cameras are used.
    frame_rate_hz: of a recording without times (TartanAir V1), 10 Hz where it is not given.
    Raises DataError where nothing known is found or nothing usable is in it.
    """
    from letvins_ros.datasets import euroc, kitti, kitti_raw, tartanair  # each format only when data are read
    from letvins_ros.datasets.bags import storage

    if not path.exists():
        raise DataError(f"{path}: no such file or folder")
    inputs = inputs or InputConfig()
    rig = choose_cameras(rig, inputs.camera_numbers) if rig else None
    if euroc.recognises(path):
        return euroc.open_euroc(path, rig, color, inputs.camera_numbers)
    if tartanair.recognises(path):
        return tartanair.open_tartanair(path, rig, color, frame_rate_hz or 10.0)
    if kitti.recognises(path):
        return kitti.open_kitti(path, rig, color, inputs.camera_numbers)
    if kitti_raw.recognises(path):
        return kitti_raw.open_kitti_raw(path, rig, color, inputs.camera_numbers)
    if storage.recognises(path):
        from letvins_ros.datasets import rosbag

        return rosbag.BagRecording(path, rig, color, inputs)
    looked_for = (
        "mav0/cam0 (EuRoC, TUM-VI), image_left (TartanAir), image_0 with times.txt (KITTI), image_00 with"
        " timestamps.txt (KITTI raw), *.bag, *.db3, *.mcap"
    )
    inside = _recordings_in(path)
    if inside:
        raise DataError(f"{path}: is a folder of recordings; name one of {', '.join(inside)}")
    raise DataError(f"{path}: no recording that is known; looked for {looked_for}")


def _recordings_in(folder: Path) -> list[str]:
    """Names of the folders in a folder that are recordings themselves."""
    from letvins_ros.datasets import euroc, kitti, kitti_raw, tartanair
    from letvins_ros.datasets.bags import storage

    formats = (euroc, tartanair, kitti, kitti_raw, storage)
    inside = [one for one in folder.iterdir() if one.is_dir()] if folder.is_dir() else []
    return sorted(one.name for one in inside if any(format.recognises(one) for format in formats))
