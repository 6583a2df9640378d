# SPDX-License-Identifier: Apache-2.0
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from letvins_ros.errors import Rejected
from letvins_ros.estimation.closed_form import heading, initialise_at_rest, initialise_moving
from letvins_ros.estimation.frame import frame_of
from letvins_ros.estimation.landmarks import CameraMounts, sightings
from letvins_ros.estimation.state import State
from letvins_ros.geometry import exp_so3, yaw_rotation
from letvins_ros.imu import GRAVITY, ImuBuffer, ImuSteps
from letvins_ros.simulation.imu import exact_imu, seconds, stamps
from letvins_ros.simulation.rigs import EUROC_IMU, EUROC_RIG
from letvins_ros.simulation.trajectory import SplineTrajectory, control_times
from letvins_ros.types import FrameTracks, ImuSamples

from ..some import some
from .synthetic import FRAME_HZ, Quality, Recording, follow, record, wall_points

EXACT = Quality(pixel_std=0.0, features=60, exact_imu=True)
UP = np.array([0.0, 0.0, 1.0])
BIAS = np.array([0.03, -0.05, 0.02])  # rad/s
MOVING = 40  # a frame at which every seed is well under way


def start(
    recording: Recording, span_s: float, cameras: int, gyro_bias: np.ndarray = BIAS, first: int = MOVING
) -> tuple[Any, tuple[np.ndarray, np.ndarray]]:
    """Initialise on a stretch; the truth at its frames comes along."""
    rig, buffer, frames = EUROC_RIG.cameras[:cameras], ImuBuffer(), []
    imu = recording.imu
    buffer.append(ImuSamples(imu.stamps_ns, imu.gyro + gyro_bias, imu.accel))
    tracks = recording.tracks[first : first + round(span_s * FRAME_HZ) + 1]
    for i, one in enumerate(tracks):
        frame = frame_of(i, one, rig, State(np.eye(3), np.zeros(3)))
        if i:
            frame.steps = buffer.steps(tracks[i - 1].stamp_ns, one.stamp_ns)
        frames.append(frame)
    ids, counts = np.unique(np.concatenate([f.ids for f in frames]), return_counts=True)
    seen = sightings(ids[counts >= 3], frames)
    mounts = CameraMounts([camera.T_body_cam for camera in rig])
    return initialise_moving(frames, seen, mounts, EUROC_IMU), truth_at(recording, tracks)


def truth_at(recording: Recording, tracks: Sequence[FrameTracks]) -> tuple[np.ndarray, np.ndarray]:
    t = seconds(np.array([one.stamp_ns for one in tracks]))
    return recording.trajectory.T_world_body(t), recording.trajectory.velocity(t)


def assert_start_is_true(
    states: list[State] | None,
    truth: tuple[np.ndarray, np.ndarray],
    velocity: float = 0.01,
    tilt_deg: float = 0.5,
    gyro: float = 2e-3,
) -> None:
    T, v = truth
    for state, T_world_body, v_world in zip(some(states), T, v, strict=True):
        R_world_body = T_world_body[:3, :3]
        up, true_up = state.R.T @ UP, R_world_body.T @ UP
        assert np.degrees(np.arccos(min(1.0, up @ true_up))) < tilt_deg
        assert np.linalg.norm(state.R.T @ state.v - R_world_body.T @ v_world) < velocity
        np.testing.assert_allclose(state.gyro_bias, BIAS, atol=gyro)
    moved, truly = some(states)[-1].p - some(states)[0].p, T[-1, :3, 3] - T[0, :3, 3]
    assert np.linalg.norm(moved) == pytest.approx(np.linalg.norm(truly), abs=2 * velocity)


@pytest.mark.parametrize("scenario", ["hall", "aggressive"])
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("cameras", "span_s"), [(2, 0.4), (1, 2.0)])
def test_exact_bearings_and_readings_give_velocity_gravity_and_gyro_bias(
    cameras: int, span_s: float, seed: int, scenario: str
) -> None:
    states, truth = start(record(scenario, 7.0, seed, EXACT), span_s, cameras)
    assert not isinstance(states, Rejected), states.reason
    assert_start_is_true(states, truth)


@pytest.mark.parametrize("seed", range(3))
def test_two_cameras_with_noise_give_a_start_that_the_window_can_mend(seed: int) -> None:
    states, truth = start(record("hall", 7.0, seed, replace(EXACT, pixel_std=0.5)), 0.4, 2)
    assert not isinstance(states, Rejected), states.reason
    assert_start_is_true(states, truth, velocity=0.1, tilt_deg=3.0, gyro=0.02)


def test_odom_starts_at_the_first_frame_with_no_heading() -> None:
    states, _ = start(record("hall", 7.0, 0, EXACT), 0.4, 2)
    np.testing.assert_array_equal(states[0].p, 0)
    assert heading(states[0].R) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("speed", [0.3, 1.0])
def test_one_camera_at_constant_velocity_is_refused_with_how_well_it_is_known(speed: float) -> None:
    t = control_times(7.0)
    zero = np.zeros(len(t))
    ahead = np.column_stack([speed * (t - 4), zero, zero + 2, zero, zero, zero])
    spline, rng = SplineTrajectory.from_control(ahead, 7.0), np.random.default_rng(0)
    frames = stamps(6.5, FRAME_HZ)
    tracks = follow(wall_points(rng, 3000), spline.T_world_body(seconds(frames)), frames, EXACT, rng)
    refused, _ = start(Recording(spline, tracks, exact_imu(spline, stamps(6.6, 200.0))), 2.0, 1)
    assert isinstance(refused, Rejected)
    assert "velocity known to" in refused.reason
    assert "more motion or time" in refused.reason


def test_rays_that_do_not_meet_are_refused_with_how_far_they_miss() -> None:
    recording = record("hall", 7.0, 0, EXACT)
    rng = np.random.default_rng(0)
    shuffled = [replace(one, ids=rng.permutation(one.ids)) for one in recording.tracks]
    states, _ = start(replace(recording, tracks=shuffled), 0.4, 2)
    assert isinstance(states, Rejected)
    assert "rays miss each other by" in states.reason


@pytest.mark.parametrize("seed", range(5))
def test_at_rest_gravity_gives_the_tilt_and_the_gyro_its_bias(seed: int) -> None:
    rng = np.random.default_rng(seed)
    R = exp_so3(rng.normal(size=3))
    accel = np.tile(R.T @ UP * GRAVITY, (50, 1)) + rng.normal(0, 1e-3, (50, 3))
    state = initialise_at_rest(ImuSteps(np.full(50, 0.005), np.tile(BIAS, (50, 1)), accel))
    assert isinstance(state, State)
    np.testing.assert_allclose(state.R.T @ UP, R.T @ UP, atol=1e-3)
    np.testing.assert_allclose(state.gyro_bias, BIAS, atol=1e-12)
    assert heading(state.R) == pytest.approx(0, abs=1e-9)
    assert np.abs(np.concatenate([state.p, state.v, state.accel_bias])).max() == 0


@pytest.mark.parametrize("yaw", [-3.0, -1.0, 0.0, 0.5, 3.0])
def test_turning_about_the_vertical_adds_to_the_heading(yaw: float) -> None:
    for R in (np.eye(3), exp_so3(np.array([0.0, -1.5, 0.0])), exp_so3(np.array([0.3, 0.4, 0.5]))):
        turned = heading(yaw_rotation(yaw) @ R) - heading(R) - yaw
        assert np.cos(turned) == pytest.approx(1)
