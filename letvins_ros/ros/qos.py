# SPDX-License-Identifier: Apache-2.0
"""Qualities of service of the topics."""

from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy

IMU_DEPTH = 1000
OUTPUT = QoSProfile(depth=10, history=HistoryPolicy.KEEP_LAST, reliability=ReliabilityPolicy.RELIABLE)
LATCHED = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL)
STATIC = QoSProfile(depth=100, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL)
TF = QoSProfile(depth=200, reliability=ReliabilityPolicy.BEST_EFFORT)


def sensor_qos(depth: int, *, reliable: bool) -> QoSProfile:
    """Of sensors' data; best effort receives from reliable publishers too."""
    return QoSProfile(
        depth=depth, reliability=ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT
    )
