# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from letvins_ros.config import LoopConfig
from letvins_ros.geometry import inverse, log_so3
from letvins_ros.loop.motion import exp
from letvins_ros.tracking.next_place import NextPlace
from letvins_ros.types import Keyframe, PlaceDescription

DESCRIPTION = PlaceDescription("network", np.zeros((0, 2)), np.zeros((0, 32)), np.zeros(8))
STEPS = [np.r_[0, 0, 0, 0.04, 0, 0], np.r_[0, 0, 0, 0.21, 0, 0], np.r_[0, 0, np.radians(2.1), 0, 0, 0]]


def keyframe(T: np.ndarray, described: bool, stamp_ns: int = 0) -> Keyframe:
    none = np.zeros((0, 4, 4)), np.eye(6), np.zeros(0, int), np.zeros((0, 2)), np.zeros((0, 3))
    return Keyframe(0, stamp_ns, T, np.eye(6), *none, 0, DESCRIPTION if described else None)


def is_due(T_seen: np.ndarray, T: np.ndarray) -> bool:
    """Whether the loop closer wants to look, which it does after 0.3 m or 10 degrees."""
    moved = inverse(T_seen) @ T
    return bool(np.linalg.norm(moved[:3, 3]) >= 0.3 or np.linalg.norm(log_so3(moved[:3, :3])) >= np.radians(10))


def waits(step: np.ndarray, late: int, scale: float) -> tuple[list[int], float]:
    """For how many keyframes each look of the loop closer has to wait, and the share of keyframes described."""
    next_place, near, found, described = NextPlace(LoopConfig()), [True] * (late + 1), [0], 0
    T_seen = np.eye(4)
    for i in range(300):
        T, is_described = exp(i * scale * step), near[-1 - late]
        if i and is_due(T_seen, T):
            found[-1] += not is_described
            if is_described:
                T_seen, found = T, [*found, 0]
        next_place.add(keyframe(exp(i * step), is_described))
        near.append(next_place.is_near(0))
        described += is_described
    return found, described / 300


@pytest.mark.parametrize("late", [0, 2])  # keyframes on the way to the tracker, as between nodes
@pytest.mark.parametrize("step", STEPS)
def test_every_keyframe_that_the_loop_closer_looks_at_is_described(step: np.ndarray, late: int) -> None:
    found, _ = waits(step, late, 1.0)
    assert len(found) > 30 and not any(found)


@pytest.mark.parametrize("scale", [0.97, 1.03])
@pytest.mark.parametrize("step", STEPS)
def test_where_the_loop_closers_odometry_differs_it_waits_for_few_keyframes(step: np.ndarray, scale: float) -> None:
    found, _ = waits(step, 0, scale)
    assert len(found) > 30 and max(found) <= 2


def test_where_keyframes_are_close_few_are_described() -> None:
    assert waits(np.r_[0, 0, 0, 0.015, 0, 0], 0, 1.0)[1] < 0.3


def test_where_keyframes_hardly_move_nothing_is_described() -> None:
    next_place = NextPlace(LoopConfig())
    for i in range(6):
        assert next_place.is_near(0) == (i < 2)
        next_place.add(keyframe(exp(np.full(6, i * 1e-3)), i < 2))


def test_at_rest_which_has_no_keyframes_nothing_is_described() -> None:
    second, next_place = 10**9, NextPlace(LoopConfig())
    assert next_place.is_near(100 * second)  # the first keyframe is still to come
    next_place.add(keyframe(np.eye(4), False, 100 * second))
    assert next_place.is_near(101 * second)
    assert not next_place.is_near(103 * second)
    next_place.add(keyframe(np.eye(4), False, 104 * second))
    assert next_place.is_near(104 * second)


def test_gravity_tells_how_many_quarter_turns_set_an_image_upright() -> None:
    T_body_cam = np.array([[0.0, 0, 1, 0], [-1, 0, 0, 0], [0, -1, 0, 0], [0, 0, 0, 1]])  # forward, upright
    knowing, not_knowing = NextPlace(LoopConfig(), T_body_cam), NextPlace(LoopConfig())
    for degrees, turns in ((0, 0), (40, 0), (50, 1), (90, 1), (180, 2), (-90, 3), (-40, 0)):
        for next_place in (knowing, not_knowing):  # the body leans to its left
            next_place.add(keyframe(exp(np.r_[-np.radians(degrees), 0, 0, 0, 0, 0]), True))
        assert (knowing.turns, not_knowing.turns) == (turns, 0)
    knowing.add(keyframe(exp(np.r_[0, np.pi / 2, 0, 0, 0, 0]), True))  # it looks down: nothing is upright
    assert knowing.turns == 0


def test_without_a_distance_every_keyframe_is_described() -> None:
    next_place = NextPlace(LoopConfig(keyframe_distance_m=0.0))
    for i in range(4):
        next_place.add(keyframe(exp(i * STEPS[0]), True))
        assert next_place.is_near(0)
