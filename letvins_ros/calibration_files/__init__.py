# SPDX-License-Identifier: Apache-2.0
"""Calibration files of other programs, read into the plain layout of `calibration.rig_from_dict`."""

from pathlib import Path

from letvins_ros.calibration_files.euroc import read_euroc
from letvins_ros.calibration_files.kalibr import imu_beside, read_kalibr
from letvins_ros.calibration_files.values import Plain, named, number, numbers, rigid, rigid_error, value
from letvins_ros.calibration_files.vins import read_vins
from letvins_ros.errors import CalibrationError
from letvins_ros.yaml_files import load_yaml

__all__ = ["Plain", "named", "number", "numbers", "read", "read_euroc", "rigid", "rigid_error", "value"]


def read(path: Path, imu_yaml: Path | None = None) -> Plain:
    """Read a EuRoC folder, a Kalibr camera chain or a VINS-Fusion configuration, told apart by content."""
    if path.is_dir():
        return read_euroc(path)
    content = load_yaml(path, lenient=True)
    with named(path):
        if "cam0" in content:
            return read_kalibr(content, imu_beside(path) if imu_yaml is None else imu_yaml)
        if "cam0_calib" in content:
            return read_vins(content, path.parent)
        hint = "; give the folder above cam0 instead" if "T_BS" in content else ""
        raise CalibrationError(f"is neither a Kalibr camera chain (cam0) nor a VINS-Fusion file (cam0_calib){hint}")
