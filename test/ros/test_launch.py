# SPDX-License-Identifier: Apache-2.0
"""The launch files: on stand-ins for launch and launch_ros everywhere, on the real ones where they are installed."""

import os
import runpy
import signal
import subprocess
import sys
import types
from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path
from shutil import which
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from letvins_ros.processes import PARENT
from letvins_ros.ros.system import PROFILE, System, programs

from ..command import ROOT
from ..domains import own_domain
from ..processes import children, wait
from .stand_ins import stand_ins

Launching = Callable[..., tuple[dict[Any, Any], list[Any]]]

FILES = sorted((ROOT / "launch").glob("*.launch.py"))
EUROC = str(ROOT / "config" / "euroc" / "stereo_imu.yaml")
needs_launch = pytest.mark.skipif(which("ros2") is None, reason="ros2 launch is not installed")


@pytest.fixture
def launching(monkeypatch: pytest.MonkeyPatch) -> Launching:
    """Runs a launch file with stand-ins for launch and launch_ros; what it declares and what it starts."""
    monkeypatch.delenv(PROFILE, raising=False)
    for name, module in stand_ins().items():
        monkeypatch.setitem(sys.modules, name, module)

    def run(path: Path, **given: object) -> tuple[dict[Any, Any], list[Any]]:
        declared, functions = dict[Any, Any](), list[Any]()
        for action in entities(path):
            if action.kind == "DeclareLaunchArgument":
                declared.setdefault(action.arguments[0], action.keywords)  # the outermost counts
            elif action.kind == "OpaqueFunction":
                functions.append(action.keywords["function"])
        values = {name: keywords["default_value"] for name, keywords in declared.items()} | given
        (start,) = functions
        return declared, start(types.SimpleNamespace(launch_configurations=values))

    return run


def entities(path: Path) -> Iterator[Any]:
    for action in runpy.run_path(str(path))["generate_launch_description"]().arguments[0]:
        if action.kind == "IncludeLaunchDescription":
            yield from entities(action.arguments[0].arguments[0])
        else:
            yield action


@pytest.fixture
def rviz2(launching: Launching, monkeypatch: pytest.MonkeyPatch) -> None:
    """RViz as if it were installed."""
    monkeypatch.setattr(
        sys.modules["launch_ros.substitutions"].ExecutableInPackage, "perform", lambda self, context: "/opt/rviz2"
    )


def nodes(actions: list[Any]) -> dict[str, Any]:
    return {action.keywords["executable"]: action.keywords for action in actions if action.kind == "Node"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_launch_file_loads_where_nothing_but_launch_can_be_imported(path: Path) -> None:
    command = [sys.executable, "-I", "-S", str(ROOT / "test" / "ros" / "stand_ins.py"), str(path)]
    loaded = subprocess.run(command, check=False, capture_output=True, text=True, cwd="/", timeout=60)
    assert (loaded.stdout, loaded.stderr) == ("LaunchDescription\n", "")


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_launch_file_starts_the_system(path: Path, launching: Launching) -> None:
    declared, actions = launching(path)
    assert set(nodes(actions)) == {"feature_tracker", "vio", "loop_closure"}
    assert all(keywords["description"] for keywords in declared.values())
    for node in nodes(actions).values():
        assert Path(node["parameters"][0].get("config", EUROC)).is_file()
    profile = next(action.arguments for action in actions if action.kind == "SetEnvironmentVariable")
    assert profile == (PROFILE, str(ROOT / "config" / "fastdds.xml"))


def test_the_arguments_are_those_of_letvins_up(launching: Launching) -> None:
    declared, _ = launching(ROOT / "launch" / "letvins.launch.py")
    ours = {name: keywords["description"] for name, keywords in declared.items()}
    assert ours.pop("rviz")
    assert ours.pop("respawn")
    assert ours == {f.name: f.metadata["meaning"] for f in fields(System)}
    for f in fields(System):
        text = str(f.default).lower() if isinstance(f.default, bool) else str(f.default)
        assert declared[f.name]["default_value"] == text, f.name


@pytest.mark.parametrize(
    "given",
    [
        {"config": EUROC, "imu_topic": "imu0", "loop": False},
        {"dataset": str(ROOT / "test"), "rate": 0.5, "repeat": True, "namespace": "drone"},
        {"dataset": str(ROOT / "test"), "use_sim_time": True, "tracker": "letnet2", "backend": "torch"},
        {"config": EUROC, "autopilot": "mavros", "namespace": "/drone"},
        {"config": EUROC, "wheel_topic": "/wheel/odometry"},
        {"config": EUROC, "load_map": EUROC, "save_map": "my.map", "localise": True},
        {"config": EUROC, "autostart": False, "cam0_topic": "/left", "cam1_topic": "/right/compressed"},
    ],
    ids=",".join,
)
def test_a_launch_file_starts_what_letvins_up_starts(given: dict[str, Any], launching: Launching) -> None:
    texts = {name: str(value).lower() if isinstance(value, bool) else str(value) for name, value in given.items()}
    started = nodes(launching(ROOT / "launch" / "letvins.launch.py", **texts)[1])
    expected = programs(System(**given))
    assert list(started) == [program.executable for program in expected]
    for program in expected:
        node = started[program.executable]
        assert node["parameters"] == [program.parameters]
        assert tuple(node["remappings"]) == program.remaps
        assert node["namespace"] == program.namespace


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"loop": "ture"}, "loop must be true or false, got 'ture'"),
        ({"rate": "fast"}, "rate must be a number above 0, got 'fast'"),
        ({"rate": "-1"}, "rate must be a number above 0, got '-1'"),
        ({"config": "/nowhere/my.yaml"}, "config: there is no /nowhere/my.yaml"),
        ({"rviz": "true"}, "rviz is true, but rviz2 is not installed"),
    ],
    ids=str,
)
def test_an_argument_that_cannot_be_used_is_named_before_anything_starts(
    given: dict[str, str], message: str, launching: Launching
) -> None:
    with pytest.raises(ValueError, match=message):
        launching(ROOT / "launch" / "letvins.launch.py", **given)


