# SPDX-License-Identifier: Apache-2.0
"""OpenVINS: an estimator_config.yaml that names a camera chain and an IMU file, both in Kalibr's form."""

from pathlib import Path

from letvins_ros.calibration_files.kalibr import read_kalibr
from letvins_ros.calibration_files.values import Plain, named, value
from letvins_ros.yaml_files import load_yaml


def recognises(content: Plain) -> bool:
    """Whether this is an estimator's configuration."""
    return "relative_config_imucam" in content


def read(content: Plain, folder: Path) -> Plain:
    """Read the files that it names; what it calibrates online is a guess."""
    chain, imu = (folder / str(value(content, key)) for key in ("relative_config_imucam", "relative_config_imu"))
    loaded = load_yaml(chain, lenient=True)
    with named(chain):
        out = read_kalibr(loaded, imu)
    wanted = {"estimate_extrinsics": "calib_cam_extrinsics", "estimate_time_offset": "calib_cam_timeoffset"}
    return out | {ours: content.get(theirs) is True for ours, theirs in wanted.items()}
