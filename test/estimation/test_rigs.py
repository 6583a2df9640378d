# SPDX-License-Identifier: Apache-2.0
"""Rigs of other than two cameras that overlap."""

from dataclasses import replace

import numpy as np
import pytest

from letvins_ros.calibration import Rig
from letvins_ros.estimation import VioEstimator
from letvins_ros.simulation.imu import START_NS
from letvins_ros.simulation.rigs import FOUR_CAMERA_RIG as FOUR
from letvins_ros.types import VioState, VioStatus

from .synthetic import Quality, Recording, add_imu, ate, config_of, posed, record, run, with_cameras_dark

SECOND = 1_000_000_000


def rig_of(*cameras: int) -> Rig:
    return Rig(tuple(FOUR.cameras[i] for i in cameras), FOUR.imu)


def seconds_to_start(states: list[VioState]) -> float:
    return (posed(states)[0].stamp_ns - START_NS) / SECOND


@pytest.fixture(scope="module")
def hall() -> Recording:
    return record("hall", 12.0, 0, rig=FOUR)


@pytest.fixture(scope="module")
def undisturbed(hall: Recording) -> tuple[list[VioState], float]:
    states = run(hall, config_of("stereo_imu"))
    return states, ate(hall, states)


def test_two_pairs_know_the_flight_better_than_one(hall: Recording, undisturbed: tuple[list[VioState], float]) -> None:
    states, error = undisturbed
    assert {state.status for state in posed(states)} == {VioStatus.TRACKING}
    alone = record("hall", 12.0, 0)
    assert error < ate(alone, run(alone, config_of("stereo_imu"))) < 0.03
    assert states[-1].covariance[:3, :3].trace() < run(alone, config_of("stereo_imu"))[-1].covariance[:3, :3].trace()


@pytest.mark.parametrize(
    ("dark", "times"), [((0, 1), 1.5), ((2, 3), 1.5), ((1, 2, 3), 3)], ids=["front", "back", "all but one"]
)
def test_cameras_dark_for_five_seconds_degrade_nothing(
    hall: Recording,
    undisturbed: tuple[list[VioState], float],
    dark: tuple[int, int] | tuple[int, int, int],
    times: float,
) -> None:
    states = run(with_cameras_dark(hall, dark, 4.0, 9.0), config_of("stereo_imu"))
    assert {state.status for state in posed(states)} == {VioStatus.TRACKING}
    assert {state.resets for state in states} == {0}
    assert ate(hall, states) < times * undisturbed[1]


@pytest.mark.parametrize("mode", ["stereo_imu", "stereo"])
@pytest.mark.parametrize("cameras", [(0, 1, 2), (0, 2, 3), (2, 0, 3)])
def test_a_pair_and_a_single_camera_work_together(mode: str, cameras: tuple[int, int, int]) -> None:
    recording = record("hall", 8.0, 1, rig=rig_of(*cameras))
    assert sorted(map(len, recording.rig.groups)) == [1, 2]
    states = run(recording, config_of(mode))
    assert {state.status for state in posed(states)} == {VioStatus.TRACKING}
    assert ate(recording, states) < 0.02
    assert seconds_to_start(states) < 1.0


def test_two_cameras_without_overlap_start_as_one_does_and_know_their_scale() -> None:
    recording = record("hall", 10.0, 0, rig=rig_of(0, 2))
    states = run(recording, config_of("stereo_imu"))
    assert seconds_to_start(states) >= 1.5
    assert {state.resets for state in states} == {0}
    assert ate(recording, states) < 0.03


@pytest.mark.parametrize(
    ("dark", "waits", "most_m"),
    [
        ((0, 1), False, 0.012),
        ((1,), False, 0.012),  # 0.03 where the first solution is taken before it has settled
        ((0, 1, 3), True, 0.03),
    ],
)
def test_it_starts_with_what_there_is(hall: Recording, dark: tuple[int, ...], waits: bool, most_m: float) -> None:
    states = run(with_cameras_dark(hall, dark, 0.0, 6.0), config_of("stereo_imu"))
    assert (seconds_to_start(states) >= 1.5) == waits
    assert ate(hall, states) < most_m


def test_a_rest_is_seen_by_any_camera() -> None:
    resting = with_cameras_dark(record("static", 3.0, 0, Quality(pixel_std=0.1), FOUR), (0, 1), 0.0, 9.0)
    states = posed(run(resting, config_of("stereo_imu")))
    positions = np.stack([state.T_odom_body[:3, 3] for state in states])
    assert len(states) > 20
    assert np.abs(positions - positions[0]).max() < 2e-3


def test_a_keyframe_has_the_features_of_the_first_camera(hall: Recording) -> None:
    recording, estimator = replace(hall, tracks=hall.tracks[:30]), VioEstimator(config_of("stereo_imu"), FOUR)
    keyframes = []
    for i, tracks in enumerate(recording.tracks):
        add_imu(estimator, recording, i)
        keyframe = estimator.process(tracks).keyframe
        keyframes += [keyframe] if keyframe else []
    assert len(keyframes) > 3
    for keyframe in keyframes:
        tracks = next(one for one in hall.tracks if one.stamp_ns == keyframe.stamp_ns)
        by_left = np.isfinite(tracks.uv[0]).all(1)
        assert 0 < len(keyframe.ids) == by_left.sum() < len(tracks)
        np.testing.assert_array_equal(keyframe.uv, tracks.uv[0, by_left])
        assert np.isfinite(keyframe.points_body).all(1).mean() > 0.7
