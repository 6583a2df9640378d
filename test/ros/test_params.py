# SPDX-License-Identifier: Apache-2.0
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import rclpy
from rclpy.context import Context
from rclpy.node import Node
from rclpy.parameter import Parameter

from letvins_ros.config import Config
from letvins_ros.config_params import parameters
from letvins_ros.errors import ConfigError
from letvins_ros.ros.params import DYNAMIC, changed_config, declare_config, value_of

from ..some import some

Make = Callable[..., tuple[Node, Config, list[Config]]]

CAMERA = {
    "camera0.model": "pinhole-radtan", "camera0.width": 752, "camera0.height": 480,
    "camera0.intrinsics": [450.0, 450.0, 376.0, 240.0],
    "camera0.T_body_cam": [1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0],
}  # fmt: skip


@pytest.fixture
def node() -> Iterator[Make]:
    """Makes a node with these parameters; gives it, its configuration, and what it hears of changes."""
    context, made = Context(), []
    rclpy.init(context=context)

    def make(**given: Any) -> tuple[Node, Config, list[Config]]:
        overrides = [Parameter(name, value=value) for name, value in given.items()]
        node = Node("under_test", context=context, parameter_overrides=overrides, use_global_arguments=False)
        made.append(node)
        heard = []
        config = declare_config(node, lambda values: heard.append(changed_config(config, values)), needs_rig=False)
        return node, config, heard

    yield make
    for one in made:
        one.destroy_node()
    context.try_shutdown()


def test_every_key_is_declared_with_meaning_and_bounds(node: Make) -> None:
    made, config, _ = node()
    assert config == Config()
    for name, parameter in parameters(Config).items():
        descriptor = made.describe_parameter(name)
        assert made.get_parameter(name).value == parameter.default, name
        assert parameter.meaning in descriptor.description, name
        assert descriptor.additional_constraints == parameter.rule, name
        assert descriptor.read_only == (name not in DYNAMIC), name
        if parameter.kind is float and parameter.high is not None:
            assert descriptor.floating_point_range[0].to_value == parameter.high, name


def test_what_is_given_becomes_the_configuration(node: Make) -> None:
    _, config, _ = node(**{"tracker.max_features": 99, "tracker.min_distance_px": 10, "autostart": False, **CAMERA})
    assert config.tracker.max_features == 99
    assert config.tracker.min_distance_px == 10.0  # an integer stands for the number
    assert some(config.rig).cameras[0].camera.width == 752


def test_the_short_form_of_a_method_works_here_too(node: Make) -> None:
    made, config, _ = node(tracker="letnet2")
    assert config.tracker.method == "letnet2"
    assert made.get_parameter("tracker.method").value == "letnet2"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"tracker.max_feature": 99}, "unknown key tracker.max_feature; known: max_features"),
        ({"tracker.max_features": 5}, "tracker.max_features must be an integer from 10 to 2000, got 5"),
        ({"ros.publish_path": "yes"}, "ros.publish_path must be true or false, got 'yes'"),
        ({"speed": 1.0}, "unknown key speed"),
    ],
)
def test_what_cannot_be_used_stops_the_node_and_is_named(node: Make, given: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        node(**given)


def test_dynamic_parameters_change_and_the_others_do_not(node: Make) -> None:
    made, _, heard = node()
    (result,) = made.set_parameters([Parameter("tracker.max_features", value=80)])
    assert result.successful
    assert heard[-1].tracker.max_features == 80
    (result,) = made.set_parameters([Parameter("tracker.max_features", value=5)])
    assert not result.successful
    (result,) = made.set_parameters([Parameter("estimator.window_keyframes", value=9)])
    assert not result.successful
    assert heard[-1].estimator == Config().estimator
    assert made.get_parameter("tracker.max_features").value == 80


def test_dynamic_keys_exist() -> None:
    assert set(DYNAMIC) <= set(parameters(Config))


def test_a_changed_configuration_keeps_the_rest() -> None:
    config = changed_config(Config(), {"tracker.quality": 0.1, "seed": 3})
    assert (value_of(config, "tracker.quality"), config.seed) == (0.1, 3)
    assert config.estimator == Config().estimator
