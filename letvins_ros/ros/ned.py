# SPDX-License-Identifier: Apache-2.0
"""Odometry as PX4 has it: axes forward, right, down instead of forward, left, up; needs no ROS.

px4_msgs/VehicleOdometry: quaternions w x y z, angles roll, pitch, yaw; a frame of arbitrary heading is `FRD`, not NED.
"""

from typing import Any

import numpy as np

from letvins_ros.geometry import from_quaternion, quaternion_xyzw

FLIP = np.array([1.0, -1.0, -1.0])  # half a turn about x: z up to z down, and y left to y right
POSE_FRAME_FRD, VELOCITY_FRAME_BODY_FRD = 2, 3  # as numbered in VehicleOdometry


def vehicle_odometry(odometry: Any, quality: int, resets: int) -> dict[str, Any]:
    """Fields of VehicleOdometry from a nav_msgs/Odometry of axes forward, left, up, whose odom frame has z up.

    quality: 0 to 100. resets: counted without end, here modulo 256. Times are the message's, in microseconds.
    """
    p, q = odometry.pose.pose.position, odometry.pose.pose.orientation
    v, w = odometry.twist.twist.linear, odometry.twist.twist.angular
    R = from_quaternion(np.zeros(3), np.array([q.x, q.y, q.z, q.w]))[:3, :3]
    x, y, z, s = quaternion_xyzw(FLIP[:, None] * R * FLIP)
    pose_covariance = np.asarray(odometry.pose.covariance, float).reshape(6, 6)
    about_body = R.T @ pose_covariance[3:, 3:] @ R  # ROS has it about the axes of odom
    twist_covariance = np.asarray(odometry.twist.covariance, float).reshape(6, 6)
    stamp_us = odometry.header.stamp.sec * 1_000_000 + odometry.header.stamp.nanosec // 1000
    return {
        "timestamp": stamp_us,
        "timestamp_sample": stamp_us,
        "pose_frame": POSE_FRAME_FRD,
        "position": _floats(FLIP * (p.x, p.y, p.z)),
        "q": _floats(np.array([s, x, y, z])),
        "velocity_frame": VELOCITY_FRAME_BODY_FRD,
        "velocity": _floats(FLIP * (v.x, v.y, v.z)),
        "angular_velocity": _floats(FLIP * (w.x, w.y, w.z)),
        "position_variance": _floats(np.diag(pose_covariance)[:3]),  # signs do not change a variance
        "orientation_variance": _floats(np.diag(about_body)),
        "velocity_variance": _floats(np.diag(twist_covariance)[:3]),
        "reset_counter": resets % 256,
        "quality": quality,
    }


def _floats(values: np.ndarray) -> np.ndarray:
    return values.astype(np.float32)
