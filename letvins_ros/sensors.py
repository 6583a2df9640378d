# SPDX-License-Identifier: Apache-2.0
"""Which sensors are used: mode, cameras and IMU noise that fit a recording, or the configuration of a live system."""

from dataclasses import replace

import numpy as np

from letvins_ros.calibration import TYPICAL_IMU, Rig, choose_cameras
from letvins_ros.config import Config
from letvins_ros.datasets import Dataset
from letvins_ros.errors import CalibrationError, DataError


def fit_to_data(config: Config, dataset: Dataset) -> tuple[Config, Rig]:
    """The configuration and rig for what the recording has; what had to be changed is in the recording's report."""
    rig = choose_cameras(config.rig, config.input.camera_numbers) if config.rig else dataset.rig
    if rig is None:
        why = "".join(f" ({note})" for note in dataset.report.notes if note.startswith("calibration: "))
        raise CalibrationError(f"{dataset.name}: the recording has no calibration{why}; name a file that has with -c")
    mode, lack, alone = config.mode, _lack_of_imu(dataset), len(rig.cameras) < 2
    if lack and alone:
        raise DataError(f"{dataset.name}: imu: {lack}; two cameras, or one and an IMU, are needed")
    if lack and mode != "stereo":
        dataset.report.add(f"imu: {lack}, mode stereo used", dataset.name)
        mode = "stereo"
    elif alone and mode != "mono_imu":
        dataset.report.add("cam1: none in the recording, mode mono_imu used", dataset.name)
        mode = "mono_imu"
    if mode != "stereo" and rig.imu is None:
        dataset.report.add("imu: no noise in the calibration, typical values used", str(TYPICAL_IMU))
        rig = replace(rig, imu=TYPICAL_IMU)
    return replace(config, mode=mode), replace(rig, cameras=rig.cameras[: 1 if mode == "mono_imu" else 2])


def _lack_of_imu(dataset: Dataset) -> str:
    """Why the recording's IMU is of no use; empty where it is."""
    if dataset.imu is None:
        return "none in the recording"
    first, last = np.searchsorted(dataset.imu.stamps_ns, dataset.stamps_ns[[0, -1]])
    return "" if first < last else "no reading while the frames were taken"


def calibrated_rig(config: Config) -> Rig:
    """The rig with the cameras and the IMU that the mode uses; CalibrationError where one is missing."""
    if config.rig is None:
        raise CalibrationError("no calibration among the parameters: start with a configuration that has camera0")
    count = 1 if config.mode == "mono_imu" else 2
    if len(config.rig.cameras) < count:
        raise CalibrationError(f"mode {config.mode} needs {count} cameras, the calibration has one")
    return replace(config.rig, cameras=config.rig.cameras[:count], imu=config.rig.imu or TYPICAL_IMU)
