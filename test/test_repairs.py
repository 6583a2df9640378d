# SPDX-License-Identifier: Apache-2.0
"""What is mended of a set-up; test/selftest runs it."""

from dataclasses import replace

import numpy as np

from letvins_ros.config_io import load_config
from letvins_ros.examination import Finding
from letvins_ros.repairs import EARLY_S, Repairs
from letvins_ros.selftest.recording import SMALL_RIG
from letvins_ros.types import ImuSamples

from .some import some


def test_what_begins_late_or_cannot_be_mended_changes_nothing() -> None:
    config, none = load_config(), Repairs()
    rig = SMALL_RIG
    assert none.after([Finding("time_offset", "x", EARLY_S + 1, {"lag_s": 0.1})], config, rig) == none
    assert none.after([Finding("imu_rate", "x", 1.0)], config, rig) == none
    stuck = Finding("gyro_stuck", "x", 1.0)
    assert none.after([stuck], replace(config, mode="stereo"), rig) == none
    assert none.after([stuck], config, replace(rig, cameras=rig.cameras[:1])) == none
    once = none.after([stuck], config, rig)
    assert (once.applied(config, rig)[0].mode, once.after([stuck], config, rig)) == ("stereo", once)


def test_readings_in_the_right_units_stay_as_they_are() -> None:
    samples = ImuSamples(np.arange(2), np.ones((2, 3)), np.ones((2, 3)))
    assert Repairs().of_imu(samples) is samples
    assert Repairs().of_imu(None) is None
    assert some(Repairs(accel_scale=2.0).of_imu(samples)).accel.tolist() == [[2.0] * 3] * 2
