# SPDX-License-Identifier: Apache-2.0
"""A wrong scale of the accelerometer and a wrong mount, which only a second look at the first seconds tells apart."""

import time
from pathlib import Path

import pytest
import yaml
from letvins_ros.msg import FeatureTracks, VioStatus
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Imu

from letvins_ros.config import Config
from letvins_ros.config_io import to_yaml
from letvins_ros.evaluation.evaluate import evaluate
from letvins_ros.evaluation.trajectory import write_tum
from letvins_ros.ros import convert
from letvins_ros.selftest import DISTURBANCES
from letvins_ros.selftest.recording import Recording, flight
from letvins_ros.simulation.sequence import Simulation
from letvins_ros.tracking import FeatureTracker
from letvins_ros.types import Trajectory

from .harness import Ear, Stack

START_S, PATIENCE_S = 90, 240  # a second opinion estimates the first seconds some ten times


@pytest.fixture(scope="module")
def hall() -> Simulation:
    return flight(8.0, 3)


class Driver:
    """Sends readings and tracks of a recording, on and on in time while it is watched."""

    def __init__(self, ear: Ear, recording: Recording) -> None:
        self.node = Node("driver", context=ear.context, use_global_arguments=False)
        qos = QoSProfile(depth=1000, reliability=ReliabilityPolicy.RELIABLE)
        self.imu = self.node.create_publisher(Imu, "imu", qos)
        self.tracks = self.node.create_publisher(FeatureTracks, "letvins/tracks", qos)
        self.ear, self.recording = ear, recording

    def send(self) -> None:
        recording, sent, tracker = self.recording, 0, FeatureTracker(Config().tracker, self.recording.rig)
        for frame in recording.frames():
            tracks = tracker.process(frame, None, False)
            end = recording.imu.needed_for(frame.stamp_ns)
            for i in range(sent, end):
                imu = recording.imu
                self.imu.publish(convert.imu_to_message(int(imu.stamps_ns[i]), imu.gyro[i], imu.accel[i]))
            sent, heard = max(sent, end), len(self.ear.statuses)
            self.tracks.publish(convert.tracks_to_message(tracks, ("cam0", "cam1"), time.time_ns()))
            until = time.monotonic() + 1
            while len(self.ear.statuses) <= heard and time.monotonic() < until:
                time.sleep(0.005)


@pytest.mark.parametrize(
    ("name", "mend", "told"),
    [
        ("imu: accelerometer 5 % too large", True, "accel_scale mended: IMU and images agree with 0.95"),
        ("imu: accelerometer 5 % too large", False, "accel_scale: IMU and images agree with 0.95"),
        ("calibration: baseline 10 % too long", True, "stereo_mount mended: IMU and images agree with the cameras "),
    ],
)
def test_vio_says_what_explains_a_contradiction(
    hall: Simulation, tmp_path: Path, name: str, mend: bool, told: str
) -> None:
    recording = Recording(hall)
    DISTURBANCES[name](recording)
    config = yaml.safe_load(to_yaml(Config(rig=recording.rig)))
    config["/**"]["ros__parameters"]["ros"]["mend"] = mend
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump(config))
    with Stack(tmp_path, config=str(file), loop=False) as stack, Ear(stack.domain, images=False) as ear:
        driver = Driver(ear, recording)
        stack.start("vio")
        heard = (driver.imu, driver.tracks)
        ear.wait(lambda: all(one.get_subscription_count() for one in heard), START_S, "vio")
        driver.send()
        ear.wait(lambda: told in ear.diagnostics.get("vio", {}).get("message", ""), PATIENCE_S, told)
        before_m = error_m(ear, recording.truth, tmp_path)
        ear.statuses.clear()
        driver.send()
        after_m = error_m(ear, recording.truth, tmp_path)
        last = [status for _, status in ear.statuses if status.state == VioStatus.TRACKING][-1]
        stack.stop()
    assert any(warning.startswith(told) for warning in last.warnings)
    others = [one for one in last.warnings if not one.startswith((told, "imu stamp back"))]  # it was sent twice
    assert others == [] if mend else last.doubtful, last.warnings
    if name.startswith("calibration"):  # without the right scale of the accelerations images hold the position as well
        assert after_m < before_m
    log = stack.log("vio")
    assert ("mended: " in log) == mend, log
    assert "Traceback" not in log


def error_m(ear: Ear, truth: Trajectory, folder: Path) -> float:
    """ATE of what has been heard since the last call."""
    write_tum(folder / "truth.tum", truth)
    error = evaluate(ear.write(folder / "heard.tum"), folder / "truth.tum", None)["ate_rmse_m"]
    ear.poses.clear()
    return error
