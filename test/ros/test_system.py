# SPDX-License-Identifier: Apache-2.0
"""What is started, and with what; and that the files beside it name what exists."""

import ast
import json
import re
from dataclasses import fields
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
import yaml

from letvins_ros import cli
from letvins_ros.config_io import load_config
from letvins_ros.datasets import open_dataset
from letvins_ros.errors import ConfigError, LetvinsError
from letvins_ros.ros.mount import facing
from letvins_ros.ros.resolve import resolve
from letvins_ros.ros.system import PROFILE, System, environment, programs

from ..command import ROOT
from ..some import some

NODES = {"feature_tracker", "vio", "loop_closure", "dataset_player", "autopilot"}
EUROC = str(ROOT / "config" / "euroc" / "stereo_imu.yaml")


def published_topics() -> set[str]:
    """Every topic under letvins/ that a node makes a publisher for."""
    text = "".join(path.read_text() for path in (ROOT / "letvins_ros" / "ros").glob("*.py"))
    return set(re.findall(r'advertise\(\s*\w+, "(letvins/\w+)"', text))


def test_all_nodes_get_the_same_parameters_and_remaps() -> None:
    found = programs(System(config=EUROC, imu_topic="imu0", use_sim_time=True, tracker="letnet2"))
    assert [p.executable for p in found] == ["feature_tracker", "vio", "loop_closure"]
    for program in found:
        text = " ".join(program.arguments())
        assert f"-p config:={EUROC}" in text
        assert "-p tracker.method:=letnet2" in text
        assert "-r imu:=imu0" in text
        assert "-p use_sim_time:=true" in text
        assert "__ns" not in text


def test_a_player_comes_with_a_dataset() -> None:
    found = programs(System(dataset="flight", rate=2, namespace="/drone", loop=False))
    assert [p.executable for p in found] == ["feature_tracker", "vio", "dataset_player"]
    assert found[0].parameters["player.source"] == str(Path("flight").absolute())
    assert found[0].parameters["loop.describer"] == "orb"  # for which no network describes places
    assert found[2].parameters["player.rate"] == 2.0
    assert not found[2].parameters["player.clock"]
    assert "-r __ns:=/drone" in " ".join(found[0].arguments())


def test_a_nodes_file_is_changed_by_its_other_parameters() -> None:
    given = {"config": EUROC, "tracker.method": "letnet2", "autostart": False, "qos_overrides./clock.depth": 1}
    config = resolve(given, "/drone")
    assert some(config.rig).cameras[0].camera.width == 752
    assert config.tracker.method == "letnet2"
    assert (config.ros.odom_frame, config.ros.map_frame) == ("drone/odom", "drone/map")
    assert resolve(given).ros.odom_frame == "odom"
    with pytest.raises(ConfigError, match=r"stereo_imu.yaml: tracker\.method must be one of"):
        resolve({"config": EUROC, "tracker.method": "orb"})


def test_frames_that_were_named_get_no_prefix() -> None:
    assert resolve({"config": EUROC, "ros.odom_frame": "world"}, "drone").ros.odom_frame == "world"


def test_a_calibration_that_is_not_given_is_that_of_the_recording(recording: Path) -> None:
    config = resolve({"player.source": str(recording)})
    assert len(some(config.rig).cameras) == 2
    assert (
        some(config.rig).cameras[0].camera.intrinsics == some(open_dataset(recording).rig).cameras[0].camera.intrinsics
    )
    assert resolve({"player.source": str(recording)}, needs_rig=False).rig is None


def test_without_a_calibration_it_is_left_to_the_topics() -> None:
    assert resolve({}).rig is None


@pytest.mark.skipif(find_spec("rclpy") is not None, reason="rclpy is installed")
def test_without_ros_the_remedy_is_told() -> None:
    with pytest.raises(LetvinsError, match="rclpy is not installed: source /opt/ros"):
        environment(True)


@pytest.mark.skipif(find_spec("rclpy") is None, reason="rclpy is not installed")
def test_the_dds_profile_is_set_unless_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(PROFILE, raising=False)
    assert Path(environment(True)[PROFILE]).is_file()
    assert PROFILE not in environment(False)
    monkeypatch.setenv(PROFILE, "/my/profile.xml")
    assert environment(True)[PROFILE] == "/my/profile.xml"


