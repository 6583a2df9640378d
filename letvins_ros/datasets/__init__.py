# SPDX-License-Identifier: Apache-2.0
"""Recorded sequences of many formats behind one protocol."""

from collections.abc import Callable, Sequence
from pathlib import Path

from letvins_ros.calibration import Rig, choose_cameras
from letvins_ros.config import InputConfig
from letvins_ros.datasets.base import Dataset, ReadReport
from letvins_ros.errors import DataError

_Recognises = Callable[[Path], bool]
_OpensFolder = Callable[[Path, Rig | None, bool, Sequence[int]], Dataset]  # rig, colour, numbers of cameras

_LEVELS, _LOOKED_INTO, _LISTED = 4, 100, 12  # of folders that are looked into for recordings, and that are named

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
    from letvins_ros.datasets.bags import storage  # each format only when data are read
    from letvins_ros.datasets.tartanair import open_tartanair
    from letvins_ros.datasets.tartanair import recognises as is_tartanair

    if not path.exists():
        raise DataError(f"{path}: no such file or folder")
    inputs = inputs or InputConfig()
    rig = choose_cameras(rig, inputs.camera_numbers) if rig else None
    for recognises, open_folder in _folders():
        if recognises(path):
            return open_folder(path, rig, color, inputs.camera_numbers)
    if is_tartanair(path):
        return open_tartanair(path, rig, color, inputs.camera_numbers, frame_rate_hz or 10.0)
    if storage.recognises(path):
        from letvins_ros.datasets import rosbag

        return rosbag.BagRecording(path, rig, color, inputs)
    looked_for = (
        "mav0/cam0 (EuRoC, TUM-VI), image_left (TartanAir), image_0 with times.txt (KITTI), image_00 with"
        " timestamps.txt (KITTI raw), undistorted_images (4Seasons), rgb.txt (TUM RGB-D, ETH3D), left_images.txt"
        " (UZH-FPV), fisheye1.txt (OpenLORIS), *.bag, *.db3, *.mcap"
    )
    inside = _recordings_in(path)
    if inside:
        raise DataError(f"{path}: is a folder of recordings; name one of {', '.join(inside)}")
    raise DataError(f"{path}: no recording that is known; looked for {looked_for}")


def _folders() -> tuple[tuple[_Recognises, _OpensFolder], ...]:
    """Formats of folders: how each is recognised, and what opens it."""
    from letvins_ros.datasets import euroc, four_seasons, kitti, kitti_raw, listed

    return (
        (euroc.recognises, euroc.open_euroc),
        (kitti.recognises, kitti.open_kitti),
        (kitti_raw.recognises, kitti_raw.open_kitti_raw),
        (four_seasons.recognises, four_seasons.open_four_seasons),
        (listed.recognises, listed.open_listed),
    )


def _recordings_in(folder: Path) -> list[str]:
    """Paths, from a folder on, of recordings in it or some levels below; the first ones where they are many."""
    from letvins_ros.datasets import tartanair
    from letvins_ros.datasets.bags import storage

    kinds = [*(recognises for recognises, _ in _folders()), tartanair.recognises, storage.recognises]
    found: list[Path] = []
    level = [folder]
    for _ in range(_LEVELS):
        inside = [one for parent in level for one in _subfolders(parent)]
        known = [one for one in inside if any(recognises(one) for recognises in kinds)]
        found += known
        if len(found) > _LISTED:
            break
        level = [one for one in inside if one not in known][:_LOOKED_INTO]
    names = sorted(str(one.relative_to(folder)) for one in found)
    return names if len(names) <= _LISTED else [*names[:_LISTED], ".."]


def _subfolders(folder: Path) -> list[Path]:
    try:
        return sorted(one for one in folder.iterdir() if one.is_dir()) if folder.is_dir() else []
    except OSError:  # not ours to read
        return []
