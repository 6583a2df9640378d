# SPDX-License-Identifier: Apache-2.0
"""The whole system as a list of programs: one description for `letvins up` and for the launch files; needs no ROS."""

import os
from dataclasses import dataclass, field, fields, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from letvins_ros.config import Config, RosConfig
from letvins_ros.config_io import load_config, to_yaml
from letvins_ros.datasets import open_dataset
from letvins_ros.errors import LetvinsError
from letvins_ros.sensors import fit_to_data
from letvins_ros.writing import write_atomic

PROFILE = "FASTRTPS_DEFAULT_PROFILES_FILE"


def _argument(default: Any, meaning: str) -> Any:
    return field(default=default, metadata={"meaning": meaning})


@dataclass(frozen=True)
class System:
    """The arguments of the launch files and of `letvins up`."""

    config: str = _argument("", "configuration (yaml) with the calibration; of a dataset's own where empty")
    dataset: str = _argument("", "recording to play: folder or bag, as for `letvins run`")
    bag: str = _argument("", "ROS 2 bag to play")
    rate: float = _argument(1.0, "speed of playing")
    repeat: bool = _argument(False, "play the dataset again and again")
    tracker: str = _argument("", "lk or letnet2 instead of the configuration's")
    backend: str = _argument("", "what runs the network instead of the configuration's: openvino, torch, tensorrt")
    loop: bool = _argument(True, "start loop_closure, which publishes map->odom")
    use_sim_time: bool = _argument(False, "take the time from /clock")
    namespace: str = _argument("", "namespace of nodes and topics, and prefix of the frames")
    cam0_topic: str = _argument("cam0/image_raw", "topic of the left images")
    cam1_topic: str = _argument("cam1/image_raw", "topic of the right images")
    imu_topic: str = _argument("imu", "topic of the IMU")
    fastdds: bool = _argument(True, "use config/fastdds.xml, for processes of one machine")
    autostart: bool = _argument(True, "nodes configure and activate themselves")


@dataclass(frozen=True)
class Program:
    """A node to start."""

    executable: str  # also the node's name
    namespace: str
    config: Path  # parameter file
    parameters: dict[str, Any]
    remaps: tuple[tuple[str, str], ...]

    def arguments(self) -> list[str]:
        """What follows the executable on its command line."""
        out = ["--ros-args", "--params-file", str(self.config)]
        out += ["-r", f"__ns:=/{self.namespace.strip('/')}"] if self.namespace.strip("/") else []
        for name, value in self.parameters.items():
            out += ["-p", f"{name}:={str(value).lower() if isinstance(value, bool) else value}"]
        for name, topic in self.remaps:
            out += ["-r", f"{name}:={topic}"]
        return out


def meanings() -> dict[str, str]:
    """What every argument means."""
    return {f.name: f.metadata["meaning"] for f in fields(System)}


def programs(system: System, folder: Path) -> list[Program]:
    """The nodes to start; their parameter file is written into the folder.

    Raises LetvinsError where the configuration or the recording cannot be used.
    """
    config = _config(system)
    file = folder / "letvins.yaml"
    write_atomic(file, to_yaml(config))
    common = {"use_sim_time": system.use_sim_time, "autostart": system.autostart}
    remaps = tuple((name, topic) for name, topic in _topics(system, config) if name != topic)
    names = ["feature_tracker", "vio"] + ["loop_closure"] * system.loop
    started = [Program(name, system.namespace, file, common, remaps) for name in names]
    if system.dataset:
        # two players would both set the time
        clock = system.use_sim_time or not system.namespace
        play = {"player.source": str(Path(system.dataset).resolve()), "player.rate": float(system.rate)}
        turns = config.tracker.gyro_prediction and config.mode != "stereo"  # then the tracker hears the IMU too
        play |= {"player.loop": system.repeat, "player.clock": clock, "player.listeners": 1 + turns}
        started.append(
            Program("dataset_player", system.namespace, file, {**common, "use_sim_time": False, **play}, remaps)
        )
    return started


def _topics(system: System, config: Config) -> list[tuple[str, str]]:
    """The nodes' names of their inputs, and the topics that are meant."""
    tail = "/compressed" if config.ros.compressed else ""
    given = (system.cam0_topic, system.cam1_topic)
    images = [(f"cam{i}/image_raw{tail}", f"{topic.removesuffix(tail)}{tail}") for i, topic in enumerate(given)]
    return [*images, ("imu", system.imu_topic)]


def _config(system: System) -> Config:
    changes = [
        f"tracker.{key}={value}" for key, value in (("method", system.tracker), ("backend", system.backend)) if value
    ]
    config = load_config(Path(system.config) if system.config else None, changes)
    if system.dataset:
        config, rig = fit_to_data(config, open_dataset(Path(system.dataset), config.rig))
        config = replace(config, rig=rig)
    if config.rig is None:
        raise LetvinsError("no calibration: name a configuration that has camera0 (letvins config import makes one)")
    prefix, usual = system.namespace.strip("/"), RosConfig()
    if prefix:  # /tf is one for all: frames of two systems must not have one name
        frames = ("map_frame", "odom_frame", "base_frame")
        same = [name for name in frames if getattr(config.ros, name) == getattr(usual, name)]
        names: dict[str, Any] = {name: f"{prefix}/{getattr(usual, name)}" for name in same}
        config = replace(config, ros=replace(config.ros, **names))
    return config


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
