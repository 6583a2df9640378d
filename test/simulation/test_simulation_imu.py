# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from letvins_ros import geometry
from letvins_ros.calibration import ImuNoise
from letvins_ros.simulation import SCENARIOS
from letvins_ros.simulation.imu import GRAVITY, exact_imu, seconds, simulate_imu, stamps
from letvins_ros.simulation.motion import make_trajectory
from letvins_ros.simulation.trajectory import SplineTrajectory


def trajectory(name: str, duration_s: float, seed: int = 0) -> SplineTrajectory:
    scenario = SCENARIOS[name]
    return make_trajectory(scenario.motion, np.array([12.0, 9.0, 4.0]), duration_s, np.random.default_rng(seed))


def test_exact_readings_integrate_back_to_the_spline() -> None:
    spline, rate = trajectory("aggressive", 5.0), 2000.0
    middle = exact_imu(spline, stamps(5.0, 2 * rate)[1::2])  # one reading in the middle of each step
    start = np.zeros(1)
    R, p, v = spline.T_world_body(start)[0, :3, :3], spline.T_world_body(start)[0, :3, 3], spline.velocity(start)[0]
    dt = 1 / rate
    half_turns, turns = geometry.exp_so3(middle.gyro * dt / 2), geometry.exp_so3(middle.gyro * dt)
    for half_turn, turn, accel in zip(half_turns, turns, middle.accel, strict=True):
        a = R @ half_turn @ accel + GRAVITY
        p, v, R = p + v * dt + a * dt**2 / 2, v + a * dt, R @ turn
    end = spline.T_world_body(np.array([5.0]))[0]
    np.testing.assert_allclose(p, end[:3, 3], atol=1e-4)
    np.testing.assert_allclose(v, spline.velocity(np.array([5.0]))[0], atol=1e-4)
    np.testing.assert_allclose(R, end[:3, :3], atol=1e-5)


def test_at_rest_an_exact_imu_reads_gravity_alone() -> None:
    spline = trajectory("static", 1.0)
    samples = exact_imu(spline, stamps(1.0, 200.0))
    R_world_body = spline.T_world_body(seconds(samples.stamps_ns))[:, :3, :3]
    np.testing.assert_allclose(samples.gyro, 0, atol=1e-12)
    np.testing.assert_allclose(np.einsum("nij,nj->ni", R_world_body, samples.accel) + GRAVITY, 0, atol=1e-12)


@pytest.mark.parametrize("rate", [100.0, 400.0])
def test_noise_and_bias_have_the_continuous_densities_at_every_rate(rate: float) -> None:
    noise = ImuNoise(gyro_noise=1e-3, accel_noise=2e-2, gyro_walk=1e-4, accel_walk=3e-3, rate_hz=rate)
    spline = trajectory("static", 120.0)
    imu = simulate_imu(spline, noise, np.random.default_rng(1))
    exact = exact_imu(spline, imu.samples.stamps_ns)
    for reading, truth, bias, white, walk in (
        (imu.samples.gyro, exact.gyro, imu.gyro_bias, 1e-3, 1e-4),
        (imu.samples.accel, exact.accel, imu.accel_bias, 2e-2, 3e-3),
    ):
        assert np.std(reading - truth - bias) == pytest.approx(white * np.sqrt(rate), rel=0.02)
        assert np.std(np.diff(bias, axis=0)) == pytest.approx(walk / np.sqrt(rate), rel=0.02)
        assert 0.003 < np.abs(bias[0]).max() < 0.3


def test_stamps_hold_both_ends() -> None:
    assert np.diff(stamps(1.0, 200.0)).tolist() == [5_000_000] * 200
    assert seconds(stamps(0.3, 10.0)).tolist() == pytest.approx([0, 0.1, 0.2, 0.3])
