# SPDX-License-Identifier: Apache-2.0
"""ROS parameters made from the configuration's tree: the same names, meanings, bounds and errors."""

from array import array
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor, SetParametersResult
from rclpy.node import Node

from letvins_ros.config import Config
from letvins_ros.config_io import config_from_flat
from letvins_ros.config_params import Parameter, parameters
from letvins_ros.errors import ConfigError

OF_ROS = ("use_sim_time", "start_type_description_service", "autostart")  # and qos_overrides.*
DYNAMIC = (  # may change while the nodes run
    "tracker.max_features", "tracker.min_distance_px", "tracker.quality", "tracker.forward_backward_px",
    "tracker.stereo_epipolar_px", "tracker.ransac_px", "tracker.max_age_frames", "tracker.gyro_prediction",
    "ros.publish_odom_tf", "ros.publish_map_tf", "ros.publish_path", "ros.publish_points",
)  # fmt: skip


def declare_config(node: Node, on_change: Callable[[Config], None]) -> Config:
    """Declare every parameter and return the configuration that was given to the node.

    on_change hears the whole new configuration when a dynamic parameter is set. Raises ConfigError with the names of
    all keys that do not exist or break their rule.
    """
    given = {name: _plain(parameter.value) for name, parameter in node._parameter_overrides.items()}
    ours = {name: v for name, v in given.items() if name not in OF_ROS and not name.startswith("qos_overrides.")}
    config = config_from_flat(ours)
    known = parameters(Config)
    for name, parameter in known.items():
        node.declare_parameter(name, value_of(config, name), _descriptor(parameter), ignore_override=True)
    node.declare_parameter("autostart", given.get("autostart", True), ParameterDescriptor(
        description="configure and activate at the start, without a lifecycle manager", read_only=True))  # fmt: skip
    for name, value in ours.items():
        if name not in known and value not in ("", []) and f"{name}.method" not in known:
            text = "calibration of the sensors, see config/default.yaml"
            node.declare_parameter(name, value, ParameterDescriptor(description=text, read_only=True), True)
    current = [config]

    def check(changed: list[Any]) -> SetParametersResult:
        try:
            new = changed_config(current[0], {p.name: p.value for p in changed if p.name in known})
        except ConfigError as error:
            return SetParametersResult(successful=False, reason=str(error))
        current[0] = new
        on_change(new)
        return SetParametersResult(successful=True)

    node.add_on_set_parameters_callback(check)
    return config


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
