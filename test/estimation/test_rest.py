# SPDX-License-Identifier: Apache-2.0
import gtsam
import numpy as np
import pytest
from synthetic import ROOM, Quality, Recording, config_of, estimate, follow, posed, run, wall_points

from letvins_ros.estimation.costs.rest import RESOLVED_RAD, REST_POSE_STD, REST_VELOCITY_STD, no_velocity, same_pose
from letvins_ros.estimation.frame import Frame
from letvins_ros.estimation.state import State
from letvins_ros.simulation.imu import seconds, simulate_imu, stamps
from letvins_ros.simulation.rigs import EUROC_IMU
from letvins_ros.simulation.trajectory import SplineTrajectory, control_times


def frame(index):
    none = np.zeros(0, np.int64), np.zeros((1, 0, 3)), np.zeros((1, 0, 2, 3)), np.zeros((1, 0), bool)
    return Frame(index, index, State(np.eye(3), np.zeros(3)), *none)


def sigmas(factor):
    return factor.noiseModel().sigmas()


@pytest.mark.parametrize(("depth_m", "rest_s"), [(1.0, 10.0), (20.0, 0.5), (20.0, 100.0)])
def test_a_rest_is_never_surer_than_the_images_are(depth_m, rest_s):
    resolved = RESOLVED_RAD * depth_m
    velocity, pose = sigmas(no_velocity(frame(0), depth_m, rest_s)), sigmas(same_pose(frame(0), frame(1), depth_m))
    np.testing.assert_allclose(velocity, max(REST_VELOCITY_STD, 2 * resolved / rest_s))
    np.testing.assert_allclose(pose[:3], REST_POSE_STD)
    np.testing.assert_allclose(pose[3:], max(REST_POSE_STD, resolved))
    assert isinstance(no_velocity(frame(0), depth_m, rest_s), gtsam.NonlinearFactor)


def creep(seed, speed, room_scale):
    """Two seconds of rest, then ten of straight motion at a constant speed, with walls this far away."""
    rng, t = np.random.default_rng([seed, 1]), control_times(12.5)
    control = np.zeros((len(t), 6))
    control[:, 0], control[:, 2] = speed * np.maximum(t - 2.0, 0), room_scale * ROOM[2] / 2
    spline = SplineTrajectory.from_control(control, 12.5)
    at = stamps(12.0, 20.0)
    tracks = follow(wall_points(rng, 3000) * room_scale, spline.T_world_body(seconds(at)), at, Quality(), rng)
    return Recording(spline, tracks, simulate_imu(spline, EUROC_IMU, rng).samples)


@pytest.mark.parametrize(("speed", "room_scale"), [(0.03, 1.0), (0.15, 4.0), (0.0, 1.0)])
def test_slow_motion_is_not_called_standing(speed, room_scale):
    states = posed(run(creep(0, speed, room_scale), config_of("stereo_imu")))
    p = estimate(states).positions
    moved = np.linalg.norm(p[-1] - p[0])
    assert moved == pytest.approx(10 * speed, rel=0.1, abs=0.005)
