# SPDX-License-Identifier: Apache-2.0
"""The whole system as a list of programs: what `letvins up` starts; needs no ROS."""

import os
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from letvins_ros.errors import LetvinsError

PROFILE = "FASTRTPS_DEFAULT_PROFILES_FILE"


def _argument(default: Any, meaning: str) -> Any:
    return field(default=default, metadata={"meaning": meaning})


@dataclass(frozen=True)
class System:
    """The arguments of the launch files and of `letvins up`."""

    config: str = _argument("", "configuration (yaml) with the calibration; of a dataset's own where empty")
    dataset: str = _argument("", "recording to play: folder or bag, as for `letvins run`")
    bag: str = _argument("", "ROS 2 bag to play with `ros2 bag play`")
    autopilot: str = _argument("", "pass odometry on to an autopilot: px4 or mavros")
    rate: float = _argument(1.0, "speed of playing")
    repeat: bool = _argument(False, "play the dataset or bag again and again")
    load_map: str = _argument(
        "", "map file to start with; map->odom comes once the place is recognised, or given by /initialpose"
    )
    save_map: str = _argument("", "file to write the map to at the end")
    tracker: str = _argument("", "lk, letnet2, kp2dtiny, kp2d or superpoint instead of the configuration's")
    backend: str = _argument("", "what runs the network instead of the configuration's: openvino, torch, tensorrt")
    localise: bool = _argument(False, "only localise in the map, add nothing to it")
    loop: bool = _argument(True, "start loop_closure, which publishes map->odom")
    use_sim_time: bool = _argument(False, "take the time from /clock")
    namespace: str = _argument("", "namespace of nodes and topics, and prefix of the frames")
    cam0_topic: str = _argument("cam0/image_raw", "topic of the left images")
    cam1_topic: str = _argument("cam1/image_raw", "topic of the right images")
    cam2_topic: str = _argument("cam2/image_raw", "topic of the third camera's images")
    cam3_topic: str = _argument("cam3/image_raw", "topic of the fourth camera's images")
    imu_topic: str = _argument("imu", "topic of the IMU")
    wheel_topic: str = _argument("wheel", "topic of the wheels' speed, where ros.wheel says that there is one")
    gnss_topic: str = _argument("gnss", "topic of the GNSS fixes, where loop.gnss takes them into the map")
    fastdds: bool = _argument(True, "use config/fastdds.xml, for processes of one machine")
    autostart: bool = _argument(True, "nodes configure and activate themselves")


@dataclass(frozen=True)
class Program:
    """A node to start."""

    executable: str  # also the node's name
    namespace: str
    parameters: dict[str, Any]
    remaps: tuple[tuple[str, str], ...]

    def arguments(self) -> list[str]:
        """What follows the executable on its command line."""
        out = ["--ros-args"]
        out += ["-r", f"__ns:=/{self.namespace.strip('/')}"] if self.namespace.strip("/") else []
        for name, value in self.parameters.items():
            out += ["-p", f"{name}:={str(value).lower() if isinstance(value, bool) else value}"]
        for name, topic in self.remaps:
            out += ["-r", f"{name}:={topic}"]
        return out


def programs(system: System) -> list[Program]:
    """The nodes to start, as launch/letvins.launch.py does; each of them resolves its configuration itself."""
    texts = {
        "config": _absolute(system.config), "player.source": _absolute(system.dataset),
        "tracker.method": system.tracker, "tracker.backend": system.backend,
        "loop.load_map": _absolute(system.load_map), "loop.save_map": _absolute(system.save_map),
        "loop.mode": "localise" if system.localise else "",
        "loop.describer": "" if system.loop else "orb",  # with which the tracker describes no places
    }  # fmt: skip
    parameters: dict[str, Any] = {"use_sim_time": system.use_sim_time, "autostart": system.autostart}
    parameters |= {name: text for name, text in texts.items() if text}
    given = (system.cam0_topic, system.cam1_topic, system.cam2_topic, system.cam3_topic)
    topics = {f"cam{i}/image_raw": topic for i, topic in enumerate(given)} | {"imu": system.imu_topic}
    topics |= {"wheel": system.wheel_topic, "gnss": system.gnss_topic}
    remaps = tuple((ours, topic) for ours, topic in topics.items() if ours != topic)
    names = ["feature_tracker", "vio"] + ["loop_closure"] * system.loop
    started = [Program(name, system.namespace, parameters, remaps) for name in names]
    if system.autopilot:
        chosen = {**parameters, "autopilot.kind": system.autopilot}
        started.append(Program("autopilot", system.namespace, chosen, remaps))
    if system.dataset:
        clock = system.use_sim_time or not system.namespace  # two players would both set the time
        play: dict[str, Any] = {"player.rate": float(system.rate), "player.loop": system.repeat, "player.clock": clock,
                "player.listeners": 0}  # fmt: skip
        play = {**parameters, "use_sim_time": False, **play}
        started.append(Program("dataset_player", system.namespace, play, remaps))
    return started


def _absolute(path: str) -> str:
    return str(Path(path).expanduser().absolute()) if path else ""


def shared(name: str) -> Path:
    """A file or folder of config/ or msg/, in the repository or in the installed package."""
    package = Path(__file__).resolve().parents[1]
    places = [package.parent / name]
    places += [
        Path(prefix) / "share" / "letvins_ros" / name for prefix in os.environ.get("AMENT_PREFIX_PATH", "").split(":")
    ]
    for place in places:
        if place.exists():
            return place
    raise LetvinsError(f"{name} is not installed: build the ROS 2 package (make build)")


def environment(fastdds: bool) -> dict[str, str]:
    """The environment of the nodes: that of this process, with a built workspace and the Fast DDS profile added.

    Raises LetvinsError where ROS or the messages are missing.
    """
    env = dict(os.environ)
    if find_spec("rclpy") is None:
        raise LetvinsError(
            "rclpy is not installed: source /opt/ros/<distribution>/setup.bash, or make build for the wheels"
        )
    if find_spec("letvins_ros.msg") is None:
        _add_workspace(env)
    if fastdds:
        env.setdefault(PROFILE, str(shared("config/fastdds.xml")))
    return env


def _add_workspace(env: dict[str, str]) -> None:
    """What sourcing install/setup.bash beside the package does."""
    import sys

    root = Path(__file__).resolve().parents[2]
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    prefixes = [path for name in ("letvins_ros", "tf2_msgs") if (path := root / "install" / name).is_dir()]
    if not prefixes:
        raise LetvinsError("the messages of letvins_ros are not built: run make build, or source the workspace")
    for name, tail in (
        ("AMENT_PREFIX_PATH", ""),
        ("LD_LIBRARY_PATH", "lib"),
        ("PYTHONPATH", f"lib/{version}/site-packages"),
    ):
        found = [str(prefix / tail) if tail else str(prefix) for prefix in prefixes]
        before = [str(root)] if name == "PYTHONPATH" else []
        after = [sys.prefix] if name == "AMENT_PREFIX_PATH" and "ROS_DISTRO" not in env else []
        env[name] = ":".join([*before, *found, *filter(None, [env.get(name, "")]), *after])