@pytest.mark.parametrize(
    ("given", "prefix", "fixed"),
    [
        ({}, "", "map"),
        ({"namespace": "drone"}, "drone/", "map"),
        ({"namespace": "/drone", "use_sim_time": "true"}, "drone/", "map"),
        ({"loop": "false"}, "", "odom"),  # where nobody publishes map
        ({"namespace": "drone", "loop": "false"}, "drone/", "odom"),
    ],
)
@pytest.mark.usefixtures("rviz2")
def test_rviz_is_started_in_the_namespace_with_its_frames_and_time(
    given: dict[str, str], prefix: str, fixed: str, launching: Launching, monkeypatch: pytest.MonkeyPatch
) -> None:
    removed = list[tuple[Callable[[str], None], str]]()
    monkeypatch.setattr("atexit.register", lambda remove, folder, **_: removed.append((remove, folder)))
    _, actions = launching(ROOT / "launch" / "letvins.launch.py", config=EUROC, rviz="true", **given)
    started = nodes(actions)["rviz2"]
    option, file = started["arguments"]
    shown = yaml.safe_load(Path(file).read_text())["Visualization Manager"]
    assert (option, started["namespace"]) == ("-d", given.get("namespace", ""))
    assert started["exec_name"] == "rviz2"  # what the log calls it, rather than its prefix
    assert started["parameters"] == [{"use_sim_time": "use_sim_time" in given}]
    assert shown["Global Options"]["Fixed Frame"] == f"{prefix}{fixed}"
    assert shown["Views"]["Current"]["Target Frame"] == f"{prefix}base_link"
    assert shown["Displays"][0]["Reference Frame"] == "<Fixed Frame>"
    assert len(removed) == bool(given)
    for remove, folder in removed:
        remove(folder)
        assert not Path(file).exists()


def watch_of(actions: list[Any], name: str) -> tuple[Any, Any]:
    """What hears the end of a process, and what hears its stderr."""
    node = nodes(actions)[name]
    handlers = [action.arguments[0].keywords for action in actions if action.kind == "RegisterEventHandler"]
    return node["on_exit"], next(h["on_stderr"] for h in handlers if h["target_action"].keywords is node)


def player_of(actions: list[Any]) -> dict[str, Any]:
    started = [action.keywords for action in actions if action.kind in ("Node", "ExecuteProcess")]
    (player,) = [process for process in started if process.get("name") in ("dataset_player", "bag_player")]
    return dict(player)


def ended(code: int) -> SimpleNamespace:
    return types.SimpleNamespace(returncode=code)


RUNNING, STOPPING = types.SimpleNamespace(is_shutdown=False), types.SimpleNamespace(is_shutdown=True)


def test_a_node_that_fails_ends_the_launch_with_its_reason(launching: Launching) -> None:
    on_exit, on_stderr = watch_of(launching(ROOT / "launch" / "letvins.launch.py")[1], "vio")
    on_stderr(types.SimpleNamespace(text=b"something\nerror: unknown key a.b\n"))
    with pytest.raises(RuntimeError, match=r"vio ended with exit code 1, the others are stopped; error: unknown key"):
        on_exit(ended(1), RUNNING)
    with pytest.raises(RuntimeError, match="vio ended with SIGKILL"):
        on_exit(ended(-9), RUNNING)
    assert on_exit(ended(1), STOPPING) == []


