# SPDX-License-Identifier: Apache-2.0
"""The whole system on a TartanAir trajectory: dataset:=FOLDER."""

from pathlib import Path

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource

HERE = Path(__file__).parent
CONFIG = HERE.parent / "config" / "tartanair" / "stereo_imu.yaml"


def generate_launch_description() -> LaunchDescription:
    return LaunchDescription(
        [
            DeclareLaunchArgument(
                "config", default_value=str(CONFIG), description="configuration with the calibration"
            ),
            IncludeLaunchDescription(PythonLaunchDescriptionSource(str(HERE / "letvins.launch.py"))),
        ]
    )
