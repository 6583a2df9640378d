# SPDX-License-Identifier: Apache-2.0
"""Commands in the documents, against the code: launch files, arguments, services, parameters, topics, options."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from letvins_ros import cli
from letvins_ros.config import Config
from letvins_ros.config_params import parameters
from letvins_ros.ros.system import System

from ..command import ROOT
from ..markdown import code_blocks

DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
OURS = {f.name for f in fields(System)} | {"rviz", "respawn"}
NODES = ("feature_tracker", "vio", "loop_closure", "dataset_player", "autopilot")


def commands(text: str) -> Iterator[str]:
    """The commands in the blocks of a document, and the rows of the table that begins with what to run."""
    for language, block in code_blocks(text):
        if language:
            continue
        for line in block.splitlines():
            yield from (part.partition(" #")[0].strip() for part in line.split("&&"))
    yield from (
        f"ros2 launch letvins_ros {row}" for row in re.findall(r"^\| [^|]+ \| `(\S+\.launch\.py [^`]*)` \|", text, re.M)
    )
    yield from re.findall(r"`((?:ros2 launch letvins_ros|ros2 param set /|letvins (?!run SOURCE)\w+ )[^`]*)`", text)


def found(start: str) -> list[Any]:
    lines = [(path.name, line) for path in DOCUMENTS for line in commands(path.read_text()) if line.startswith(start)]
    return [pytest.param(line, id=f"{name}: {line[:60]}") for name, line in lines]


@pytest.mark.parametrize("line", found("ros2 launch letvins_ros "))
def test_a_launch_command_has_a_file_and_arguments_that_exist(line: str) -> None:
    _, _, _, name, *given = shlex.split(line.replace("...", ""))
    assert (ROOT / "launch" / name).is_file()
    assert {text.partition(":=")[0] for text in given if text != "-s"} <= OURS


@pytest.mark.parametrize("line", found("ros2 service call "))
def test_a_service_call_has_a_type_and_fields_that_exist(line: str) -> None:
    _, _, _, name, kind, request = shlex.split(line)
    node, service = name.strip("/").split("/")
    source = (ROOT / "letvins_ros" / "ros" / f"{node}.py").read_text()
    assert f'self.serve({kind.rpartition("/")[2]}, "~/{service}"' in source
    declared = (ROOT / "srv" / f"{kind.rpartition('/')[2]}.srv").read_text().partition("---")[0]
    assert all(re.search(rf"^\w+\s+{field}\b", declared, re.M) for field in yaml.safe_load(request))


@pytest.mark.parametrize("line", found("ros2 param set "))
def test_a_parameter_that_is_set_exists(line: str) -> None:
    node, name, value = shlex.split(line)[3:6]
    if node.strip("/") in NODES:
        parameters(Config)[name].convert(yaml.safe_load(value))


@pytest.mark.parametrize("line", found("letvins ") + found(".venv/bin/letvins "))
def test_a_letvins_command_has_options_that_exist(line: str) -> None:
    words = [word for word in shlex.split(re.sub(r"[\[\]]", " ", line))[1:] if word not in ("...", "|")]
    command: Any = typer.main.get_command(cli.app)
    while words and words[0] in getattr(command, "commands", {}):
        command = command.commands[words.pop(0)]
    options = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
    assert command.name != cli.app.info.name
    assert {word for word in words if word.startswith("-")} <= options | {"--help"}


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_topics_and_parameters_that_are_named_exist(path: Path) -> None:
    text = path.read_text()
    source = "".join(file.read_text() for file in (ROOT / "letvins_ros" / "ros").glob("*.py"))
    topics = set(re.findall(r'"(letvins/\w+)"', source))
    assert set(re.findall(r"(?<![\w.-])(letvins/(?!weights|CMake)\w+)`", text)) <= topics
    named = set(re.findall(r"`((?:ros|loop|tracker|estimator|player|autopilot)\.\w+)", text))
    assert named <= set(parameters(Config))


def test_the_filter_of_robot_localization_hears_our_odometry() -> None:
    (node,) = yaml.safe_load((ROOT / "config" / "robot_localization" / "ekf.yaml").read_text()).values()
    given, ours = node["ros__parameters"], Config().ros
    assert given["odom0"] == "letvins/odometry"
    assert (given["odom_frame"], given["base_link_frame"]) == (ours.odom_frame, ours.base_frame)
    assert [len(given[f"odom{i}_config"]) for i in range(2)] == [15, 15]


def settings(value: Any, key: str) -> list[Any]:
    """Every value of this key in nested data."""
    if not isinstance(value, dict):
        return []
    return [found for name, v in value.items() for found in ([v] if name == key else settings(v, key))]


def test_nav2s_example_hears_our_odometry_in_our_frames() -> None:
    given, ours = yaml.safe_load((ROOT / "config" / "nav2" / "odometry.yaml").read_text()), Config().ros
    source = "".join(file.read_text() for file in (ROOT / "letvins_ros" / "ros").glob("*.py"))
    assert settings(given, "odom_topic") == ["letvins/odometry"] * 3
    assert 'advertise(Odometry, "letvins/odometry")' in source
    assert set(settings(given, "robot_base_frame")) | set(settings(given, "base_frame_id")) == {ours.base_frame}
    local = given["local_costmap"]["local_costmap"]["ros__parameters"]
    assert (local["global_frame"], given["behavior_server"]["ros__parameters"]["local_frame"]) == (ours.odom_frame,) * 2
    assert given["global_costmap"]["global_costmap"]["ros__parameters"]["global_frame"] == ours.map_frame
    assert given["collision_monitor"]["ros__parameters"]["odom_frame_id"] == ours.odom_frame


def test_the_tutorial_has_ten_steps_and_names_files_that_exist() -> None:
    text = (ROOT / "docs" / "realsense_to_nav2.md").read_text()
    steps = [int(number) for number in re.findall(r"^## (\d+)\. ", text, re.M)]
    assert steps == list(range(1, 11))
    links = re.findall(r"\]\((?!http)([^)#]+)", text)
    assert links
    assert all((ROOT / "docs" / link).exists() for link in links), links
