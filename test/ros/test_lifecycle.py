# SPDX-License-Identifier: Apache-2.0
"""Lifecycle of the nodes: what configure makes, cleanup destroys."""

import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rclpy
from rclpy.context import Context
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.parameter import Parameter
from sensor_msgs.msg import Imu

from letvins_ros.errors import DataError
from letvins_ros.ros import vio
from letvins_ros.ros.convert import imu_to_message
from letvins_ros.ros.dataset_player import SETTLE_S, DatasetPlayerNode
from letvins_ros.ros.feature_tracker import FeatureTrackerNode, nothing_seen
from letvins_ros.ros.imu_inbox import ImuStream
from letvins_ros.ros.loop_closure import LoopClosureNode
from letvins_ros.ros.qos import sensor_qos
from letvins_ros.ros.stats import Stats
from letvins_ros.ros.vio import VioNode
from letvins_ros.types import ImuSamples

from ..domains import own_domain
from ..processes import resident_mb

EUROC = str(Path(__file__).parents[2] / "config" / "euroc" / "stereo_imu.yaml")
KINDS = [FeatureTrackerNode, VioNode, LoopClosureNode, DatasetPlayerNode]
Make = Callable[[Any], Any]  # a kind of node to one of it
OK = TransitionCallbackReturn.SUCCESS
SETTLED = 20  # cycles until the allocator has what it needs
GROWTH_MB = 3.0  # of the other 80: ROS keeps 4 kB of each, without our nodes too, and memory is taken by 2 MB


@pytest.fixture
def make(recording: Path) -> Iterator[Make]:
    """Makes a node of a kind, without autostart, in a domain of its own."""
    context, made = Context(), []
    rclpy.init(context=context, domain_id=own_domain())

    def of(kind: Any) -> Any:
        given = {"config": EUROC, "player.source": str(recording)}
        overrides = [Parameter(name, value=value) for name, value in given.items()]
        made.append(kind(context=context, parameter_overrides=overrides, use_global_arguments=False))
        return made[-1]

    yield of
    for node in made:
        node.silence()
        node.destroy_node()
    context.try_shutdown()


def held(node: Any) -> list[int]:
    """What a node has: numbers of its publishers, services, subscriptions, attributes, and of all threads."""
    made = [len(list(many)) for many in (node.publishers, node.services, node.subscriptions)]
    return [*made, len(vars(node)), threading.active_count()]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_a_hundred_cycles_leave_nothing_behind(kind: Any, make: Make) -> None:
    node, memory = make(kind), []
    for cycle in range(100):
        assert node.trigger_configure() == OK
        assert node.trigger_activate() == OK
        if cycle == 0:
            active = held(node)
        assert held(node) == active, cycle
        assert node.trigger_deactivate() == OK
        assert node.trigger_cleanup() == OK
        if cycle == 0:
            idle = held(node)
        assert held(node) == idle, cycle
        memory.append(resident_mb(os.getpid()))
    assert memory[-1] - memory[SETTLED] < GROWTH_MB
    assert node.trigger_shutdown() == OK


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_cleanup_destroys_all_that_configure_made(kind: Any, make: Make) -> None:
    node = make(kind)
    before = held(node)[:3]
    assert node.trigger_configure() == OK
    assert held(node)[:3] > before
    assert node.trigger_cleanup() == OK
    made_once = 1 if kind in (VioNode, LoopClosureNode) else 0  # the publisher of /tf lives with the node
    assert held(node)[:3] == [before[0] + made_once, *before[1:]]


def test_shutdown_ends_an_active_node(make: Make) -> None:
    node = make(VioNode)
    threads = threading.active_count()
    assert node.trigger_configure() == node.trigger_activate() == node.trigger_shutdown() == OK
    assert threading.active_count() == threads


