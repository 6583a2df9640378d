# SPDX-License-Identifier: Apache-2.0
"""Node: odometry as an autopilot wants it, PX4 over its DDS bridge or ArduPilot and PX4 over MAVROS."""

from typing import Any

from geometry_msgs.msg import PoseWithCovarianceStamped
from nav_msgs.msg import Odometry

from letvins_ros.errors import ConfigError
from letvins_ros.msg import VioStatus
from letvins_ros.ros import convert
from letvins_ros.ros.ned import vehicle_odometry
from letvins_ros.ros.node import LetvinsNode
from letvins_ros.ros.qos import sensor_qos
from letvins_ros.ros.run import run_node

PX4_TOPIC = "/fmu/in/vehicle_visual_odometry"
MAVROS_ODOMETRY, MAVROS_POSE = "/mavros/odometry/out", "/mavros/vision_pose/pose_cov"
EARLY = 0.9  # of a period may pass, so that jitter drops no frame


class AutopilotNode(LetvinsNode):
    """Passes on what vio publishes, at a lower rate if so configured."""

    needs_rig = False

    def __init__(self, **options: Any) -> None:
        super().__init__("autopilot", **options)

    def configure(self) -> None:
        self._status: VioStatus | None = None
        self._jumps, self._session = 0, (0, 0)  # odom frames so far; that of the last status
        self._sent_ns = 0
        if self.config.autopilot.kind == "px4":
            messages = convert.installed("px4_msgs.msg")
            if messages is None:
                raise ConfigError("autopilot.kind px4 needs px4_msgs: build it in the workspace")
            self._kind = messages.VehicleOdometry
            self._px4 = self.advertise(self._kind, PX4_TOPIC, sensor_qos(10, reliable=False))  # as its bridge wants it
        else:
            self._odometry = self.advertise(Odometry, MAVROS_ODOMETRY)
            self._pose = self.advertise(PoseWithCovarianceStamped, MAVROS_POSE)

    def activate(self) -> None:
        self.subscribe(VioStatus, "letvins/status", self._on_status)
        self.subscribe(Odometry, "letvins/odometry", self._on_odometry)

    def step(self) -> bool:
        return False

    def _on_status(self, message: VioStatus) -> None:
        session = (convert.stamp_to_ns(message.session), message.resets)
        if self._status is not None and session != self._session:
            self._jumps += 1
        self._status, self._session = message, session

    def _on_odometry(self, message: Odometry) -> None:
        stamp_ns = convert.stamp_to_ns(message.header.stamp)
        if 0 <= (stamp_ns - self._sent_ns) * 1e-9 < EARLY / self.config.autopilot.rate_hz:
            return
        self._sent_ns = stamp_ns
        self.stats.count("odometry")
        if self.config.autopilot.kind == "px4":
            quality = 0 if self._status is None else self._status.quality
            self._px4.publish(self._kind(**vehicle_odometry(message, quality, self._jumps)))
        else:
            self._odometry.publish(message)
            self._pose.publish(PoseWithCovarianceStamped(header=message.header, pose=message.pose))


def main() -> None:
    """Run the node."""
    run_node(AutopilotNode)
