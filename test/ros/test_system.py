# SPDX-License-Identifier: Apache-2.0
"""What is started, and with what; and that the files beside it name what exists."""

import ast
import json
import re
import sys
import types
from dataclasses import fields
from importlib.util import find_spec
from pathlib import Path

import pytest
import typer
import yaml

from letvins_ros import cli
from letvins_ros.config_io import load_config
from letvins_ros.errors import ConfigError, LetvinsError
from letvins_ros.ros.system import PROFILE, System, environment, programs

ROOT = Path(__file__).parents[2]
LAUNCH_FILES = sorted((ROOT / "launch").glob("*.launch.py"))
NODES = {"feature_tracker", "vio", "loop_closure", "dataset_player"}
EUROC = str(ROOT / "config" / "euroc" / "stereo_imu.yaml")


def published_topics():
    """Every topic under letvins/ that a node makes a publisher for."""
    text = "".join(path.read_text() for path in (ROOT / "letvins_ros" / "ros").glob("*.py"))
    return set(re.findall(r'create_publisher\(\s*\w+, "(letvins/\w+)"', text))


def test_the_nodes_share_one_parameter_file_and_the_remaps(tmp_path):
    found = programs(System(config=EUROC, imu_topic="imu0", use_sim_time=True), tmp_path)
    assert [p.executable for p in found] == ["feature_tracker", "vio", "loop_closure"]
    assert load_config(tmp_path / "letvins.yaml").rig.cameras[0].camera.width == 752
    for program in found:
        text = " ".join(program.arguments())
        assert "-r imu:=imu0" in text
        assert "-p use_sim_time:=true" in text
        assert "__ns" not in text


def test_a_namespace_is_put_before_the_frames_too(tmp_path):
    found = programs(System(config=EUROC, namespace="/drone", loop=False), tmp_path)
    assert "-r __ns:=/drone" in " ".join(found[0].arguments())
    assert load_config(tmp_path / "letvins.yaml").ros.odom_frame == "drone/odom"
    assert [p.executable for p in found] == ["feature_tracker", "vio"]


def test_compressed_images_are_remapped_as_such(tmp_path):
    config = tmp_path / "given.yaml"
    config.write_text(Path(EUROC).read_text() + "    ros:\n      compressed: true\n")
    found = programs(System(config=str(config), cam0_topic="/left"), tmp_path)
    assert ("cam0/image_raw/compressed", "/left/compressed") in found[0].remaps


def test_choices_go_into_the_configuration(tmp_path):
    programs(System(config=EUROC, tracker="letnet2", backend="torch"), tmp_path)
    config = load_config(tmp_path / "letvins.yaml")
    assert (config.tracker.method, config.tracker.backend) == ("letnet2", "torch")
    with pytest.raises(ConfigError, match=r"tracker\.method must be one of"):
        programs(System(config=EUROC, tracker="orb"), tmp_path)


def test_without_a_calibration_nothing_starts(tmp_path):
    with pytest.raises(LetvinsError, match="no calibration: name a configuration"):
        programs(System(), tmp_path)


@pytest.mark.skipif(find_spec("rclpy") is not None, reason="rclpy is installed")
def test_without_ros_the_remedy_is_told():
    with pytest.raises(LetvinsError, match="rclpy is not installed: source /opt/ros"):
        environment(True)


@pytest.mark.skipif(find_spec("rclpy") is None, reason="rclpy is not installed")
def test_the_dds_profile_is_set_unless_there_is_one(monkeypatch):
    monkeypatch.delenv(PROFILE, raising=False)
    assert Path(environment(True)[PROFILE]).is_file()
    assert PROFILE not in environment(False)
    monkeypatch.setenv(PROFILE, "/my/profile.xml")
    assert environment(True)[PROFILE] == "/my/profile.xml"


def test_letvins_up_has_the_arguments_of_the_launch_files():
    options = set(typer.main.get_command(cli.app).commands["up"].params)
    names = {option.name for option in options}
    assert names == {f.name for f in fields(System)} | {"record"}


def test_every_argument_of_the_launch_files_is_described():
    assert all(f.metadata["meaning"] for f in fields(System))


@pytest.mark.parametrize("name", sorted(NODES))
def test_every_node_is_installed_and_has_a_main(name):
    tree = ast.parse((ROOT / "letvins_ros" / "ros" / f"{name}.py").read_text())
    assert any(isinstance(node, ast.FunctionDef) and node.name == "main" for node in tree.body)
    installed = re.search(r"foreach\(node ([^)]*)\)", (ROOT / "CMakeLists.txt").read_text())
    assert name in installed[1].split()