def test_letvins_up_has_the_arguments_of_the_launch_files() -> None:
    letvins: Any = typer.main.get_command(cli.app)
    options = set(letvins.commands["up"].params)
    names = {option.name for option in options}
    assert names == {f.name for f in fields(System)} | {"record", "view"}


def test_every_argument_of_the_launch_files_is_described() -> None:
    assert all(f.metadata["meaning"] for f in fields(System))


@pytest.mark.parametrize("name", sorted(NODES))
def test_every_node_is_installed_and_has_a_main(name: str) -> None:
    tree = ast.parse((ROOT / "letvins_ros" / "ros" / f"{name}.py").read_text())
    assert any(isinstance(node, ast.FunctionDef) and node.name == "main" for node in tree.body)
    installed = some(re.search(r"foreach\(node ([^)]*)\)", (ROOT / "CMakeLists.txt").read_text()))
    assert name in installed[1].split()


def topics_in(value: Any) -> set[str]:
    """Every text in nested data that names a topic of ours."""
    if isinstance(value, dict):
        return set().union(*(topics_in(v) for pair in value.items() for v in pair))
    if isinstance(value, list):
        return set().union(set(), *map(topics_in, value))
    found = re.match(r"/?(letvins/\w+)", value) if isinstance(value, str) else None
    return {found[1]} if found else set()


def test_rviz_and_foxglove_show_topics_that_are_published() -> None:
    rviz = topics_in(yaml.safe_load((ROOT / "config" / "letvins.rviz").read_text()))
    foxglove = topics_in(json.loads((ROOT / "config" / "foxglove.json").read_text()))
    published = published_topics()
    assert {"letvins/odometry", "letvins/path", "letvins/map_path", "letvins/points", "letvins/image_track",
            "letvins/pose_graph"} <= rviz  # fmt: skip
    assert rviz | foxglove <= published
    assert len(published) >= 12


def test_rviz_opens_with_every_pane_in_its_place() -> None:
    settings = yaml.safe_load((ROOT / "config" / "letvins.rviz").read_text())
    images = [d for d in settings["Visualization Manager"]["Displays"] if d["Class"].endswith("/Image")]
    window = settings["Window Geometry"]
    state = bytes.fromhex(window["QMainWindow State"])
    for pane in settings["Panels"] + images:  # one that the state does not name takes the 3D view's place
        assert pane["Name"].encode("utf-16-be") in state, pane["Name"]
    assert images
    assert (window["Hide Left Dock"], window["Hide Right Dock"]) == (False, False)  # RViz reads no default for them


def test_everything_published_is_recorded() -> None:
    text = (ROOT / "letvins_ros" / "ros" / "record.py").read_text()
    assert published_topics() <= set(re.findall(r'"(letvins/\w+)"', text))


@pytest.mark.parametrize("path", sorted((ROOT / "config" / "cameras").glob("*.yaml")), ids=lambda path: path.name)
def test_an_example_of_a_camera_has_two_or_leaves_them_to_the_topics(path: Path) -> None:
    rig = load_config(path).rig
    assert rig is None or len(rig.cameras) == 2
    assert ("camera_info" in path.read_text()) and ("cam1_topic" in path.read_text())


def test_the_zeds_base_is_its_imus_axes() -> None:
    rig = some(load_config(ROOT / "config" / "cameras" / "zed_2i.yaml").rig)
    np.testing.assert_array_equal(facing(rig.cameras[0].T_body_cam).T_base_imu, np.eye(4))
    np.testing.assert_allclose(rig.cameras[0].T_body_cam[:3, 3] - rig.cameras[1].T_body_cam[:3, 3], [0, 0.12, 0])


@pytest.mark.parametrize("path", sorted((ROOT / "msg").glob("*.msg")), ids=lambda path: path.name)
def test_every_field_of_a_message_is_explained(path: Path) -> None:
    lines = [line for line in path.read_text().splitlines() if line and not line.startswith("#")]
    states = {"uint8 TRACKING=1"}  # clear by name
    assert all("#" in line for line in lines if line.strip() not in states), path
