# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from letvins_ros.calibration import ImuNoise
from letvins_ros.estimation.covariance import in_output_order, motion_covariance, propagated
from letvins_ros.estimation.preintegration import preintegrate
from letvins_ros.estimation.state import State
from letvins_ros.geometry import exp_so3, inverse, log_so3
from letvins_ros.imu import GRAVITY, ImuSteps

NOISE = ImuNoise(1e-3, 1e-2, 1e-4, 1e-3)


def random_covariance(rng: np.random.Generator, scale: list[float]) -> np.ndarray:
    A = rng.normal(size=(15, 15)) * np.repeat(scale, 3)[:, None]
    return A @ A.T


def output_error(a: State, b: State) -> np.ndarray:
    """The difference (15,) in VioState's order: position in odom, rotation in the body, velocity, biases."""
    turn = log_so3(a.R.T @ b.R)
    return np.concatenate([b.p - a.p, turn, b.v - a.v, b.accel_bias - a.accel_bias, b.gyro_bias - a.gyro_bias])


def test_output_order_is_that_of_the_errors_it_describes() -> None:
    rng = np.random.default_rng(0)
    state = State(exp_so3(rng.normal(size=3)), *rng.normal(size=(4, 3)))
    P = random_covariance(rng, [1e-4] * 5)
    got = in_output_order(P, state.R)
    errors = rng.multivariate_normal(np.zeros(15), P, 2000)
    moved = np.array([output_error(state, state.stepped(d)) for d in errors])
    size = np.sqrt(np.diag(got))
    np.testing.assert_allclose(np.cov(moved.T) / np.outer(size, size), got / np.outer(size, size), atol=0.1)
    for d in errors[:5]:  # the same, without chance: the map is linear
        e = output_error(state, state.stepped(d))
        np.testing.assert_allclose(e @ np.linalg.solve(got, e), d @ np.linalg.solve(P, d), rtol=1e-3)


@pytest.mark.parametrize("seed", range(2))
def test_propagated_covariance_is_that_of_disturbed_predictions(seed: int) -> None:
    """Starts drawn from P, readings with the noise, each integrated by GTSAM, over one frame of turning and pushing."""
    rng = np.random.default_rng(seed)
    n, dt = 10, 0.005
    steps = ImuSteps(
        np.full(n, dt), rng.normal(0, 1, (1, 3)).repeat(n, 0), rng.normal([0, 0, GRAVITY], 2, (1, 3)).repeat(n, 0)
    )
    start = State(exp_so3(rng.normal(size=3)), *rng.normal(size=(2, 3)))
    noise = ImuNoise(3e-3, 3e-2, 1e-6, 1e-6)
    P = random_covariance(rng, [1e-3, 1e-3, 1e-3, 1e-3, 1e-3])

    def after(state: State, steps: ImuSteps) -> State:
        return state.predicted(preintegrate(steps, noise, state.accel_bias, state.gyro_bias))

    plain, errors = after(start, steps), []
    for d in rng.multivariate_normal(np.zeros(15), P, 800):
        turned = State(start.R @ exp_so3(d[3:6]), start.p + d[:3], start.v + d[6:9], d[9:12], d[12:])
        noisy = ImuSteps(
            steps.dt_s,
            steps.gyro + rng.normal(0, noise.gyro_noise / np.sqrt(dt), (n, 3)),
            steps.accel + rng.normal(0, noise.accel_noise / np.sqrt(dt), (n, 3)),
        )
        errors.append(output_error(plain, after(turned, noisy)))
    wanted = np.cov(np.array(errors).T)
    got = propagated(P, start.R, steps, noise, start.accel_bias)
    size = np.sqrt(np.diag(got))
    np.testing.assert_allclose(wanted / np.outer(size, size), got / np.outer(size, size), atol=0.15)


def test_no_time_changes_nothing() -> None:
    P = random_covariance(np.random.default_rng(0), [1.0] * 5)
    none = ImuSteps(np.zeros(0), np.zeros((0, 3)), np.zeros((0, 3)))
    np.testing.assert_array_equal(propagated(P, np.eye(3), none, NOISE, np.zeros(3)), P)


def test_uncertainty_grows_with_time_and_stays_a_covariance() -> None:
    P, sizes = random_covariance(np.random.default_rng(1), [1e-2, 1e-2, 1e-2, 1e-2, 1e-3]), []
    for n in (1, 10, 40):
        steps = ImuSteps(np.full(n, 0.005), np.zeros((n, 3)), np.tile([0, 0, GRAVITY], (n, 1)))
        grown = propagated(np.diag(np.diag(P)), np.eye(3), steps, NOISE, np.zeros(3))
        assert np.linalg.eigvalsh(grown).min() > 0
        np.testing.assert_allclose(grown, grown.T, rtol=1e-12)
        sizes.append(np.diag(grown)[:3].sum())
    assert sizes[0] < sizes[1] < sizes[2]


def test_covariance_motion_covariance_is_that_of_disturbed_pairs() -> None:
    rng = np.random.default_rng(1)
    a, b = (State(exp_so3(rng.normal(size=3)), rng.normal(size=3)) for _ in "ab")
    A = rng.normal(size=(12, 12)) * 1e-4
    T_a_b = inverse(a.T_odom_body) @ b.T_odom_body
    got = motion_covariance(A @ A.T, T_a_b)

    def moved(d: np.ndarray) -> np.ndarray:
        ends = [one.stepped(np.r_[step, np.zeros(9)]).T_odom_body for one, step in ((a, d[:6]), (b, d[6:]))]
        T = inverse(T_a_b) @ inverse(ends[0]) @ ends[1]
        return np.r_[T[:3, 3], log_so3(T[:3, :3])]

    slopes = np.stack([moved(step) for step in A.T], 1)  # linear in such small steps
    np.testing.assert_allclose(got, slopes @ slopes.T, atol=1e-3 * np.abs(got).max())
