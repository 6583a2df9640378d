# SPDX-License-Identifier: Apache-2.0
"""The whole system on a TartanAir trajectory: dataset:=FOLDER."""

from launch import LaunchDescription
from letvins_ros.ros.launching import describe
from letvins_ros.ros.system import shared


def generate_launch_description() -> LaunchDescription:
    return describe(config=str(shared("config/tartanair/stereo_imu.yaml")))
