# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import numpy as np
import pytest
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from letvins_ros.datasets import ReadReport
from letvins_ros.errors import DataError
from letvins_ros.evaluation.trajectory import read_estimate

STORE = get_typestore(Stores.ROS2_HUMBLE)
POSES = np.array([[1.0, 2.0, 3.0, 0.0, 0.0, 0.6, 0.8], [4.0, 5.0, 6.0, 0.0, 0.0, 0.0, 1.0]])


def recorded(path: Path, kinds: dict[str, str]) -> Path:
    """A bag in which each topic has POSES at 1 and 2 s, further ahead in x by the topic's place among them."""
    kind = {name.rpartition("/")[2]: made for name, made in STORE.types.items()}
    with Writer(path, version=8, storage_plugin=StoragePlugin.MCAP) as writer:
        for place, (topic, name) in enumerate(kinds.items()):
            full = f"{'nav' if name == 'Odometry' else 'geometry'}_msgs/msg/{name}"
            connection = writer.add_connection(topic, full, typestore=STORE)
            for second, (x, y, z, *q) in enumerate(POSES, 1):
                header = kind["Header"](kind["Time"](second, 0), "odom")
                pose = kind["Pose"](kind["Point"](x + place, y, z), kind["Quaternion"](*q))
                unsure = kind["PoseWithCovariance"](pose, np.zeros(36))
                zero = kind["Vector3"](0.0, 0.0, 0.0)
                still = kind["TwistWithCovariance"](kind["Twist"](zero, zero), np.zeros(36))
                rest = {"Odometry": ("base_link", unsure, still), "PoseStamped": (pose,)}.get(name, (unsure,))
                writer.write(connection, second * 10**9, STORE.serialize_cdr(kind[name](header, *rest), full))
    return path


@pytest.mark.parametrize(
    ("kinds", "topic", "place"),
    [
        ({"/wheel/odometry": "Odometry", "/drone/letvins/odometry": "Odometry"}, None, 1),
        ({"/wheel/odometry": "Odometry", "/letvins/odometry": "Odometry"}, "/wheel/odometry", 0),
        ({"/letvins/odometry": "Odometry", "/letvins/pose": "PoseWithCovarianceStamped"}, "/letvins/pose", 1),
        ({"/vrpn/robot/pose": "PoseStamped"}, None, 0),
    ],
)
def test_an_estimate_may_be_a_bag_with_odometry(
    kinds: dict[str, str], topic: str | None, place: int, tmp_path: Path
) -> None:
    read = read_estimate(recorded(tmp_path / "bag", kinds), topic, report := ReadReport())
    assert f"bag: {list(kinds)[place]}; where the truth is of another frame" in report.notes[0]
    assert read.stamps_ns.tolist() == [10**9, 2 * 10**9]
    np.testing.assert_array_equal(read.positions, POSES[:, :3] + [place, 0, 0])
    np.testing.assert_array_equal(read.quaternions, POSES[:, 3:])


@pytest.mark.parametrize("topic", [None, "/letvins/odometry"])
def test_a_bag_that_does_not_tell_which_poses_are_meant_lists_them(topic: str | None, tmp_path: Path) -> None:
    bag = recorded(tmp_path / "bag", {"/a": "Odometry", "/b": "PoseStamped"})
    listed = r"choose with --topic from /a \(nav_msgs/msg/Odometry\), /b \(geometry_msgs/msg/PoseStamped\)"
    with pytest.raises(DataError, match=listed):
        read_estimate(bag, topic)