class Recorded:
    """Stands in for the classes of launch where that is not installed: keeps what it is made from."""

    made: list["Recorded"] = []  # noqa: RUF012

    def __init__(self, *arguments, **keywords):
        self.arguments, self.keywords = arguments, keywords
        Recorded.made.append(self)


@pytest.fixture
def launching(monkeypatch):
    """Launch files can be run: with launch where it is installed, else with what records their calls."""
    if find_spec("launch_ros"):
        return True
    for module, names in {
        "launch": ["LaunchDescription"],
        "launch.actions": [
            "DeclareLaunchArgument",
            "EmitEvent",
            "ExecuteProcess",
            "OpaqueFunction",
            "SetEnvironmentVariable",
        ],
        "launch.conditions": ["IfCondition"],
        "launch.events": ["Shutdown"],
        "launch.substitutions": ["LaunchConfiguration"],
        "launch_ros": [],
        "launch_ros.actions": ["Node"],
    }.items():
        fake = types.ModuleType(module)
        for name in names:
            setattr(fake, name, type(name, (Recorded,), {}))
        monkeypatch.setitem(sys.modules, module, fake)
    monkeypatch.delitem(sys.modules, "letvins_ros.ros.launching", raising=False)
    yield False
    sys.modules.pop("letvins_ros.ros.launching", None)


def run_launch_file(path):
    names = {}
    exec(compile(path.read_text(), path, "exec"), names)
    return names["generate_launch_description"]()


@pytest.mark.parametrize("path", LAUNCH_FILES, ids=lambda path: path.name)
def test_a_launch_file_starts_nodes_that_exist(path, launching, monkeypatch):
    monkeypatch.delenv(PROFILE, raising=False)
    description = run_launch_file(path)
    config = EUROC if "euroc" in path.name else str(ROOT / "config" / "tartanair" / "stereo_imu.yaml")
    if launching:  # the real thing
        from launch import LaunchContext

        context = LaunchContext()
        for action in description.get_launch_arguments():
            assert action.description
            action.execute(context)
        context.launch_configurations["config"] = config
        started = [a for e in description.entities[-1:] for a in e.execute(context)]
        executables = {a.node_executable for a in started if hasattr(a, "node_executable")}
    else:
        declared = {a.arguments[0]: a.keywords for a in Recorded.made if type(a).__name__ == "DeclareLaunchArgument"}
        assert all(keywords["description"] for keywords in declared.values())
        (function,) = (a.keywords["function"] for a in description.arguments[0] if type(a).__name__ == "OpaqueFunction")
        values = {name: keywords["default_value"] for name, keywords in declared.items()} | {"config": config}
        started = function(types.SimpleNamespace(launch_configurations=values))
        executables = {a.keywords["executable"] for a in started if type(a).__name__ == "Node"}
        assert set(declared) == {f.name for f in fields(System)} | {"rviz", "respawn"}
    Recorded.made.clear()
    assert executables == {"feature_tracker", "vio", "loop_closure", "rviz2"}


def topics_in(value):
    """Every text in nested data that names a topic of ours."""
    if isinstance(value, dict):
        return set().union(*(topics_in(v) for pair in value.items() for v in pair))
    if isinstance(value, list):
        return set().union(set(), *map(topics_in, value))
    found = re.match(r"/?(letvins/\w+)", value) if isinstance(value, str) else None
    return {found[1]} if found else set()


def test_rviz_and_foxglove_show_topics_that_are_published():
    rviz = topics_in(yaml.safe_load((ROOT / "config" / "letvins.rviz").read_text()))
    foxglove = topics_in(json.loads((ROOT / "config" / "foxglove.json").read_text()))
    published = published_topics()
    assert {"letvins/odometry", "letvins/path", "letvins/map_path", "letvins/points", "letvins/image_track",
            "letvins/pose_graph"} <= rviz  # fmt: skip
    assert rviz | foxglove <= published
    assert len(published) >= 12


def test_everything_published_is_recorded():
    text = (ROOT / "letvins_ros" / "ros" / "record.py").read_text()
    assert published_topics() <= set(re.findall(r'"(letvins/\w+)"', text))


@pytest.mark.parametrize("path", sorted((ROOT / "config" / "cameras").glob("*.yaml")), ids=lambda path: path.name)
def test_examples_of_cameras_are_valid(path):
    assert len(load_config(path).rig.cameras) == 2


@pytest.mark.parametrize("path", sorted((ROOT / "msg").glob("*.msg")), ids=lambda path: path.name)
def test_every_field_of_a_message_is_explained(path):
    lines = [line for line in path.read_text().splitlines() if line and not line.startswith("#")]
    states = {"uint8 TRACKING=1"}  # clear by name
    assert all("#" in line for line in lines if line.strip() not in states), path
