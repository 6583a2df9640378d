# SPDX-License-Identifier: Apache-2.0
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from letvins_ros.ros.checks import CURRENT_S, HARMLESS, LASTING_S, MENDED, Problems
from letvins_ros.ros.doubt import LEAST_SPEED, LONGEST_S, Doubt
from letvins_ros.types import VioState, VioStatus

SECOND = 1_000_000_000


def state(seconds: float, status: VioStatus = VioStatus.TRACKING, speed: float = 2.0, resets: int = 0) -> VioState:
    velocity = np.array([speed, 0, 0])
    return VioState(
        round(seconds * SECOND), status, "", np.eye(4), velocity, np.zeros(3), np.zeros(3), np.eye(15) * 1e-4, resets
    )


def stds(doubt: Doubt, at: VioState) -> np.ndarray:
    return np.sqrt(doubt.widened(at).covariance.diagonal().reshape(5, 3)[:, 0])


def followed(doubt: Doubt, seconds: float, doubtful: bool, first_s: float = 0.0, **kind: Any) -> VioState:
    for t in np.arange(first_s, first_s + seconds + 1e-9, 0.1):
        doubt.look(state(t, **kind), 0.3, doubtful)
    return state(first_s + seconds, **kind)


def test_without_doubt_the_covariance_is_the_estimators() -> None:
    doubt = Doubt()
    at = followed(doubt, 5.0, False)
    assert doubt.widened(at) is at
    assert not doubt.present


def test_in_doubt_the_pose_may_be_wrong_by_all_that_was_moved_and_the_velocity_by_itself() -> None:
    doubt = Doubt()
    at = followed(doubt, 3.0, True)
    np.testing.assert_allclose(stds(doubt, at), [6.0, 0.9, 2.0, 0.01, 0.3], rtol=1e-3)
    assert doubt.present


def test_a_slow_motion_in_doubt_may_be_a_fast_one() -> None:
    doubt = Doubt()
    assert stds(doubt, followed(doubt, 2.0, True, speed=0.0))[0] == pytest.approx(2 * LEAST_SPEED, rel=1e-3)


def test_after_doubt_the_velocity_is_sure_again_and_the_pose_is_not() -> None:
    doubt = Doubt()
    followed(doubt, 1.0, True)
    at = followed(doubt, 1.0, False, first_s=1.1)
    np.testing.assert_allclose(stds(doubt, at), [2.0, 0.3, 0.01, 0.01, 0.01], rtol=1e-3)


def test_with_a_new_odom_frame_all_doubt_is_gone() -> None:
    doubt = Doubt()
    followed(doubt, 1.0, True)
    at = replace(state(1.2), resets=1)
    doubt.look(at, 0.3, False)
    assert doubt.widened(at) is at


def test_a_degraded_pose_is_in_doubt_and_a_long_silence_counts_for_little() -> None:
    doubt = Doubt()
    doubt.look(state(0.0), 0.0, False)
    doubt.look(state(100.0, VioStatus.DEGRADED), 0.0, False)
    assert doubt.present
    assert stds(doubt, state(100.0))[0] == pytest.approx(2 * LONGEST_S, rel=1e-3)


@pytest.fixture
def now() -> list[float]:
    return [100.0]


@pytest.fixture
def problems(now: list[float]) -> Problems:
    return Problems(lambda text: None, lambda: now[0])


def test_a_problem_of_a_moment_spoils_no_motion_and_one_that_lasts_does(problems: Problems, now: list[float]) -> None:
    problems.note("cam1", "left images without right")
    assert not problems.may_spoil_motion()
    now[0] += LASTING_S
    problems.note("cam1", "left images without right")
    assert problems.may_spoil_motion()
    now[0] += CURRENT_S
    assert not problems.may_spoil_motion()
    problems.note("cam1", "left images without right")
    assert not problems.may_spoil_motion()  # a new spell


def test_what_the_examination_has_found_spoils_the_motion_at_once(problems: Problems) -> None:
    problems.note("gyro_disagrees", "it does", sure=True)
    assert problems.may_spoil_motion()


@pytest.mark.parametrize("kind", [*sorted(HARMLESS), f"accel_in_g{MENDED}"])
def test_what_is_harmless_or_mended_leaves_the_motion_as_it_is(problems: Problems, kind: str) -> None:
    problems.note(kind, "so it is", sure=True)
    assert problems.current() == [f"{kind}: so it is"]
    assert not problems.may_spoil_motion()
