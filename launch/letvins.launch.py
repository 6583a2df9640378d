# SPDX-License-Identifier: Apache-2.0
"""The whole system on any camera: ros2 launch letvins_ros letvins.launch.py config:=my.yaml.

`ros2` runs in the system's Python, which has none of the nodes' dependencies: nothing but launch and launch_ros is
imported here, and the nodes resolve configuration and calibration themselves. `letvins up` does the same without it.
"""

import atexit
import os
import re
import shutil
import signal
import tempfile
from pathlib import Path
from typing import Any

from launch import LaunchContext, LaunchDescription
from launch.actions import (
    DeclareLaunchArgument,
    EmitEvent,
    ExecuteProcess,
    LogInfo,
    OpaqueFunction,
    RegisterEventHandler,
    SetEnvironmentVariable,
    TimerAction,
)  # fmt: skip
from launch.event_handlers import OnProcessIO
from launch.events import Shutdown
from launch.substitutions import SubstitutionFailure
from launch_ros.actions import Node
from launch_ros.substitutions import ExecutableInPackage

CONFIG = Path(__file__).parents[1] / "config"  # in the repository and in share/letvins_ros alike
PROFILE = "FASTRTPS_DEFAULT_PROFILES_FILE"
# after SIGTERM `ros2 launch` leaves all that it has started running
PARENT = "LETVINS_PARENT"  # names for a node the process with which it is to end
ENDS_WITH_US = "setpriv --pdeathsig TERM" if shutil.which("setpriv") else None  # prefix of other programs that are to
RESPAWN_DELAY_S, RESPAWNS = 0.1, 10
PLAYERS = ("dataset_player", "ros2 bag play")
SETTLE_S = 1.5  # what the nodes still publish when the recording has ended
TEXTS = {
    "config": ("", "configuration (yaml) with the calibration; of a dataset's own where empty"),
    "dataset": ("", "recording to play: folder or bag, as for `letvins run`"),
    "bag": ("", "ROS 2 bag to play with `ros2 bag play`"),
    "load_map": ("", "map file to start with; map->odom comes once the place is recognised, or given by /initialpose"),
    "save_map": ("", "file to write the map to at the end"),
    "autopilot": ("", "pass odometry on to an autopilot: px4 or mavros"),
    "tracker": ("", "lk, letnet2, kp2dtiny, kp2d or superpoint instead of the configuration's"),
    "backend": ("", "what runs the network instead of the configuration's: openvino, torch, tensorrt"),
    "namespace": ("", "namespace of nodes and topics, and prefix of the frames"),
    "cam0_topic": ("cam0/image_raw", "topic of the left images"),
    "cam1_topic": ("cam1/image_raw", "topic of the right images"),
    "cam2_topic": ("cam2/image_raw", "topic of the third camera's images"),
    "cam3_topic": ("cam3/image_raw", "topic of the fourth camera's images"),
    "imu_topic": ("imu", "topic of the IMU"),
    "wheel_topic": ("wheel", "topic of the wheels' speed, where ros.wheel says that there is one"),
    "gnss_topic": ("gnss", "topic of the GNSS fixes, where loop.gnss takes them into the map"),
}
SWITCHES = {
    "repeat": (False, "play the dataset or bag again and again"),
    "localise": (False, "only localise in the map, add nothing to it"),
    "loop": (True, "start loop_closure, which publishes map->odom"),
    "use_sim_time": (False, "take the time from /clock"),
    "fastdds": (True, "use config/fastdds.xml, for processes of one machine"),
    "autostart": (True, "nodes configure and activate themselves"),
    "rviz": (False, "open RViz with config/letvins.rviz"),
    "respawn": (False, f"start a node that was killed again, {RESPAWNS} times at most"),
}
NUMBERS = {"rate": (1.0, "speed of playing")}


