# SPDX-License-Identifier: Apache-2.0
"""Stereo-inertial odometry and SLAM with learned features, in Python."""

from pkgutil import extend_path

__path__ = extend_path(__path__, __name__)  # a sourced ROS workspace adds letvins_ros.msg
__version__ = "0.1.0"
