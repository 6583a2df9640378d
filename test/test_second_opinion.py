# SPDX-License-Identifier: Apache-2.0
"""When a second opinion is due; test/selftest and test/ros/test_opinion.py run it."""

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import pytest

from letvins_ros.calibration import MountedCamera
from letvins_ros.config import Config, RosConfig
from letvins_ros.examination import EXPLAIN_S, Finding
from letvins_ros.repairs import EARLY_S
from letvins_ros.ros.live_opinion import LiveRepairs
from letvins_ros.second_opinion import LEAST_S, SUSPICIOUS, FirstSeconds, Opinion, _of_mounts
from letvins_ros.types import FrameTracks

from .examination.moving_rig import make_rig


def asked(
    contradictions: Iterable[float], wanted: bool = True, answers: Iterable[Opinion] = ()
) -> list[tuple[float, int]]:
    """When, s, and about how many frames, of ten a second; after the answers none is given."""
    first, when, left = FirstSeconds(wanted), [], iter(answers)
    for i, contradiction in enumerate(contradictions):
        tracks = FrameTracks(i * 10**8, np.zeros(0, int), np.zeros((2, 0, 2), np.float32), np.zeros(0, np.int32))
        if kept := first.add(tracks, contradiction):
            when.append((i / 10, len(kept)))
            if answer := next(left, None):
                first.answered(answer)
    return when


@pytest.mark.parametrize("since_s", [0.0, 5.0, 12.0, 16.5])
def test_it_is_due_once_some_time_after_the_contradiction(since_s: float) -> None:
    t = np.arange(0, 30, 0.1)
    due_s = max(since_s + EXPLAIN_S, LEAST_S)
    ((when_s, frames),) = asked(np.where(t >= since_s, SUSPICIOUS + 1, 0))
    assert when_s == pytest.approx(due_s, abs=0.11)
    assert frames == round(when_s * 10) + 1


def test_it_is_due_again_while_more_frames_are_needed_in_the_first_seconds() -> None:
    always, later = np.full(300, SUSPICIOUS + 1), Opinion(later=True)
    times = np.arange(LEAST_S, EARLY_S, EXPLAIN_S)
    assert [when_s for when_s, _ in asked(always, answers=[later] * 9)] == pytest.approx(times, abs=0.11 * len(times))
    assert len(asked(always, answers=[later, Opinion()])) == 2
    assert len(asked(always, answers=[later])) == 2  # the second is not answered


def test_it_is_never_due_without_a_contradiction_in_the_first_seconds() -> None:
    t = np.arange(0, 30, 0.1)
    assert asked(np.full(300, SUSPICIOUS)) == []
    assert asked(np.where(t > EARLY_S - EXPLAIN_S, SUSPICIOUS + 1, 0)) == []
    assert asked(np.full(300, SUSPICIOUS + 1), wanted=False) == []


def apart(by: float) -> tuple[MountedCamera, ...]:
    """The rig's cameras with so many times their baseline."""
    left, right = make_rig().cameras
    T = right.T_body_cam.copy()
    T[:3, 3] = left.T_body_cam[:3, 3] + by * (T[:3, 3] - left.T_body_cam[:3, 3])
    return left, replace(right, T_body_cam=T)


def test_mounts_are_measured_once_they_stay_and_suspected_before() -> None:
    settled = _of_mounts(apart(1), apart(1.029), apart(1.031), 4.0)
    assert settled.settled and settled.finding is not None
    assert settled.finding.code == "stereo_mount"
    assert settled.finding.evidence["baseline"] == pytest.approx(1.031)
    moving = _of_mounts(apart(1), apart(1.02), apart(1.031), 4.0)
    assert moving.later and not moving.settled and moving.finding is not None
    assert (moving.finding.code, moving.finding.since_s) == ("imu_contradicted", 4.0)


SCALE = Finding("accel_scale", "5 % too large", 1.0, {"scale": 0.95})


def test_a_node_takes_over_once_what_the_tracker_and_the_opinion_say() -> None:
    repairs = LiveRepairs(Config(), make_rig())
    assert not repairs.tracker_says((), 1.0, 1.0) and not repairs.opinion_says()
    assert repairs.tracker_says(("accel_in_g",), 1.0, 9.8) and not repairs.tracker_says(("accel_in_g",), 1.0, 9.8)
    repairs.opinion.answer = Opinion(SCALE)
    assert repairs.opinion_says() and not repairs.opinion_says()
    assert repairs.current.accel_scale == pytest.approx(0.95 * 9.8)
    assert (repairs.codes(), repairs.unmended) == (["accel_in_g", "accel_scale"], None)
    assert repairs.tracker_says((), 1.0, 1.0)
    assert (repairs.current.accel_scale, repairs.codes()) == (0.95, ["accel_scale"])


def test_a_node_that_is_not_to_mend_only_tells() -> None:
    repairs = LiveRepairs(Config(ros=RosConfig(mend=False)), make_rig())
    repairs.opinion.answer = Opinion(SCALE)
    assert not repairs.opinion_says()
    assert (repairs.current.accel_scale, repairs.codes(), repairs.unmended) == (1.0, [], SCALE)
