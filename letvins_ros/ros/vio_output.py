# SPDX-License-Identifier: Apache-2.0
"""What the vio node publishes of the estimator's states and keyframes."""

import time
from collections.abc import Sequence

import numpy as np
from geometry_msgs.msg import PoseWithCovarianceStamped
from nav_msgs.msg import Odometry, Path
from sensor_msgs.msg import PointCloud2

from letvins_ros.calibration import ImuNoise
from letvins_ros.geometry import apply
from letvins_ros.msg import Keyframe, VioStatus
from letvins_ros.ros import convert
from letvins_ros.ros.doubt import Doubt
from letvins_ros.ros.mount import Mount
from letvins_ros.ros.node import LetvinsNode
from letvins_ros.ros.paths import PathOutput
from letvins_ros.types import Keyframe as CoreKeyframe
from letvins_ros.types import VioState
from letvins_ros.types import VioStatus as Status


class VioOutput:
    """Odometry, path, transform, points, keyframes and status of one node."""

    def __init__(self, node: LetvinsNode, noise: ImuNoise, session_ns: int) -> None:
        self._node, self._noise, self._session_ns = node, noise, session_ns
        self._send_transform = node.broadcaster()
        self._odometry = node.advertise(Odometry, "letvins/odometry")
        self._poses = node.advertise(PoseWithCovarianceStamped, "letvins/pose")
        self._imu_odometry = node.advertise(Odometry, "letvins/imu_odometry")
        self._path = PathOutput(node.config.ros, node.advertise(Path, "letvins/path"))
        self._points = node.advertise(PointCloud2, "letvins/points")
        self._keyframes = node.advertise(Keyframe, "letvins/keyframe")
        self._statuses = node.advertise(VioStatus, "letvins/status")
        self._doubt = Doubt()
        self._sent_ns = 0  # the newest stamp at the IMU's rate

    def wants_imu_rate(self) -> bool:
        """Whether anybody listens to the odometry at the IMU's rate."""
        return bool(self._imu_odometry.get_subscription_count())

    def doubt(self, state: VioState, gyro: np.ndarray | None, doubtful: bool) -> None:
        """Take whether a frame's motion may be wrong, before it is published."""
        self._doubt.look(state, float(np.linalg.norm(_rate(state, gyro))), doubtful)

    def pose(self, state: VioState, gyro: np.ndarray | None, mount: Mount) -> None:
        """A frame's pose as odometry, in the path and as a transform; gyro: its mean reading (3,) rad/s then."""
        ros, T_odom_base = self._node.config.ros, mount.pose(state.T_odom_body)
        odometry = self._message(state, gyro, mount)
        self._odometry.publish(odometry)
        if self._poses.get_subscription_count():
            self._poses.publish(PoseWithCovarianceStamped(header=odometry.header, pose=odometry.pose))
        self._node.stats.count("odometry")
        self._path.add(state.stamp_ns, ros.odom_frame, T_odom_base)
        if ros.publish_odom_tf:
            T = convert.transform_to_message(T_odom_base, state.stamp_ns, ros.odom_frame, ros.base_frame)
            self._send_transform(T)

    def between(self, state: VioState | None, gyro: np.ndarray | None, mount: Mount) -> None:
        """A pose at a reading's time, if it is newer than the last one."""
        if state is not None and state.stamp_ns > self._sent_ns:
            self._imu_odometry.publish(self._message(state, gyro, mount))
            self._sent_ns = state.stamp_ns

    def keyframe(self, keyframe: CoreKeyframe) -> None:
        """A keyframe, and its points in odom while somebody listens."""
        ros = self._node.config.ros
        self._keyframes.publish(convert.keyframe_to_message(keyframe, ros.odom_frame, self._session_ns))
        if ros.publish_points and self._points.get_subscription_count():
            known = keyframe.points_body[np.isfinite(keyframe.points_body[:, 0])]
            head = convert.header(keyframe.stamp_ns, ros.odom_frame)
            self._points.publish(convert.cloud_to_message(apply(keyframe.T_odom_body, known), head))

    def status(self, state: VioState, features: int, received_ns: int, warnings: Sequence[str]) -> None:
        """Where the estimator stands; received_ns: system time of the left image at the tracker."""
        late_s = (time.time_ns() - received_ns) * 1e-9
        self._node.stats.latency(late_s)
        status = convert.status_to_message(state, self._node.config.ros.odom_frame, self._session_ns)
        needed, status.doubtful = self._node.config.estimator.min_tracks, self._doubt.present
        status.quality = convert.quality_of(state.status, features, needed, status.doubtful)
        status.features, status.imu_received = features, self._node.stats.total("imu")
        status.latency_s, status.warnings = late_s, list(warnings)
        self._statuses.publish(status)

    def silence(self, last: VioState | None, reason: str, warnings: Sequence[str]) -> None:
        """The status while no frames come, and why; a pose that there was counts as degraded."""
        ros, stamp_ns = self._node.config.ros, self._node.get_clock().now().nanoseconds
        status = VioStatus(header=convert.header(stamp_ns, ros.odom_frame), reason=reason, warnings=list(warnings))
        status.session, status.imu_received = convert.ns_to_stamp(self._session_ns), self._node.stats.total("imu")
        if last is not None:
            status.resets = last.resets
            known = last.status is not Status.INITIALISING
            status.state = VioStatus.DEGRADED if known else VioStatus.INITIALISING
            status.doubtful = known
        self._statuses.publish(status)

    def _message(self, state: VioState, gyro: np.ndarray | None, mount: Mount) -> Odometry:
        ros, rate, state = self._node.config.ros, _rate(state, gyro), self._doubt.widened(state)
        std = self._noise.gyro_noise * np.sqrt(self._noise.rate_hz)
        return convert.odometry_to_message(state, rate, std, (ros.odom_frame, ros.base_frame), mount)


def _rate(state: VioState, gyro: np.ndarray | None) -> np.ndarray:
    return np.zeros(3) if gyro is None else gyro - state.gyro_bias
