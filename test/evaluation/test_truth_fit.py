# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from letvins_ros import geometry
from letvins_ros.evaluation.trajectory import from_poses, poses
from letvins_ros.evaluation.truth_fit import MOST_DELAY_S, fit_truth
from letvins_ros.types import Trajectory

HZ, SECOND_NS = 100, 1_000_000_000


def flight(seconds: float = 10.0, late_s: float = 0.0) -> Trajectory:
    """Poses along a winding way; of times that are so late."""
    t = np.arange(round(seconds * HZ)) / HZ
    T = np.zeros((len(t), 4, 4))
    T[:, 3, 3] = 1
    T[:, :3, 3] = np.stack([np.sin(0.9 * t), 0.8 * np.cos(0.7 * t), 0.3 * np.sin(1.3 * t)], axis=1)
    T[:, :3, :3] = geometry.exp_so3(np.stack([0.4 * np.sin(t), 0.5 * np.cos(1.2 * t), 0.8 * np.sin(0.5 * t)], axis=1))
    return from_poses((t * SECOND_NS + late_s * SECOND_NS).astype(np.int64).tolist(), T)


def elsewhere(trajectory: Trajectory, lever: np.ndarray, heading: float, shift: np.ndarray) -> Trajectory:
    """The trajectory of a point beside the body, in another frame with the same vertical."""
    T_body_point, T_odom_world = np.eye(4), np.eye(4)
    T_body_point[:3, 3] = lever
    T_odom_world[:3, :3], T_odom_world[:3, 3] = geometry.yaw_rotation(heading), shift
    return from_poses(trajectory.stamps_ns.tolist(), T_odom_world @ poses(trajectory) @ T_body_point)


def test_delay_and_lever_arm_of_the_truth_are_found() -> None:
    lever = np.array([0.01, -0.02, 0.03])
    estimate = elsewhere(flight(), lever, 2.0, np.array([3.0, -1.0, 0.5]))
    fit = fit_truth(flight(late_s=0.008), estimate)
    assert fit is not None
    assert fit.delay_s == pytest.approx(0.008, abs=1e-4)
    np.testing.assert_allclose(fit.lever_m, lever, atol=2e-4)
    again = fit_truth(fit.truth, estimate)  # nothing is left
    assert again is not None
    assert abs(again.delay_s) < 1e-4
    assert np.linalg.norm(again.lever_m) < 2e-4


def test_noise_of_the_estimate_is_taken_for_no_error_of_the_truth() -> None:
    exact = flight()
    noisy = Trajectory(
        exact.stamps_ns, exact.positions + np.random.default_rng(0).normal(0, 0.005, (len(exact), 3)), exact.quaternions
    )
    fit = fit_truth(exact, noisy)
    assert fit is not None
    assert abs(fit.delay_s) < 0.001
    assert np.linalg.norm(fit.lever_m) < 0.002


def test_what_the_motion_does_not_tell_is_not_fitted() -> None:
    still = Trajectory(flight().stamps_ns, np.zeros((1000, 3)), np.tile([0.0, 0.0, 0.0, 1.0], (1000, 1)))
    assert fit_truth(still, still) is None
    assert fit_truth(flight(7.0), flight(7.0)) is None
    assert fit_truth(flight(late_s=2 * MOST_DELAY_S), flight()) is None
    assert fit_truth(flight(), flight(late_s=100.0)) is None
