# SPDX-License-Identifier: Apache-2.0
"""Calibrations in the files of other programs, by file name."""

from collections.abc import Callable
from pathlib import Path

from letvins_ros.calibration import Rig, read_calibration
from letvins_ros.calibration_export import basalt, camera_info, kalibr, vins
from letvins_ros.config_io import load_config
from letvins_ros.errors import CalibrationError, LetvinsError

STYLES: dict[str, Callable[[Rig], dict[str, str]]] = {
    "kalibr": kalibr.files,
    "camera_info": camera_info.files,
    "vins": vins.files,
    "basalt": basalt.files,
}


def export(rig: Rig, style: str) -> dict[str, str]:
    """Text by file name; CalibrationError for an unknown style, or a camera that the style cannot describe."""
    if style not in STYLES:
        raise CalibrationError(f"calibrations are exported as {', '.join(STYLES)}, not as {style}")
    return STYLES[style](rig)


def calibration_of(path: Path) -> Rig:
    """The rig of a configuration of ours, else of another program's calibration; raises LetvinsError."""
    try:
        rig = None if path.is_dir() else load_config(path).rig
    except LetvinsError:
        rig = None
    return rig or read_calibration(path).rig
