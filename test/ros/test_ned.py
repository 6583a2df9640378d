# SPDX-License-Identifier: Apache-2.0
"""Odometry as PX4 has it, checked by what it must mean."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from letvins_ros.geometry import exp_so3, from_quaternion, quaternion_xyzw
from letvins_ros.ros.ned import vehicle_odometry

rng = np.random.default_rng(3)


def xyz(v: Any) -> SimpleNamespace:
    return SimpleNamespace(x=float(v[0]), y=float(v[1]), z=float(v[2]))


def odometry(
    R: np.ndarray,
    p: tuple[float, float, float] = (1.0, 2.0, 3.0),
    v: tuple[float, float, float] = (0.5, 0.2, 0.1),
    w: tuple[float, float, float] = (0.1, 0.2, 0.3),
    P: np.ndarray | None = None,
    V: np.ndarray | None = None,
) -> SimpleNamespace:
    q = quaternion_xyzw(R)
    P, V = (np.eye(6) if m is None else m for m in (P, V))
    return SimpleNamespace(
        header=SimpleNamespace(stamp=SimpleNamespace(sec=12, nanosec=345_678_901)),
        pose=SimpleNamespace(
            pose=SimpleNamespace(position=xyz(p), orientation=SimpleNamespace(**vars(xyz(q)), w=float(q[3]))),
            covariance=P.ravel(),
        ),
        twist=SimpleNamespace(twist=SimpleNamespace(linear=xyz(v), angular=xyz(w)), covariance=V.ravel()),
    )


def rotation(fields: dict[str, Any]) -> np.ndarray:
    w, x, y, z = fields["q"].astype(float)
    return from_quaternion(np.zeros(3), np.array([x, y, z, w]))[:3, :3]


def test_level_flight_ahead_stays_level_flight_ahead() -> None:
    fields = vehicle_odometry(odometry(np.eye(3)), 80, 0)
    np.testing.assert_allclose(fields["q"], [1, 0, 0, 0], atol=1e-7)
    np.testing.assert_allclose(fields["position"], [1, -2, -3])  # forward, right, down
    np.testing.assert_allclose(fields["velocity"], [0.5, -0.2, -0.1])
    np.testing.assert_allclose(fields["angular_velocity"], [0.1, -0.2, -0.3], rtol=1e-6)
    assert (fields["pose_frame"], fields["velocity_frame"]) == (2, 3)
    assert fields["timestamp"] == fields["timestamp_sample"] == 12_345_678


@pytest.mark.parametrize(("axis", "sign"), [(0, 1), (1, -1), (2, -1)], ids=["roll", "pitch", "yaw"])
def test_a_turn_to_the_left_is_negative_and_one_to_the_right_side_down_positive(axis: int, sign: int) -> None:
    turn = np.eye(3)[axis] * 0.3
    np.testing.assert_allclose(
        rotation(vehicle_odometry(odometry(exp_so3(turn)), 80, 0)), exp_so3(sign * turn), atol=1e-6
    )


def test_a_point_seen_from_the_body_is_the_same_point_in_both_worlds() -> None:
    R, flip = exp_so3(rng.standard_normal(3)), np.array([1, -1, -1])
    fields = vehicle_odometry(odometry(R), 80, 0)
    point = rng.standard_normal(3)
    in_odom = R @ point + (1, 2, 3)
    np.testing.assert_allclose(rotation(fields) @ (flip * point) + fields["position"], flip * in_odom, atol=1e-6)


def test_variances_are_of_the_axes_that_px4_means() -> None:
    R = exp_so3(np.array([0.0, 0.0, np.pi / 2]))
    P = np.diag([1.0, 2, 3, 4, 5, 6])  # the rotation's about the axes of odom
    V = np.diag([7.0, 8, 9, 1, 1, 1])
    fields = vehicle_odometry(odometry(R, P=P, V=V), 80, 0)
    np.testing.assert_allclose(fields["position_variance"], [1, 2, 3])
    np.testing.assert_allclose(fields["orientation_variance"], [5, 4, 6], atol=1e-5)  # the body's x is odom's y
    np.testing.assert_allclose(fields["velocity_variance"], [7, 8, 9])


def test_the_reset_counter_is_a_byte() -> None:
    assert vehicle_odometry(odometry(np.eye(3)), 80, 259)["reset_counter"] == 3
    assert vehicle_odometry(odometry(np.eye(3)), 80, 0)["quality"] == 80
