# SPDX-License-Identifier: Apache-2.0
"""The configuration of a node from its parameters; needs no ROS, so that `letvins up` finds errors before it starts."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from letvins_ros.config import Config, RosConfig
from letvins_ros.config_io import load_config
from letvins_ros.datasets import open_dataset
from letvins_ros.sensors import fit_to_data

FILE = "config"  # the parameter that names a configuration file
OF_ROS = (
    "use_sim_time",
    "start_type_description_service",
    "autostart",
)  # parameters beside ours, as are qos_overrides.*
FRAMES = ("map_frame", "odom_frame", "base_frame")


def resolve(given: Mapping[str, Any], namespace: str = "", *, needs_rig: bool = True) -> Config:
    """The configuration that a node's parameters, by dotted name, stand for.

    The file that `config` names comes first, the other parameters change it. A calibration that is not among them is
    that of the recording `player.source`. Frames that keep their usual names get the namespace as prefix, because
    /tf is one for all. Raises LetvinsError where a parameter cannot be used.
    """
    values = {n: v for n, v in given.items() if n not in (FILE, *OF_ROS) and not n.startswith("qos_overrides.")}
    file = str(given.get(FILE) or "")
    config = load_config(Path(file) if file else None, values=values)
    if config.rig is None and needs_rig and config.player.source:
        config, rig = fit_to_data(config, open_dataset(Path(config.player.source), inputs=config.input))
        config = replace(config, rig=rig)
    return _prefixed(config, namespace.strip("/"))


def _prefixed(config: Config, prefix: str) -> Config:
    usual = RosConfig()
    names: dict[str, Any] = {
        name: f"{prefix}/{getattr(usual, name)}"
        for name in FRAMES
        if prefix and getattr(config.ros, name) == getattr(usual, name)
    }
    return replace(config, ros=replace(config.ros, **names))
