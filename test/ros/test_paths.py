# SPDX-License-Identifier: Apache-2.0
import numpy as np

from letvins_ros.ros.paths import ThinnedPath


def test_a_path_of_any_length_stays_short_and_covers_the_whole_way() -> None:
    path = ThinnedPath(100)
    for i in range(100_000):
        T = np.eye(4)
        T[0, 3] = i
        path.add(i, T)
    assert 50 <= len(path.poses) <= 100
    assert path.stamps_ns[0] < 3000
    assert path.stamps_ns[-1] > 97_000
    steps = np.diff(path.stamps_ns)
    assert steps.min() == steps.max()  # evenly thinned
    message = path.message("odom", 5)
    assert [pose.pose.position.x for pose in message.poses] == path.stamps_ns
    assert message.header.frame_id == message.poses[0].header.frame_id == "odom"
