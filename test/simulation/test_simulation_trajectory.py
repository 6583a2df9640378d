# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from letvins_ros import geometry
from letvins_ros.simulation import SCENARIOS
from letvins_ros.simulation.motion import make_trajectory
from letvins_ros.simulation.trajectory import SplineTrajectory, control_times

H = 1e-4


@pytest.fixture(scope="module")
def lively() -> SplineTrajectory:
    """A motion in all six directions, with tilts up to about 60 degrees."""
    points = np.random.default_rng(3).normal(0, 0.5, (len(control_times(4.0)), 6))
    return SplineTrajectory.from_control(points, 4.0)


def test_velocity_and_acceleration_are_the_derivatives_of_the_position(lively: SplineTrajectory) -> None:
    t = np.linspace(0.1, 3.9, 50)
    before, here, after = (lively.T_world_body(t + h)[:, :3, 3] for h in (-H, 0, H))
    np.testing.assert_allclose(lively.velocity(t), (after - before) / (2 * H), atol=1e-5)
    np.testing.assert_allclose(lively.acceleration(t), (after - 2 * here + before) / H**2, atol=1e-4)


def test_angular_velocity_is_the_derivative_of_the_rotation_in_body_axes(lively: SplineTrajectory) -> None:
    t = np.linspace(0.1, 3.9, 50)
    before, after = (lively.T_world_body(t + h)[:, :3, :3] for h in (-H, H))
    turned = geometry.log_so3(np.swapaxes(before, 1, 2) @ after) / (2 * H)
    np.testing.assert_allclose(lively.angular_velocity(t), turned, atol=1e-5)


def test_acceleration_has_no_jumps(lively: SplineTrajectory) -> None:
    t = np.arange(0.0, 4.0, H)
    steps = np.abs(np.diff(lively.acceleration(t), axis=0)).max()
    jerk = np.abs(lively.spline(t, 3)[:, :3]).max()
    assert steps <= jerk * H * 1.01


def test_equal_control_points_are_rest_in_the_camera_looking_ahead() -> None:
    points = np.tile([1.0, 2.0, 3.0, 0.0, 0.0, 0.0], (len(control_times(1.0)), 1))
    rest = SplineTrajectory.from_control(points, 1.0)
    t = np.linspace(0, 1, 11)
    np.testing.assert_allclose(rest.velocity(t), 0, atol=1e-12)
    np.testing.assert_allclose(rest.T_world_body(t)[:, :3, 3], np.tile([1, 2, 3], (11, 1)), atol=1e-12)
    up, right, forward = rest.T_world_body(t)[0, :3, :3].T
    np.testing.assert_allclose([up, right, forward], [[0, 0, 1], [0, -1, 0], [1, 0, 0]], atol=1e-12)


@pytest.mark.parametrize("name", ["hall", "corridor", "aggressive", "dark"])
def test_scenarios_keep_their_limits_and_stay_in_the_room(name: str) -> None:
    motion = SCENARIOS[name].motion
    for seed in range(5):
        rng = np.random.default_rng(seed)
        room = SCENARIOS[name].room(20.0, rng)
        trajectory = make_trajectory(motion, room, 20.0, rng)
        t = np.arange(0, 20, 0.01)
        speed = np.linalg.norm(trajectory.velocity(t), axis=1).max() / motion.max_speed
        turn = np.linalg.norm(trajectory.angular_velocity(t), axis=1).max() / motion.max_turn
        assert 0.6 < max(speed, turn) < 1.03
        position = trajectory.T_world_body(t)[:, :3, 3]
        assert (np.abs(position[:, :2]) < room[:2] / 2 - 0.5).all()
        assert (position[:, 2] > 0.4).all()
        assert (position[:, 2] < room[2] - 0.4).all()


def test_some_seeds_start_at_rest_for_half_a_second_and_some_in_motion() -> None:
    scenario, speeds = SCENARIOS["hall"], []
    for seed in range(12):
        trajectory = make_trajectory(scenario.motion, np.array(scenario.room_m), 5.0, np.random.default_rng(seed))
        speeds.append(np.linalg.norm(trajectory.velocity(np.array([0.0, 0.15, 0.3])), axis=1).max())
    resting = np.array(speeds) < 1e-9
    assert 2 <= resting.sum() <= 10
    assert np.array(speeds)[~resting].min() > 0.1


def test_a_longer_recording_moves_as_a_shorter_one_does_and_the_shortest_may_rest() -> None:
    scenario = SCENARIOS["hall"]
    short, long, rest = (
        make_trajectory(scenario.motion, np.array(scenario.room_m), duration_s, np.random.default_rng(1))
        for duration_s in (3.0, 30.0, 0.1)
    )
    t = np.linspace(0, 3, 20)
    np.testing.assert_allclose(short.T_world_body(t), long.T_world_body(t), atol=1e-9)
    assert np.isfinite(rest.T_world_body(np.zeros(1))).all()


def test_a_walk_of_a_minute_comes_by_its_start_twice() -> None:
    scenario = SCENARIOS["corridor"]
    rng = np.random.default_rng(0)
    trajectory = make_trajectory(scenario.motion, scenario.room(60.0, rng), 60.0, rng)
    position = trajectory.T_world_body(np.arange(0, 60, 0.05))[:, :3, 3]
    distance = np.linalg.norm(position - position[0], axis=1)
    near = distance < 1.5
    visits = 1 + int((np.diff(near.astype(int)) == 1).sum())
    assert distance.max() > 8
    assert visits in (2, 3)
