# SPDX-License-Identifier: Apache-2.0
"""Calibration files of other programs, read into the plain layout of `calibration.rig_from_dict`."""

from collections.abc import Sequence
from pathlib import Path

from letvins_ros.calibration_files import basalt, okvis, openvins, orbslam3, xrslam
from letvins_ros.calibration_files.camera_info import is_camera_info, read_camera_info
from letvins_ros.calibration_files.euroc import read_euroc
from letvins_ros.calibration_files.kalibr import imu_beside, read_kalibr
from letvins_ros.calibration_files.values import Plain, named, number, numbers, rigid, rigid_error, value
from letvins_ros.calibration_files.vins import is_vins_mono, read_vins, read_vins_mono
from letvins_ros.errors import CalibrationError
from letvins_ros.yaml_files import load_yaml

__all__ = ["Plain", "named", "number", "numbers", "read", "read_euroc", "rigid", "rigid_error", "value"]

STYLES = (
    "a Kalibr camera chain (cam0), VINS-Fusion (cam0_calib), VINS-Mono (extrinsicRotation), XRSLAM (imu, cam0),"
    " ORB-SLAM3 (Camera.type), OKVIS (cameras with T_SC), Basalt (value0), OpenVINS (relative_config_imucam),"
    " ROS camera_info (camera_matrix)"
)


def read(path: Path, imu_yaml: Path | None = None, others: Sequence[Path] = ()) -> Plain:
    """Read a calibration of any style, told apart by content; a EuRoC folder is one too.

    imu_yaml: Kalibr's IMU file, where it is not the one beside the chain. others: camera_info of the right camera.
    Beside cameras and imu there may be `notes`, and `estimate_extrinsics` and `estimate_time_offset`, true where the
    file says that its values are guesses; `imu_is_placed` tells whether a Kalibr chain has poses on an IMU.
    """
    if path.is_dir():
        return read_euroc(path)
    content = load_yaml(path, lenient=True)
    with named(path):
        if others and not is_camera_info(content):
            raise CalibrationError("is no camera_info: two files are only those of a left and a right camera")
        return _by_style(content, path, imu_yaml, others)


def _by_style(content: Plain, path: Path, imu_yaml: Path | None, others: Sequence[Path]) -> Plain:
    for style in (xrslam, okvis, basalt, orbslam3):
        if style.recognises(content):
            return style.read(content)
    if openvins.recognises(content):
        return openvins.read(content, path.parent)
    if "cam0" in content:
        return read_kalibr(content, imu_beside(path) if imu_yaml is None else imu_yaml)
    if "cam0_calib" in content:
        return read_vins(content, path.parent)
    if is_vins_mono(content):
        return read_vins_mono(content)
    if is_camera_info(content):
        return read_camera_info(content, others)
    hint = "; give the folder above cam0 instead" if "T_BS" in content else ""
    raise CalibrationError(f"is neither {STYLES}{hint}")
