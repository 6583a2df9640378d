# SPDX-License-Identifier: Apache-2.0
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from letvins_ros.estimation.frame import Frame
from letvins_ros.estimation.standstill import (
    LOOK_BACK_S,
    MAX_ACCEL_STD,
    MAX_GYRO_STD,
    MAX_TURN_RAD,
    MIN_FEATURES,
    StandstillDetector,
)
from letvins_ros.estimation.state import State
from letvins_ros.geometry import exp_so3
from letvins_ros.imu import GRAVITY, ImuSteps

from ..vectors import unit

N = 40
HZ = 20
RNG = np.random.default_rng(0)
BEARINGS = unit(RNG.normal(size=(N, 3)) * 0.3 + [0, 0, 1])
UNIT = np.tile([1.0, -1.0], 5)  # standard deviation 1


def frame_at(i: int, bearings: np.ndarray, ids: np.ndarray) -> Frame:
    seen = np.ones((1, len(ids)), bool)
    state = State(np.eye(3), np.zeros(3))
    return Frame(i, i * 1_000_000_000 // HZ, state, ids, bearings[None], np.zeros((1, len(ids), 2, 3)), seen)


def verdicts(
    bearings_of: Callable[[int], np.ndarray] = lambda i: BEARINGS,
    ids_of: Callable[[int], np.ndarray] = lambda i: np.arange(N),
    gyro_std: float = 0.0,
    accel_std: float = 0.0,
    count: int = 12,
) -> list[bool]:
    """What the detector says of each frame."""
    steps = ImuSteps(
        np.full(10, 0.005),
        gyro_std * UNIT[:, None] * np.eye(3)[1],
        [0, 0, GRAVITY] + accel_std * UNIT[:, None] * np.eye(3)[0],
    )
    detector = StandstillDetector()
    return [detector.add(frame_at(i, bearings_of(i), ids_of(i)), steps) for i in range(count)]


def test_rest_is_seen_after_the_look_back_time_and_not_before() -> None:
    assert verdicts() == [False] * 5 + [True] * 7


@pytest.mark.parametrize(("part", "limit"), [("gyro_std", MAX_GYRO_STD), ("accel_std", MAX_ACCEL_STD)])
def test_an_imu_just_louder_than_its_limit_is_not_rest(part: str, limit: float) -> None:
    below, above = (dict[str, Any]({part: share * limit}) for share in (0.95, 1.05))
    assert verdicts(**below)[-1]
    assert not verdicts(**above)[-1]


def test_features_that_turn_just_more_than_the_limit_are_not_rest() -> None:
    axis = np.array([1.0, 0.0, 0.0])

    def turning(angle: float) -> Callable[[int], np.ndarray]:
        return lambda i: BEARINGS @ exp_so3(angle * i / 11 * axis).T  # over all frames

    assert verdicts(turning(0.95 * MAX_TURN_RAD))[-1]
    assert not verdicts(turning(1.15 * MAX_TURN_RAD))[-1]


def test_a_creep_shows_against_the_first_frame_of_the_rest_and_is_no_rest_again() -> None:
    """3 mm/s, 4 m from the walls: too slow for one look back, and it adds up."""

    def creeping(i: int) -> np.ndarray:
        return unit(4 * BEARINGS - np.array([0.003 * max(i - 30, 0) / HZ, 0, 0]))

    said = verdicts(creeping, count=90)
    assert all(said[6:40])
    assert not all(said[40:])

    def faster(i: int) -> np.ndarray:
        return unit(4 * BEARINGS - np.array([0.03 * max(i - 30, 0) / HZ, 0, 0]))

    assert not any(verdicts(faster, count=90)[37:])


def test_a_rest_lasts_since_its_first_frame() -> None:
    detector, steps = (
        StandstillDetector(),
        ImuSteps(np.full(10, 0.005), np.zeros((10, 3)), np.tile([0, 0, GRAVITY], (10, 1))),
    )
    for i in range(61):
        detector.add(frame_at(i, BEARINGS, np.arange(N)), steps)
    assert detector.rest_s() == pytest.approx(3.0)
    detector.add(frame_at(61, BEARINGS @ exp_so3(np.array([0.01, 0, 0])).T, np.arange(N)), steps)
    assert detector.rest_s() == 0.0


def test_hovering_with_a_quiet_imu_is_not_rest() -> None:
    """At 2 cm/s, 4 m from the walls: no reading of the IMU differs from rest."""

    def drifting(i: int) -> np.ndarray:
        return unit(4 * BEARINGS - np.array([0.02 * i / HZ, 0, 0]))

    assert not any(verdicts(drifting, count=30))


def test_things_that_move_past_do_not_hide_a_rest() -> None:
    def crowd(i: int) -> np.ndarray:
        bearings = BEARINGS.copy()
        bearings[: N // 3] = bearings[: N // 3] @ exp_so3(np.array([0, 0.05 * i, 0])).T
        return bearings

    assert verdicts(crowd)[-1]


def test_too_few_common_features_prove_no_rest() -> None:
    def fewer(common: int) -> Callable[[int], np.ndarray]:
        return lambda i: np.r_[np.arange(common), 1000 * (i + 1) + np.arange(N - common)]

    assert verdicts(ids_of=fewer(MIN_FEATURES))[-1]
    assert not verdicts(ids_of=fewer(MIN_FEATURES - 1))[-1]
    assert not any(verdicts(lambda i: BEARINGS[:0], ids_of=lambda i: np.zeros(0, int)))


def test_a_rest_ends_with_the_first_frame_that_moves() -> None:
    assert verdicts(lambda i: BEARINGS if i < 10 else BEARINGS @ exp_so3(np.array([0.01, 0, 0])).T)[8:] == [
        True,
        True,
        False,
        False,
    ]


def test_recent_readings_are_those_of_the_look_back_time() -> None:
    detector = StandstillDetector()
    for i in range(40):
        steps = ImuSteps(np.full(10, 0.005), np.full((10, 3), float(i)), np.zeros((10, 3)))
        detector.add(frame_at(i, BEARINGS, np.arange(N)), steps)
    recent = detector.recent_steps()
    assert recent.duration_s == pytest.approx(LOOK_BACK_S)
    assert np.unique(recent.gyro).tolist() == list(range(20, 40))
