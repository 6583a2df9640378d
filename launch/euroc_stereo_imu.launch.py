# SPDX-License-Identifier: Apache-2.0
"""The whole system on EuRoC's topics: a folder (dataset:=), a bag (bag:=), or whatever publishes them."""

from pathlib import Path

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource

HERE = Path(__file__).parent
CONFIG = HERE.parent / "config" / "euroc" / "stereo_imu.yaml"


def generate_launch_description() -> LaunchDescription:
    return LaunchDescription(
        [
            DeclareLaunchArgument(
                "config", default_value=str(CONFIG), description="configuration with the calibration"
            ),
            DeclareLaunchArgument("imu_topic", default_value="imu0", description="topic of the IMU"),
            IncludeLaunchDescription(PythonLaunchDescriptionSource(str(HERE / "letvins.launch.py"))),
        ]
    )
