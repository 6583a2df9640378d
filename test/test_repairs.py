# SPDX-License-Identifier: Apache-2.0
"""Set-ups that are wrong in a way that a run can mend."""

import json
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from test_pipeline import SMALL_RIG

from letvins_ros import pipeline
from letvins_ros.config_io import load_config
from letvins_ros.datasets import ReadReport
from letvins_ros.examination import Finding
from letvins_ros.geometry import exp_so3
from letvins_ros.pipeline import RunOptions, run_offline
from letvins_ros.repairs import EARLY_S, Repairs
from letvins_ros.simulation import Equipment, Simulation
from letvins_ros.types import ImuSamples

QUARTER_TURN = exp_so3(np.array([0, 0, np.pi / 2]))
OFF_S = 0.04


class Recording:
    """A simulated flight of which one thing is changed."""

    def __init__(self, flight):
        self.name, self.rig, self.stamps_ns = flight.name, flight.rig, flight.stamps_ns
        self.imu, self.truth, self.report = flight.imu, flight.truth, ReadReport()
        self._frames, self.change = flight.frames, lambda frame: frame

    def frames(self, start_s=0.0, duration_s=None):
        self.report.add("frame looked at", "")
        for frame in self._frames(start_s, duration_s):
            yield self.change(frame)

    def __len__(self):
        return len(self.stamps_ns)


def exchanged(recording):
    recording.change = lambda frame: replace(frame, images=frame.images[::-1])


def late(recording):
    recording.change = lambda frame: replace(frame, stamp_ns=frame.stamp_ns + round(OFF_S * 1e9))


def readings(gyro=1.0, accel=1.0, R=None):
    R = np.eye(3) if R is None else R

    def change(recording):
        imu = recording.imu
        recording.imu = replace(imu, gyro=imu.gyro @ R.T * gyro, accel=imu.accel @ R.T * accel)

    return change


def turned_left(recording):
    left, right = recording.rig.cameras
    T = left.T_body_cam.copy()
    T[:3, :3] = T[:3, :3] @ exp_so3(np.radians([0, 1.5, 0]))
    recording.rig = replace(recording.rig, cameras=(replace(left, T_body_cam=T), right))


@pytest.fixture(scope="module")
def flight():
    simulation = Simulation("hall", 8.0, 3, Equipment(SMALL_RIG))
    simulation.image = cache(simulation.image)
    return simulation


def run(recording, folder, monkeypatch):
    monkeypatch.setattr(pipeline, "open_dataset", lambda source, rig, inputs: recording)
    return run_offline(folder, folder / "out", load_config(), RunOptions(loop=False), lambda done, total: None)


@pytest.fixture(scope="module")
def clean_m(flight, tmp_path_factory):
    """The error of the flight as it is, m."""
    with pytest.MonkeyPatch.context() as patch:
        metrics = run(Recording(flight), tmp_path_factory.mktemp("clean"), patch)
    assert metrics["warnings"] == []
    return metrics["ate_rmse_m"]


@pytest.mark.parametrize(
    ("spoil", "code"),
    [
        (exchanged, "cameras_exchanged"),
        (late, "time_offset"),
        (readings(accel=1 / 9.80665), "accel_in_g"),
        (readings(gyro=180 / np.pi), "gyro_in_degrees"),
        (readings(R=QUARTER_TURN), "imu_axes"),
        (readings(gyro=0.0), "gyro_stuck"),
        (turned_left, "stereo_mount"),
    ],
    ids=["exchanged", "late", "g", "degrees", "axes", "stuck", "mount"],
)
def test_a_wrong_set_up_is_named_and_mended(flight, clean_m, tmp_path, monkeypatch, spoil, code):
    recording = Recording(flight)
    spoil(recording)
    metrics = run(recording, tmp_path, monkeypatch)
    assert code in {warning["code"] for warning in metrics["warnings"]}
    (told,) = (w["message"] for w in metrics["warnings"] if w["code"] == code)
    assert told.endswith(("mended in this run", "refined in this run", "the run goes on in mode stereo"))
    assert metrics["ate_rmse_m"] < 2 * clean_m
    assert metrics["frames"] == len(recording)
    assert recording.report.counts["frame looked at"] == 1  # what the abandoned pass skipped is not counted twice
    assert json.loads((tmp_path / "out/metrics.json").read_text())["warnings"]


def test_what_begins_late_or_cannot_be_mended_changes_nothing():
    config, none = load_config(), Repairs()
    rig = SMALL_RIG
    assert none.after([Finding("time_offset", "x", EARLY_S + 1, {"lag_s": 0.1})], config, rig) == none
    assert none.after([Finding("imu_rate", "x", 1.0)], config, rig) == none
    stuck = Finding("gyro_stuck", "x", 1.0)
    assert none.after([stuck], replace(config, mode="stereo"), rig) == none
    assert none.after([stuck], config, replace(rig, cameras=rig.cameras[:1])) == none
    once = none.after([stuck], config, rig)
    assert (once.applied(config, rig)[0].mode, once.after([stuck], config, rig)) == ("stereo", once)


def test_readings_in_the_right_units_stay_as_they_are():
    samples = ImuSamples(np.arange(2), np.ones((2, 3)), np.ones((2, 3)))
    assert Repairs().of_imu(samples) is samples
    assert Repairs().of_imu(None) is None
    assert Repairs(accel_scale=2.0).of_imu(samples).accel.tolist() == [[2.0] * 3] * 2