def generate_launch_description() -> LaunchDescription:
    arguments = {name: (str(default).lower(), meaning) for name, (default, meaning) in (SWITCHES | NUMBERS).items()}
    declared = [
        DeclareLaunchArgument(name, default_value=default, description=meaning)
        for name, (default, meaning) in (TEXTS | arguments).items()
    ]
    return LaunchDescription([*declared, OpaqueFunction(function=_start)])


def _start(context: LaunchContext) -> list[Any]:
    """All processes; an error that names the argument before any of them starts."""
    given = _given(context.launch_configurations)
    prefixed = "launch-prefix" in context.launch_configurations  # a debugger is then the nodes' parent
    given["parent"] = {} if prefixed else {PARENT: str(os.getpid())}
    rviz = [_rviz(context, given)] if given["rviz"] else []
    actions: list[Any] = []
    if given["fastdds"] and PROFILE not in os.environ:
        actions.append(SetEnvironmentVariable(PROFILE, str(CONFIG / "fastdds.xml")))
    for name in ["feature_tracker", "vio"] + ["loop_closure"] * given["loop"]:
        actions += _node(name, given, _parameters(given))
    if given["autopilot"]:
        actions += _node("autopilot", given, _parameters(given) | {"autopilot.kind": given["autopilot"]})
    if given["dataset"]:
        actions += _node("dataset_player", given, _parameters(given) | _player(given))
    if given["bag"]:
        command = ["ros2", "bag", "play", given["bag"], "--rate", str(given["rate"]), "--clock", "--delay", "1"]
        command += ["--loop"] * given["repeat"]
        watch = _Watch("ros2 bag play", stays=given["rviz"])
        play = ExecuteProcess(
            cmd=command, name="bag_player", output="screen", prefix=ENDS_WITH_US, on_exit=watch.ended
        )  # fmt: skip
        actions += watch.over(play)
    return actions + rviz


def _given(texts: dict[str, str]) -> dict[str, Any]:
    """The arguments in their own types; ValueError that names one whose value cannot be used."""
    given: dict[str, Any] = {name: texts[name] for name in TEXTS}
    for name in SWITCHES:
        word = texts[name].strip().lower()
        if word not in ("true", "false", "1", "0", "yes", "no"):
            raise ValueError(f"{name} must be true or false, got {texts[name]!r}")
        given[name] = word in ("true", "1", "yes")
    for name in NUMBERS:
        try:
            given[name] = float(texts[name])
        except ValueError:
            given[name] = float("nan")
        if not 0 < given[name] < float("inf"):
            raise ValueError(f"{name} must be a number above 0, got {texts[name]!r}")
    given["save_map"] = given["save_map"] and str(Path(given["save_map"]).expanduser().absolute())
    for name in ("config", "dataset", "bag", "load_map"):
        if given[name]:
            given[name] = str(Path(given[name]).expanduser().absolute())
            if not Path(given[name]).exists():
                raise ValueError(f"{name}: there is no {given[name]}")
    return given


def _parameters(given: dict[str, Any]) -> dict[str, Any]:
    """What all nodes get; each reads the configuration, and takes the data's calibration where that has none."""
    texts = {
        "config": given["config"], "player.source": given["dataset"], "tracker.method": given["tracker"],
        "tracker.backend": given["backend"], "loop.load_map": given["load_map"], "loop.save_map": given["save_map"],
        "loop.mode": "localise" if given["localise"] else "",
        "loop.describer": "" if given["loop"] else "orb",  # with which the tracker describes no places
    }  # fmt: skip
    chosen = {name: text for name, text in texts.items() if text}
    return {"use_sim_time": given["use_sim_time"], "autostart": given["autostart"], **chosen}


def _player(given: dict[str, Any]) -> dict[str, Any]:
    clock = given["use_sim_time"] or not given["namespace"]  # two players would both set the time
    play = {"player.rate": given["rate"], "player.loop": given["repeat"], "player.clock": clock, "player.listeners": 0}
    return {"use_sim_time": False, **play}


