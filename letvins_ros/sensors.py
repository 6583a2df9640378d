# SPDX-License-Identifier: Apache-2.0
"""Which sensors are used: mode, cameras and IMU noise that fit a recording, or the configuration of a live system."""

from dataclasses import replace
from itertools import combinations

import numpy as np

from letvins_ros.calibration import PAIR_OVERLAP, TYPICAL_IMU, MountedCamera, Rig, choose_cameras, overlap
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
    return replace(config, mode=mode), replace(rig, cameras=_cameras(rig, mode))


def _cameras(rig: Rig, mode: str) -> tuple[MountedCamera, ...]:
    """The cameras that the mode uses; CalibrationError where there are too few."""
    if mode == "mono_imu":
        return rig.cameras[:1]
    if len(rig.cameras) < 2:
        raise CalibrationError(f"mode {mode} needs 2 cameras, the calibration has one")
    if mode == "stereo" and all(len(group) == 1 for group in rig.groups):
        most = max(overlap(a, b) for a, b in combinations(rig.cameras, 2))
        text = f"two cameras with {PAIR_OVERLAP:.0%} of their views in common, no two of the calibration have over"
        raise CalibrationError(f"mode stereo needs {text} {most:.0%}")
    return rig.cameras


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
    return replace(config.rig, cameras=_cameras(config.rig, config.mode), imu=config.rig.imu or TYPICAL_IMU)
