# SPDX-License-Identifier: Apache-2.0
"""The whole system on EuRoC's topics: a folder (dataset:=), a bag (bag:=), or whatever publishes them."""

from launch import LaunchDescription
from letvins_ros.ros.launching import describe
from letvins_ros.ros.system import shared


def generate_launch_description() -> LaunchDescription:
    return describe(config=str(shared("config/euroc/stereo_imu.yaml")), imu_topic="imu0")
