# SPDX-License-Identifier: Apache-2.0
"""Runs a node as a process: autostart, signals, a clean end."""

import gc
import sys
import threading
from collections.abc import Callable

import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.signals import SignalHandlerOptions
from threadpoolctl import threadpool_limits

from letvins_ros.errors import LetvinsError
from letvins_ros.ros.node import LetvinsNode
from letvins_ros.ros.shared_memory import fresh_ports
from letvins_ros.ros.start import signals_noted

SWITCH_S = 5e-4  # the worker hands the interpreter over so soon; with Python's 5 ms the IMU would wait for it


def run_node(make: Callable[[], LetvinsNode]) -> None:
    """Run a node until SIGINT or SIGTERM, then exit with code 0; with 1 after an error, which is told in one line."""
    code = 0
    with signals_noted() as ended:
        rclpy.init(signal_handler_options=SignalHandlerOptions.NO)  # else the context goes before the worker has ended
        sys.setswitchinterval(SWITCH_S)
        try:
            with threadpool_limits(1):  # the matrices are small: more threads only wait for each other
                with fresh_ports(rclpy.get_default_context().get_domain_id()):
                    node = make()
                code = _spin(node, ended)
        except LetvinsError as error:
            sys.stderr.write(f"error: {error}\n")
            code = 1
        rclpy.try_shutdown()
    sys.exit(code)


def _has_calibration(node: LetvinsNode, executor: SingleThreadedExecutor, ended: threading.Event) -> bool:
    """Wait for the calibration on topics where there is none otherwise; whether it has come before the end."""
    told = ""
    while (lack := node.lacks_calibration()) and not ended.is_set():
        if lack != told:
            node.get_logger().warning(f"{lack}; waiting")
            told = lack
        executor.spin_once(timeout_sec=0.1)
    return not lack


def _spin(node: LetvinsNode, ended: threading.Event) -> int:
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    if node.get_parameter("autostart").value and _has_calibration(node, executor, ended):
        done = node.trigger_configure() == TransitionCallbackReturn.SUCCESS
        if not done or node.trigger_activate() != TransitionCallbackReturn.SUCCESS:
            return 1
    gc.freeze()  # else a full collection looks at all that imports made, for 70 ms
    while not (ended.is_set() or node.finished.is_set()):
        executor.spin_once(timeout_sec=0.1)
    node.silence()
    node.finish()
    executor.shutdown(timeout_sec=1.0)  # while its context lives
    return 1 if node.crashed else 0