@pytest.mark.parametrize(("error", "answer"), [(DataError("no"), "FAILURE"), (KeyError("bug"), "ERROR")])
def test_a_node_whose_configuring_failed_can_be_configured_again(
    error: Exception, answer: str, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = make(FeatureTrackerNode)
    before = held(node)

    def broken(*_: object) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(node, "serve", broken)  # the last thing that configure does
        assert node.trigger_configure() == getattr(TransitionCallbackReturn, answer)
    assert held(node) == before
    assert node.trigger_configure() == OK


def test_a_node_whose_activation_failed_is_unconfigured_and_deaf(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    node = make(VioNode)
    with monkeypatch.context() as patch:
        patch.setattr(node, "subscribe", lambda *_: 1 / 0)
        assert node.trigger_configure() == OK
        assert node.trigger_activate() == TransitionCallbackReturn.ERROR
    assert not list(node.subscriptions)
    assert node.trigger_configure() == node.trigger_activate() == OK


def test_a_jump_of_stamps_is_seen_by_a_node_too_busy_to_take_it_at_once(make: Make) -> None:
    node = make(DatasetPlayerNode)
    stats = Stats()
    stream = ImuStream(stats, node.problems)
    take = node.poll(Imu, "/readings", sensor_qos(100, reliable=True))
    publisher = node.create_publisher(Imu, "/readings", 100)
    stamp_ns = 10**15
    while not stats.total("imu"):  # until they have found each other
        publisher.publish(imu_to_message(stamp_ns, np.zeros(3), np.ones(3)))
        time.sleep(0.05)
        stream.take(take())
        stamp_ns += 5_000_000
    publisher.publish(imu_to_message(stamp_ns + 2 * 10**9, np.zeros(3), np.ones(3)))
    time.sleep(1.0)  # busy, while the reading lies there
    assert stream.take(take()) == (None, False)
    assert node.problems.counts()["imu stamp ahead"].startswith("stamps jump by +2.0")


def test_the_player_gives_those_who_listen_time_to_learn_of_it(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    node = make(DatasetPlayerNode)
    assert node.trigger_configure() == OK
    monkeypatch.setattr(node, "_has_subscribers", lambda: True)
    began, messages = time.monotonic(), node._play()
    next(messages)
    messages.close()
    assert node.stats.total("imu") == 1
    assert time.monotonic() - began >= SETTLE_S


def test_vio_gathers_data_while_its_kernels_are_loaded(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """They take as long as the data that it starts with."""
    node, subscribed = make(VioNode), []
    monkeypatch.setattr(vio, "compile_kernels", lambda: subscribed.append(len(list(node.subscriptions))))
    assert node.trigger_configure() == OK
    assert not subscribed
    assert node.trigger_activate() == OK
    assert subscribed == [len(list(node.subscriptions))]


@pytest.mark.parametrize(
    ("behind_s", "late_s", "told", "used"),
    [
        (2.0, 0.0, "clocks: image stamps are 2.0 s behind the IMU's: two clocks?", True),
        (2.0, 2.0, "", True),
        (2.0, 0.4, "clocks: image stamps are 2.0 s behind the IMU's: two clocks?", True),
        (6.0, 6.0, "tracks: dropped because they come 6.0 s after their images", False),
        (8.0, 1.0, "clocks: image stamps are 8.0 s behind the IMU's: two clocks?", False),
        (-1.0, 2.0, "clocks: image stamps are 1.0 s ahead of the IMU's: two clocks?", False),
    ],
)
def test_a_slow_tracker_is_not_taken_for_another_clock(
    behind_s: float, late_s: float, told: str, used: bool, make: Make
) -> None:
    node = make(VioNode)
    assert node.trigger_configure() == OK
    newest_ns = time.time_ns()
    node._estimator.add_imu(ImuSamples(np.array([newest_ns]), np.zeros((1, 3)), np.array([[0, 0, 9.81]])))
    node._imu.at_s = time.monotonic()
    stamp_ns = newest_ns - round(behind_s * 1e9)
    received_ns = time.time_ns() - round(late_s * 1e9)
    waiting = vio.Waiting(nothing_seen(stamp_ns, 2), time.monotonic_ns(), received_ns, False, (), (1.0, 1.0))
    assert node._is_covered(waiting) == used
    assert node.problems.current() == [told] * bool(told)
