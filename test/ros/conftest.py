# SPDX-License-Identifier: Apache-2.0
from importlib.util import find_spec
from pathlib import Path

import pytest

from letvins_ros.simulation import simulate

from ..conftest import Once

_HERE = Path(__file__).parent
_NEED_ROS = (
    "test_convert.py",
    "test_gnss_input.py",
    "test_params.py",
    "test_lifecycle.py",
    "test_live.py",
    "test_live_calibration.py",
    "test_maps.py",
    "test_opinion.py",
    "test_paths.py",
    "test_record.py",
    "test_robot.py",
    "test_robot_frames.py",
)
collect_ignore = [] if find_spec("rclpy") else list(_NEED_ROS)


def pytest_report_header() -> str:
    return f"rclpy is not installed, left out: test/ros/{', test/ros/'.join(_NEED_ROS)}" if collect_ignore else ""


@pytest.fixture(scope="session")
def recording(once: Once) -> Path:
    """Six seconds of a simulated flight as an EuRoC folder."""
    return once("six_seconds", lambda folder: simulate(folder, "hall", 6.0, 0))
