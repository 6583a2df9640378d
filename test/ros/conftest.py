# SPDX-License-Identifier: Apache-2.0
from importlib.util import find_spec
from pathlib import Path

_HERE = Path(__file__).parent
_NEED_ROS = ("test_convert.py", "test_params.py", "test_live.py", "test_wrong_inputs.py")
collect_ignore = [] if find_spec("rclpy") else list(_NEED_ROS)


def pytest_report_header() -> str:
    return f"rclpy is not installed, left out: test/ros/{', test/ros/'.join(_NEED_ROS)}" if collect_ignore else ""