def test_a_killed_node_is_started_again_some_times_where_that_is_wanted(launching: Launching) -> None:
    actions = launching(ROOT / "launch" / "letvins.launch.py", respawn="true")[1]
    vio, on_exit = nodes(actions)["vio"], watch_of(actions, "vio")[0]
    assert vio["respawn"]
    assert vio["respawn_delay"] > 0
    for _ in range(vio["respawn_max_retries"]):
        assert "ended by SIGKILL and starts again" in on_exit(ended(-9), RUNNING)[0].keywords["msg"]
    with pytest.raises(RuntimeError, match="vio ended with SIGKILL"):
        on_exit(ended(-9), RUNNING)


@pytest.mark.parametrize("name", ["dataset", "bag"])
def test_the_end_of_the_recording_ends_the_launch(name: str, launching: Launching) -> None:
    actions = launching(ROOT / "launch" / "letvins.launch.py", respawn="true", **{name: str(ROOT)})[1]
    player = player_of(actions)
    assert not player.get("respawn")
    (later,) = player["on_exit"](ended(0), RUNNING)
    (event,) = later.keywords["actions"]
    assert later.keywords["period"] > 0  # for what the nodes still have to do
    assert event.keywords["event"].kind == "Shutdown"
    assert watch_of(actions, "vio")[0](ended(0), RUNNING) == []


@pytest.mark.parametrize("name", ["dataset", "bag"])
@pytest.mark.usefixtures("rviz2")
def test_rviz_stays_open_when_the_recording_ends(name: str, launching: Launching) -> None:
    player = player_of(launching(ROOT / "launch" / "letvins.launch.py", rviz="true", **{name: str(ROOT)})[1])
    (message,) = player["on_exit"](ended(0), RUNNING)
    assert message.kind == "LogInfo" and "Ctrl-C" in message.keywords["msg"]
    with pytest.raises(RuntimeError, match="ended with exit code 1"):
        player["on_exit"](ended(1), RUNNING)


@pytest.mark.parametrize("repeat", ["false", "true"])
def test_a_bag_is_played_again_and_again_where_that_is_wanted(repeat: str, launching: Launching) -> None:
    actions = launching(ROOT / "launch" / "letvins.launch.py", bag=EUROC, repeat=repeat)[1]
    (command,) = [action.keywords["cmd"] for action in actions if action.kind == "ExecuteProcess"]
    assert command[:4] == ["ros2", "bag", "play", EUROC]
    assert ("--loop" in command) == (repeat == "true")


@pytest.mark.usefixtures("rviz2")
def test_all_that_is_started_ends_with_the_launch(launching: Launching) -> None:
    given = {"config": EUROC, "bag": EUROC, "rviz": "true", "autopilot": "px4"}
    started = launching(ROOT / "launch" / "letvins.launch.py", **given)[1]
    (bag,) = [action.keywords for action in started if action.kind == "ExecuteProcess"]
    rviz = nodes(started)["rviz2"]
    tied = "setpriv --pdeathsig TERM" if which("setpriv") else None
    assert (bag["prefix"], rviz["prefix"]) == (tied, tied)
    ours = {name: node for name, node in nodes(started).items() if name != "rviz2"}
    assert set(ours) == {"feature_tracker", "vio", "loop_closure", "autopilot"}
    assert all(node["additional_env"] == {PARENT: str(os.getpid())} for node in ours.values())
    prefixed = nodes(launching(ROOT / "launch" / "letvins.launch.py", **{"launch-prefix": "gdb"})[1])
    assert all(node["additional_env"] == {} for node in prefixed.values())  # gdb is the parent


@needs_launch
@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGKILL])
def test_nodes_of_ros2_launch_end_with_it(sign: signal.Signals) -> None:
    command = ["ros2", "launch", str(ROOT / "launch" / "euroc_stereo_imu.launch.py")]
    env = os.environ | {"ROS_DOMAIN_ID": str(own_domain()), "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"}
    launched = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait(lambda: len(children(launched.pid)) == 3, 60)
        started = children(launched.pid)
    finally:
        launched.send_signal(sign)
        launched.wait(timeout=20)
    wait(lambda: not any(Path(f"/proc/{pid}/cmdline").exists() for pid in started), 20)


@needs_launch
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_ros2_launch_shows_every_argument(path: Path) -> None:
    shown = ros2_launch(path, "--show-args")
    assert shown.returncode == 0, shown.stderr
    assert all(f"'{f.name}':" in shown.stdout for f in fields(System))


@needs_launch
@pytest.mark.parametrize("given", ["loop:=ture", "rate:=fast", "rviz:=true"])
def test_ros2_launch_names_what_cannot_be_used_and_starts_nothing(given: str) -> None:
    ran = ros2_launch(ROOT / "launch" / "euroc_stereo_imu.launch.py", given)
    assert ran.returncode == 1
    assert given.partition(":=")[0] in ran.stdout + ran.stderr
    assert "process started" not in ran.stdout + ran.stderr
    assert "Traceback" not in ran.stdout + ran.stderr


def ros2_launch(path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = ["ros2", "launch", str(path), *arguments]
    return subprocess.run(command, check=False, capture_output=True, text=True, env=os.environ, timeout=120)
