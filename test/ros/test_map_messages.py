# SPDX-License-Identifier: Apache-2.0
"""What the loop closer's node makes of keyframes, and shows of the map."""

import numpy as np

from letvins_ros.loop.closer import MapSnapshot
from letvins_ros.ros.loop_closure import Sessions
from letvins_ros.ros.paths import graph_markers
from letvins_ros.types import Keyframe


def keyframe(index: int, resets: int) -> Keyframe:
    none = np.zeros((0, 4, 4)), np.eye(6), np.zeros(0, np.int64), np.zeros((0, 2), np.float32), np.zeros((0, 3))
    return Keyframe(index, 10**9 * index, np.eye(4), np.eye(6), *none, resets)


def test_keyframes_and_resets_are_counted_on_when_vio_was_restarted() -> None:
    sessions = Sessions()
    came = [(1, 0, 0), (1, 3, 1), (2, 0, 0), (2, 2, 2), (3, 1, 0)]  # session, index, resets
    counted = [sessions.continued(keyframe(index, resets), session) for session, index, resets in came]
    assert [one.index for one in counted] == [0, 3, 4, 6, 8]
    assert [one.resets for one in counted] == [0, 1, 2, 4, 5]
    assert [one.stamp_ns for one in counted] == [10**9 * index for _, index, _ in came]


def test_the_graph_shows_placed_keyframes_and_the_loops_between_them() -> None:
    T = np.tile(np.eye(4), (4, 1, 1))
    T[:, 0, 3] = [0.0, 1.0, 2.0, np.nan]  # the last one's session has no place in the map
    snapshot = MapSnapshot(np.arange(4), np.array([0, 0, 0, 1]), T, np.array([[0, 2], [1, 3]]))
    dots, lines = graph_markers(snapshot, 5, "map").markers
    assert [point.x for point in dots.points] == [0.0, 1.0, 2.0]
    assert [point.x for point in lines.points] == [0.0, 2.0]
    assert dots.header.frame_id == lines.header.frame_id == "map"
    assert dots.pose.orientation.w == lines.pose.orientation.w == 1.0
