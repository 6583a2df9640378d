# SPDX-License-Identifier: Apache-2.0
from dataclasses import replace

import numpy as np
import pytest

from letvins_ros.estimation.health import (
    CONTRADICTED_FRAMES,
    MAX_ACCEL_BIAS,
    MAX_GYRO_BIAS,
    MAX_SPEED,
    Health,
    weakness,
)
from letvins_ros.estimation.state import State
from letvins_ros.imu import BRIDGED_GAP_S, SATURATED_ACCEL, ImuSteps

SOUND = State(np.eye(3), np.zeros(3))
FINE, CONTRADICTED = np.full(40, 0.5), np.full(40, 9.0)


@pytest.mark.parametrize(
    ("part", "limit", "reason"),
    [
        ("v", MAX_SPEED, "speed of 51.0 m/s is beyond 50"),
        ("accel_bias", MAX_ACCEL_BIAS, "accelerometer bias of 3.1 m/s^2 is beyond 3"),
        ("gyro_bias", MAX_GYRO_BIAS, "gyro bias of 0.6 rad/s is beyond 0.6"),
    ],
)
def test_a_state_just_beyond_a_limit_is_given_up_with_the_numbers(part: str, limit: float, reason: str) -> None:
    direction = np.array([2.0, -1.0, 2.0]) / 3
    assert Health().fault(replace(SOUND, **{part: 0.98 * limit * direction}), FINE, 3.0) == ""
    assert Health().fault(replace(SOUND, **{part: 1.02 * limit * direction}), FINE, 3.0) == reason


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("part", ["R", "p", "v"])
def test_a_state_that_is_not_finite_is_given_up(part: str, bad: float) -> None:
    value = getattr(SOUND, part).copy()
    value.flat[1] = bad
    assert Health().fault(replace(SOUND, **{part: value}), FINE, 3.0) == "the estimate is not finite"


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("part", ["accel_bias", "gyro_bias"])
def test_a_bias_that_is_not_finite_is_given_up(part: str, bad: float) -> None:
    assert Health().fault(replace(SOUND, **{part: np.array([0, bad, 0])}), FINE, 3.0)


def test_only_a_long_row_of_contradictions_is_a_fault() -> None:
    health = Health()
    for _ in range(3):
        assert [health.fault(SOUND, CONTRADICTED, 3.0) for _ in range(CONTRADICTED_FRAMES - 1)] == [""] * (
            CONTRADICTED_FRAMES - 1
        )
        assert health.fault(SOUND, FINE, 3.0) == ""
    said = [health.fault(SOUND, CONTRADICTED, 3.0) for _ in range(CONTRADICTED_FRAMES)]
    assert said[-1] == f"features contradicted the motion in {CONTRADICTED_FRAMES} frames"


@pytest.mark.parametrize(
    "errors",
    [
        np.full(19, 9.0),  # too few to tell
        np.r_[np.full(27, 9.0), np.full(13, 0.5)],  # less than 70 %
        np.zeros(0),
        np.r_[np.full(10, 9.0), np.zeros(40)],  # zeros had no part
    ],
)
def test_few_or_mixed_errors_contradict_nothing(errors: np.ndarray) -> None:
    health = Health()
    assert {health.fault(SOUND, errors, 3.0) for _ in range(3 * CONTRADICTED_FRAMES)} == {""}


def test_weak_input_is_named_the_imu_first() -> None:
    def steps(dt: float, accel: float = 0.0) -> ImuSteps:
        return ImuSteps(np.array([0.005, dt, 0.005]), np.zeros((3, 3)), np.full((3, 3), accel))

    assert weakness(None, 10, 10) == ""
    assert weakness(None, 9, 10) == "9 tracks of 10 needed"
    assert weakness(steps(BRIDGED_GAP_S * 0.99), 10, 10) == ""
    assert weakness(steps(0.5), 3, 10) == "IMU gap of 0.50 s bridged"
    assert weakness(steps(0.005, SATURATED_ACCEL * 1.01), 10, 10) == "IMU saturated"
    assert weakness(steps(0.005, SATURATED_ACCEL * 0.99), 10, 10) == ""