def _node(name: str, given: dict[str, Any], parameters: dict[str, Any]) -> list[Any]:
    topics = {f"cam{i}/image_raw": given[f"cam{i}_topic"] for i in range(4)} | {"imu": given["imu_topic"]}
    topics |= {"wheel": given["wheel_topic"], "gnss": given["gnss_topic"]}
    again = given["respawn"] and name != "dataset_player"
    watch = _Watch(name, RESPAWNS if again else 0, stays=given["rviz"])
    node = Node(
        package="letvins_ros",
        executable=name,
        name=name,
        namespace=given["namespace"],
        parameters=[parameters],
        remappings=[(ours, topic) for ours, topic in topics.items() if ours != topic],
        output="screen",
        additional_env=given["parent"],
        respawn=again,
        respawn_delay=RESPAWN_DELAY_S,
        respawn_max_retries=RESPAWNS,
        on_exit=watch.ended,
    )
    return watch.over(node)


class _Watch:
    """Keeps the last line that a process wrote to stderr, and ends everything with it when the process fails."""

    def __init__(self, name: str, respawns: int = 0, *, stays: bool = False) -> None:
        """respawns: how often the process is started again after a signal has ended it.

        stays: whether the rest stays when the recording has ended, as somebody looks at it.
        """
        self._name, self._respawns, self._stays, self._last = name, respawns, stays, ""

    def over(self, process: Any) -> list[Any]:
        """The actions that start the process under this watch."""
        return [RegisterEventHandler(OnProcessIO(target_action=process, on_stderr=self._said)), process]

    def _said(self, event: Any) -> None:
        lines = event.text.decode(errors="replace").split("\n")
        self._last = next((line.strip() for line in reversed(lines) if line.strip()), self._last)

    def ended(self, event: Any, context: LaunchContext) -> list[Any]:
        """What follows; RuntimeError, the one way to an exit code of `ros2 launch`, where the process has failed."""
        code = event.returncode
        if context.is_shutdown or (code == 0 and self._name not in PLAYERS):
            return []
        if code == 0 and self._stays:
            return [LogInfo(msg="the recording has ended; Ctrl-C ends RViz and the nodes")]
        if code == 0:
            end = EmitEvent(event=Shutdown(reason="the recording has ended"))
            return [TimerAction(period=SETTLE_S, actions=[end])]
        how = f"exit code {code}" if code > 0 else signal.Signals(-code).name
        if code < 0 < self._respawns:
            self._respawns -= 1
            return [LogInfo(msg=f"{self._name} was ended by {how} and starts again")]
        raise RuntimeError(f"{self._name} ended with {how}, the others are stopped; {self._last}")


def _rviz(context: LaunchContext, given: dict[str, Any]) -> Node:
    try:
        ExecutableInPackage(package="rviz2", executable="rviz2").perform(context)
    except (LookupError, SubstitutionFailure):
        raise ValueError("rviz is true, but rviz2 is not installed: sudo apt install ros-$ROS_DISTRO-rviz2") from None
    namespace = given["namespace"]
    return Node(
        package="rviz2", executable="rviz2", exec_name="rviz2", namespace=namespace, prefix=ENDS_WITH_US,
        arguments=["-d", _rviz_file(namespace.strip("/"), loop=given["loop"])],
        parameters=[{"use_sim_time": given["use_sim_time"]}],  # else RViz knows nothing of a bag that begins again
    )  # fmt: skip


def _rviz_file(prefix: str, *, loop: bool) -> str:
    """config/letvins.rviz; with a prefix, or where nobody publishes map, a copy for as long as the launch lasts."""
    file = CONFIG / "letvins.rviz"
    if not prefix and loop:
        return str(file)
    folder = tempfile.mkdtemp(prefix="letvins_")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    copy = Path(folder) / file.name
    text = file.read_text() if loop else file.read_text().replace("Fixed Frame: map", "Fixed Frame: odom")
    copy.write_text(re.sub(r"( Frame: )(?=\w)", rf"\1{prefix}/", text) if prefix else text)
    return str(copy)
