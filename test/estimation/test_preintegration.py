# SPDX-License-Identifier: Apache-2.0
import gtsam
import numpy as np
import pytest

from letvins_ros.calibration import ImuNoise
from letvins_ros.estimation.preintegration import preintegrate
from letvins_ros.geometry import exp_so3
from letvins_ros.imu import BRIDGED_GAP_S, GRAVITY, SATURATED_GYRO, ImuBuffer, ImuSteps
from letvins_ros.simulation import SCENARIOS
from letvins_ros.simulation.imu import START_NS, exact_imu, seconds, stamps
from letvins_ros.simulation.motion import make_trajectory
from letvins_ros.types import ImuSamples

NOISE = ImuNoise(1.7e-4, 2e-3, 2e-5, 3e-3)
ZERO = np.zeros(3)
SECOND = 1_000_000_000
MS = 1_000_000


def buffer_of(samples: ImuSamples) -> ImuBuffer:
    buffer = ImuBuffer()
    buffer.append(samples)
    return buffer


def steps_of(gyro: np.ndarray, accel: np.ndarray, rate_hz: float = 200.0) -> ImuSteps:
    """Steps of equal length."""
    return ImuSteps(np.full(len(gyro), 1 / rate_hz), np.asarray(gyro, float), np.asarray(accel, float))


def pim_of(steps: ImuSteps) -> gtsam.PreintegratedCombinedMeasurements:
    return preintegrate(steps, NOISE, ZERO, ZERO)


@pytest.mark.parametrize("axis", range(3))
def test_turning_on_the_spot_gives_no_velocity(axis: int) -> None:
    rate, readings = np.eye(3)[axis], START_NS + np.arange(201) * 5 * MS
    up_body = np.array([exp_so3(-t * rate) @ [0, 0, GRAVITY] for t in seconds(readings)])
    buffer = buffer_of(ImuSamples(readings, np.tile(rate, (201, 1)), up_body))
    steps = buffer.steps(START_NS, START_NS + SECOND)
    after = pim_of(steps).predict(gtsam.NavState(gtsam.Rot3(), ZERO, ZERO), gtsam.imuBias.ConstantBias())
    np.testing.assert_allclose(after.velocity(), 0, atol=1e-6)  # without the half turn it is 0.025 m/s
    np.testing.assert_allclose(after.attitude().matrix(), exp_so3(rate), atol=1e-12)


def test_constant_force_gives_the_parabola_of_the_textbook() -> None:
    pim = pim_of(steps_of(np.zeros((100, 3)), np.tile([1.0, 2.0, 3.0], (100, 1))))
    np.testing.assert_allclose(pim.deltaVij(), [0.5, 1.0, 1.5], rtol=1e-9)
    np.testing.assert_allclose(pim.deltaPij(), [0.125, 0.25, 0.375], rtol=1e-9)
    assert pim.deltaTij() == pytest.approx(0.5)


@pytest.mark.parametrize("scenario", ["hall", "aggressive"])
@pytest.mark.parametrize("seed", range(3))
def test_exact_readings_predict_the_simulated_motion_over_a_second_to_a_millimetre(scenario: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    spline = make_trajectory(SCENARIOS[scenario].motion, np.array([12.0, 9.0, 4.0]), 6.0, rng)
    buffer = buffer_of(exact_imu(spline, stamps(6.0, 200.0)))
    ends = START_NS + np.array([4_003, 5_001]) * MS  # between two readings
    T, v = spline.T_world_body(seconds(ends)), spline.velocity(seconds(ends))
    start = gtsam.NavState(gtsam.Rot3(T[0, :3, :3]), T[0, :3, 3], v[0])
    after = pim_of(buffer.steps(*ends.tolist())).predict(start, gtsam.imuBias.ConstantBias())
    assert np.linalg.norm(after.position() - T[1, :3, 3]) < 1e-3
    assert np.linalg.norm(after.velocity() - v[1]) < 2e-3
    np.testing.assert_allclose(after.attitude().matrix(), T[1, :3, :3], atol=2e-4)


def test_a_step_of_no_length_changes_nothing() -> None:
    steps = steps_of(np.ones((10, 3)), np.ones((10, 3)))
    more = ImuSteps.joined([steps, ImuSteps(np.zeros(1), np.full((1, 3), 9.0), np.full((1, 3), 9.0))])
    np.testing.assert_array_equal(pim_of(steps).deltaPij(), pim_of(more).deltaPij())


def test_gaps_and_saturation_inflate_the_covariance_and_nothing_else_does() -> None:
    quiet = steps_of(np.zeros((20, 3)), np.tile([0, 0, GRAVITY], (20, 1)))
    gap = ImuSteps(np.array([BRIDGED_GAP_S * 0.99] * 2 + [BRIDGED_GAP_S * 1.01]), quiet.gyro[:3], quiet.accel[:3])
    no_gap = ImuSteps(np.full(3, gap.duration_s / 3), quiet.gyro[:3], quiet.accel[:3])
    loud = steps_of(quiet.gyro + SATURATED_GYRO * 1.01, quiet.accel)
    nearly = steps_of(quiet.gyro - SATURATED_GYRO * 0.99, quiet.accel)
    assert loud.saturated
    assert not nearly.saturated
    for rough, fine in ((gap, no_gap), (loud, nearly)):
        ratio = np.diag(pim_of(rough).preintMeasCov())[:9] / np.diag(pim_of(fine).preintMeasCov())[:9]
        assert ratio.min() > 10
        assert ratio.max() < 1e5
    one_reading_of_200 = steps_of(np.zeros((200, 3)), np.zeros((200, 3)))
    one_reading_of_200.accel[77, 2] = -156.0
    assert one_reading_of_200.saturated


def test_velocity_covariance_is_that_of_a_random_walk() -> None:
    covariance = pim_of(steps_of(np.zeros((200, 3)), np.zeros((200, 3)))).preintMeasCov()
    np.testing.assert_allclose(np.sqrt(np.diag(covariance)[:3]), NOISE.gyro_noise, rtol=0.02)  # after 1 s
    np.testing.assert_allclose(np.sqrt(np.diag(covariance)[6:9]), NOISE.accel_noise, rtol=0.5)
