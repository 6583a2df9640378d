# SPDX-License-Identifier: Apache-2.0
"""Maps of a running system over real DDS: saved, loaded, switched, placed."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from geometry_msgs.msg import PoseWithCovarianceStamped
from letvins_ros.srv import LoadMap, SaveMap, SetPose
from nav_msgs.msg import Odometry
from rcl_interfaces.msg import SetParametersResult
from rcl_interfaces.srv import GetParameters, SetParameters
from rclpy.parameter import Parameter
from std_srvs.srv import Trigger

from letvins_ros.geometry import pose_from_text
from letvins_ros.inference.places import network_name
from letvins_ros.loop.map_file import load_map
from letvins_ros.ros import convert

from ..needs import needs_torch
from .harness import START_S, Ear, Stack, call


def set_parameter(ear: Ear, name: str, value: object) -> SetParametersResult:
    (result,) = call(
        ear, SetParameters, "set_parameters", parameters=[Parameter(name, value=value).to_parameter_msg()]
    ).results
    return result


def mode(ear: Ear) -> str:
    (value,) = call(ear, GetParameters, "get_parameters", names=["loop.mode"]).values
    return value.string_value


def click(x: float, frame: str = "map") -> PoseWithCovarianceStamped:
    message = PoseWithCovarianceStamped()
    message.header.frame_id = frame
    message.pose.pose = convert.pose_to_message(pose_from_text(f"{x} 0 0 0 0 0 1"))
    return message


@pytest.fixture
def mapping(recording: Path, tmp_path: Path) -> Iterator[tuple[Stack, Ear]]:
    with (
        Stack(tmp_path, dataset=str(recording), repeat=True, rate=0.5) as stack,
        Ear(stack.domain, images=False) as ear,
    ):
        stack.start("feature_tracker", "vio", "loop_closure", "dataset_player")
        ear.wait(lambda: int(ear.diagnostics.get("loop_closure", {}).get("places", 0)) > 3, START_S, "some places")
        yield stack, ear


def test_maps_are_saved_loaded_and_switched_while_the_system_runs(mapping: tuple[Stack, Ear], tmp_path: Path) -> None:
    stack, ear = mapping
    file, other = tmp_path / "one.map", tmp_path / "two.map"
    assert "name a file" in call(ear, SaveMap, "save_map_to").message
    assert not call(ear, LoadMap, "load_map_from", file=str(tmp_path / "none.map")).success
    saved = call(ear, SaveMap, "save_map_to", file=str(file))
    assert saved.success, saved.message
    assert saved.places == len(load_map(file)[0])
    refused = set_parameter(ear, "loop.mode", "sleep")
    assert not refused.successful
    assert "one of map, localise" in refused.reason
    loaded = call(ear, LoadMap, "load_map_from", file=str(file), localise=True)
    assert loaded.success, loaded.message
    assert loaded.places == saved.places
    assert mode(ear) == "localise"
    assert set_parameter(ear, "loop.mode", "map").successful
    assert set_parameter(ear, "loop.save_map", str(other)).successful
    assert call(ear, Trigger, "save_map").success
    assert other.is_file()
    other.unlink()
    assert set(stack.stop().values()) == {0}
    assert other.is_file()  # at the end once more
    assert f"places saved to {other}" in stack.log("loop_closure")


@needs_torch
def test_where_the_tracker_runs_the_network_the_loop_closer_loads_none(recording: Path, tmp_path: Path) -> None:
    file, source = tmp_path / "network.map", str(recording)
    with (
        Stack(tmp_path, dataset=source, save_map=str(file), tracker="kp2dtiny", rate=0.2, repeat=True) as stack,
        Ear(stack.domain, images=False) as ear,
    ):
        stack.start("feature_tracker", "vio", "loop_closure", "dataset_player")
        ear.wait(lambda: int(ear.diagnostics.get("loop_closure", {}).get("places", 0)) > 1, 2 * START_S, "some places")
        loaded = {name: Path(f"/proc/{node.pid}/maps").read_text() for name, node in stack.running.items()}
        assert set(stack.stop().values()) == {0}
    assert "libopenvino.so" in loaded["feature_tracker"]
    assert "libopenvino.so" not in loaded["loop_closure"]
    assert "libtorch" not in loaded["loop_closure"]
    assert load_map(file)[1].describer == network_name()


def test_a_pose_in_the_map_can_be_given(mapping: tuple[Stack, Ear], tmp_path: Path) -> None:
    _, ear = mapping
    in_map: list[Odometry] = []
    ear.node.create_subscription(Odometry, "letvins/map_odometry", in_map.append, 10)
    clicks = ear.node.create_publisher(PoseWithCovarianceStamped, "initialpose", 10)
    wrong = call(ear, SetPose, "set_pose", pose=click(1.0, "odom"))
    assert (wrong.success, wrong.message) == (False, "the pose is in odom, map is needed")
    given = call(ear, SetPose, "set_pose", pose=click(1000.0))
    assert given.success, given.message
    ear.wait(lambda: in_map and abs(in_map[-1].pose.pose.position.x - 1000) < 50, START_S, "a pose where it was given")

    def placed() -> bool:
        clicks.publish(click(-1000.0))
        return abs(in_map[-1].pose.pose.position.x + 1000) < 50

    ear.wait(placed, START_S, "a pose where it was clicked")
    assert np.isfinite(in_map[-1].pose.covariance).all()
