# SPDX-License-Identifier: Apache-2.0
"""The launch description that all launch files share; needs `launch` and `launch_ros`."""

import os
import tempfile
from dataclasses import fields
from pathlib import Path
from typing import Any

from launch.actions import DeclareLaunchArgument, EmitEvent, ExecuteProcess, OpaqueFunction, SetEnvironmentVariable
from launch.conditions import IfCondition
from launch.events import Shutdown
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from launch import LaunchDescription
from letvins_ros.ros.system import PROFILE, Program, System, programs, shared

RVIZ = "open RViz with config/letvins.rviz"
RESPAWN = "start a node again when it has died"


def describe(**defaults: Any) -> LaunchDescription:
    """The whole system; defaults replace those of System, by name."""
    declared = [
        DeclareLaunchArgument(
            f.name, default_value=_text(defaults.get(f.name, f.default)), description=f.metadata["meaning"]
        )
        for f in fields(System)
    ]
    declared.append(DeclareLaunchArgument("rviz", default_value="false", description=RVIZ))
    declared.append(DeclareLaunchArgument("respawn", default_value="false", description=RESPAWN))
    return LaunchDescription([*declared, OpaqueFunction(function=_start)])


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _start(context: Any) -> list[Any]:
    given = {f.name: _typed(context.launch_configurations[f.name], type(f.default)) for f in fields(System)}
    system = System(**given)
    folder = Path(tempfile.mkdtemp(prefix="letvins-"))
    actions: list[Any] = []
    if system.fastdds and PROFILE not in os.environ:
        actions.append(SetEnvironmentVariable(PROFILE, str(shared("config/fastdds.xml"))))
    actions += [_node(program) for program in programs(system, folder)]
    if system.bag:
        command = ["ros2", "bag", "play", system.bag, "--rate", str(system.rate), "--clock", "--delay", "1"]
        actions.append(ExecuteProcess(cmd=command, output="screen"))
    rviz = ["-d", str(shared("config/letvins.rviz"))]
    condition = IfCondition(LaunchConfiguration("rviz"))
    frame = ["-f", f"{system.namespace.strip('/')}/map"] if system.namespace.strip("/") else []
    actions.append(
        Node(
            package="rviz2", executable="rviz2", namespace=system.namespace, arguments=rviz + frame, condition=condition
        )
    )
    return actions


def _typed(text: str, kind: type) -> Any:
    return text.lower() in {"true", "1", "yes"} if kind is bool else kind(text)


def _node(program: Program) -> Node:
    plays = program.executable == "dataset_player"
    return Node(
        package="letvins_ros",
        executable=program.executable,
        name=program.executable,
        namespace=program.namespace,
        parameters=[str(program.config), program.parameters],
        remappings=list(program.remaps),
        output="screen",
        respawn=False if plays else LaunchConfiguration("respawn"),
        on_exit=[EmitEvent(event=Shutdown(reason="the recording has ended"))] if plays else None,
    )
