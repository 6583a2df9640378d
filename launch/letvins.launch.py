# SPDX-License-Identifier: Apache-2.0
"""The whole system on any camera: ros2 launch letvins_ros letvins.launch.py config:=my.yaml."""

from launch import LaunchDescription
from letvins_ros.ros.launching import describe


def generate_launch_description() -> LaunchDescription:
    return describe()
