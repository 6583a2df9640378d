# SPDX-License-Identifier: Apache-2.0
"""ROS parameters made from the configuration's tree: the same names, meanings, bounds and errors."""

from array import array
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor, SetParametersResult
from rclpy.node import Node

from letvins_ros.calibration import rig_to_dict
from letvins_ros.config import Config
from letvins_ros.config_params import Parameter, parameters
from letvins_ros.errors import LetvinsError
from letvins_ros.ros.resolve import FILE, resolve

DYNAMIC = (  # may change while the nodes run
    "tracker.max_features", "tracker.min_distance_px", "tracker.quality", "tracker.forward_backward_px",
    "tracker.stereo_epipolar_px", "tracker.ransac_px", "tracker.max_age_frames", "tracker.gyro_prediction",
    "loop.mode", "loop.load_map", "loop.save_map",
    "ros.publish_odom_tf", "ros.publish_map_tf", "ros.publish_path", "ros.publish_points",
)  # fmt: skip


def declare_config(node: Node, on_change: Callable[[Mapping[str, Any]], None], *, needs_rig: bool = True) -> Config:
    """Declare every parameter and return the configuration that they stand for, see resolve.

    on_change gets the new values by dotted name when dynamic parameters are set; a LetvinsError from it refuses them.
    Raises LetvinsError, with the names of all keys that do not exist or break their rule.
    """
    given = {name: _plain(parameter.value) for name, parameter in node._parameter_overrides.items()}
    config = resolve(given, node.get_namespace(), needs_rig=needs_rig)
    known = parameters(Config)
    for name, parameter in known.items():
        node.declare_parameter(name, value_of(config, name), _descriptor(parameter), ignore_override=True)
    _declare_fixed(
        node,
        "autostart",
        given.get("autostart", True),
        "configure and activate at the start, without a lifecycle manager",
    )
    _declare_fixed(node, FILE, str(given.get(FILE) or ""), "configuration file, which the other parameters change")
    declare_calibration(node, config)

    def check(changed: list[Any]) -> SetParametersResult:
        values = {parameter.name: parameter.value for parameter in changed if parameter.name in known}
        try:
            if values:
                on_change(values)
        except LetvinsError as error:
            return SetParametersResult(successful=False, reason=str(error))
        return SetParametersResult(successful=True)

    node.add_on_set_parameters_callback(check)
    return config


def _declare_fixed(node: Node, name: str, value: Any, meaning: str) -> None:
    node.declare_parameter(name, value, ParameterDescriptor(description=meaning, read_only=True), ignore_override=True)


def declare_calibration(node: Node, config: Config) -> None:
    """Declare the rig, if there is one, by the names of a parameter file."""
    for section, values in (rig_to_dict(config.rig) if config.rig is not None else {}).items():
        for key, value in values.items():
            _declare_fixed(node, f"{section}.{key}", value, "calibration of the sensors, see config/default.yaml")


def changed_config(config: Config, values: Mapping[str, Any]) -> Config:
    """The configuration with other values by dotted name; ConfigError where one breaks its rule."""
    for name, value in values.items():
        section, _, leaf = name.rpartition(".")
        change: dict[str, Any] = {leaf: value}
        if section:
            change = {section: replace(getattr(config, section), **change)}
        config = replace(config, **change)
    return config


def value_of(config: Config, name: str) -> Any:
    """The value of a dotted name."""
    for part in name.split("."):
        config = getattr(config, part)
    return config


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, array | tuple) else value


def _descriptor(parameter: Parameter) -> ParameterDescriptor:
    unit = f" [{parameter.unit}]" if parameter.unit else ""
    descriptor = ParameterDescriptor(
        description=parameter.meaning + unit,
        additional_constraints=parameter.rule,
        read_only=parameter.name not in DYNAMIC,
    )
    low, high = parameter.low, parameter.high
    if parameter.kind is int and low is not None and high is not None:
        descriptor.integer_range = [IntegerRange(from_value=int(low), to_value=int(high), step=0)]
    if parameter.kind is float and low is not None and high is not None:
        descriptor.floating_point_range = [FloatingPointRange(from_value=float(low), to_value=float(high), step=0.0)]
    return descriptor
