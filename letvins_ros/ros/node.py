# SPDX-License-Identifier: Apache-2.0
"""What all nodes share: parameters, lifecycle, diagnostics, a clean end."""

import sys
import threading
import time
import traceback
from abc import abstractmethod
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from geometry_msgs.msg import TransformStamped
from rclpy.callback_groups import CallbackGroup
from rclpy.clock import Clock, ClockType
from rclpy.executors import SingleThreadedExecutor
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import CompressedImage, Image
from threadpoolctl import threadpool_limits

from letvins_ros.config import Config
from letvins_ros.errors import LetvinsError
from letvins_ros.ros import convert
from letvins_ros.ros.checks import Problems
from letvins_ros.ros.params import declare_config
from letvins_ros.ros.start import signals_noted
from letvins_ros.ros.worker import Worker

IMU_DEPTH = 1000
SWITCH_S = 5e-4  # the worker hands the interpreter over so soon; with Python's 5 ms the IMU would wait for it
OUTPUT = QoSProfile(depth=10, history=HistoryPolicy.KEEP_LAST, reliability=ReliabilityPolicy.RELIABLE)
STATIC = QoSProfile(depth=100, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL)
TF = QoSProfile(depth=200, reliability=ReliabilityPolicy.BEST_EFFORT)
LATCHED = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL)


class _Unattended(CallbackGroup):
    """For subscriptions that no executor looks at."""

    def can_execute(self, entity: Any) -> bool:
        return False

    def beginning_execution(self, entity: Any) -> bool:
        return False

    def ending_execution(self, entity: Any) -> None:
        pass


def _nothing(message: Any) -> None:
    pass


class Stats:
    """Counts and latencies of the last second, and those since the start."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}
        self._shown: dict[str, int] = {}
        self._latency: deque[float] = deque(maxlen=1000)
        self._since = time.monotonic()

    def count(self, what: str, n: int = 1) -> None:
        self._counts[what] = self._counts.get(what, 0) + n

    def total(self, what: str) -> int:
        return self._counts.get(what, 0)

    def latency(self, seconds: float) -> None:
        self._latency.append(seconds)

    def take(self) -> dict[str, str]:
        """Rates since the last call, with the latencies; then both begin anew."""
        now = time.monotonic()
        span, counts = max(now - self._since, 1e-3), dict(self._counts)
        values = {f"{what} per s": f"{(n - self._shown.get(what, 0)) / span:.1f}" for what, n in counts.items()}
        values |= {f"{what} in all": str(n) for what, n in counts.items()}
        if self._latency:
            late = np.array(self._latency) * 1e3
            values["latency ms, median"] = f"{np.median(late):.1f}"
            values["latency ms, p95"] = f"{np.percentile(late, 95):.1f}"
        self._shown, self._since = counts, now
        self._latency.clear()
        return values


class LetvinsNode(LifecycleNode):
    """A managed node; what it hears and does begins when it is activated and ends when it is deactivated."""

    needs_rig = True  # the calibration of the sensors

    def __init__(self, name: str, **options: Any) -> None:
        """Raise LetvinsError where a parameter given to the node, or the file or recording it names, cannot be used."""
        super().__init__(name, **options)
        self.config = declare_config(self, self._on_change, needs_rig=self.needs_rig)
        self.stats, self.problems = Stats(), Problems(self.get_logger().warning)
        self.finished = threading.Event()  # ends the process
        self.crashed: BaseException | None = None
        self._worker: Worker | None = None
        self._inputs: list[Any] = []
        self._outputs: list[Any] = []
        self._served: list[Any] = []
        self._broadcaster: Callable[[TransformStamped], None] | None = None
        self._configured: set[str] = set()  # names of the attributes that configure has made
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", OUTPUT)
        steady = Clock(clock_type=ClockType.STEADY_TIME)  # goes on where /clock stands still
        self.create_timer(1.0, self._publish_diagnostics, clock=steady)

    # -- what a node fills in -----------------------------------------------------------------------------------------

    @abstractmethod
    def configure(self) -> None:
        """Make the core's object and the publishers; raise LetvinsError where that cannot be done."""

    @abstractmethod
    def activate(self) -> None:
        """Listen, by `hear`."""

    @abstractmethod
    def step(self) -> bool:
        """Do one piece of work in the worker's thread; whether there was one."""

    def state_of(self) -> tuple[str, dict[str, str]]:
        """Why nothing useful comes out, empty when it does, and values for the diagnostics."""
        return "", {}

    def configured(self, config: Config) -> None:
        """Take over dynamic parameters; raise LetvinsError to refuse them."""

    def finish(self) -> None:
        """Do what is left to do before the process ends."""

    # -- for the nodes ------------------------------------------------------------------------------------------------

    def advertise(self, kind: type, topic: str, qos: QoSProfile = OUTPUT) -> Any:
        """A publisher that lives until cleanup."""
        self._outputs.append(self.create_publisher(kind, topic, qos))
        return self._outputs[-1]

    def broadcaster(self) -> Callable[[TransformStamped], None]:
        """What sends a transform on /tf; it is made once and lives as long as the node."""
        if self._broadcaster is None:
            self._broadcaster = convert.tf_broadcaster(self)
        return self._broadcaster

    def serve(self, kind: type, name: str, callback: Callable[[Any, Any], Any]) -> None:
        """Answer a service until cleanup."""
        self._served.append(self.create_service(kind, name, callback))

    def hear(self, kind: type, topic: str, callback: Callable[[Any], None], qos: QoSProfile = OUTPUT) -> None:
        """Subscribe until deactivated."""
        self._inputs.append(self.create_subscription(kind, topic, callback, qos))

    def poll(self, kind: type, topic: str, qos: QoSProfile) -> Callable[[], Iterator[Any]]:
        """Subscribe until deactivated; the function returned gives the messages that have come since its last call.

        Waking the executor costs some 0.4 ms a message, which 200 Hz of IMU in two nodes cannot afford.
        """
        subscription = self.create_subscription(kind, topic, _nothing, qos, callback_group=_Unattended())
        self._inputs.append(subscription)

        def take() -> Iterator[Any]:
            with subscription.handle:
                while (got := subscription.handle.take_message(kind, False)) is not None:
                    yield got[0]

        return take

    def hear_images(self, camera: int, callback: Callable[[Any], None]) -> None:
        """Subscribe to a camera's images until deactivated; compressed ones lie beside the topic, after remapping."""
        topic, kind = self.resolve_topic_name(f"cam{camera}/image_raw"), Image
        if self.config.ros.compressed:
            topic, kind = f"{topic.removesuffix('/compressed')}/compressed", CompressedImage
        self.hear(kind, topic, callback, self.sensor_qos(5))

    def patience_s(self) -> float:
        """How long the worker sleeps when nothing wakes it."""
        return 0.05

    def sensor_qos(self, depth: int) -> QoSProfile:
        """Best effort, which hears reliable publishers too, unless configured otherwise."""
        reliable = self.config.ros.reliable_input
        return QoSProfile(
            depth=depth, reliability=ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT
        )

    def wake(self) -> None:
        """There is work."""
        if self._worker is not None:
            self._worker.wake()

    # -- lifecycle ----------------------------------------------------------------------------------------------------

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        before = set(vars(self))
        try:
            self.configure()
        except LetvinsError as error:
            self.get_logger().error(str(error))
            self._release(set(vars(self)) - before)
            return TransitionCallbackReturn.FAILURE
        except Exception:
            self.get_logger().fatal(traceback.format_exc())
            self._release(set(vars(self)) - before)
            return TransitionCallbackReturn.ERROR
        self._configured = set(vars(self)) - before
        return super().on_configure(state)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        try:
            self.activate()
        except Exception:
            self.get_logger().fatal(traceback.format_exc())
            return TransitionCallbackReturn.ERROR
        self._worker = Worker(self.step, self._on_crash, self.patience_s)
        return super().on_activate(state)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        self.silence()
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._release(self._configured)
        return super().on_cleanup(state)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        self.silence()
        self._release(self._configured)
        return super().on_shutdown(state)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """After an error in a transition the node can be configured anew."""
        self.silence()
        self._release(self._configured)
        return TransitionCallbackReturn.SUCCESS

    def silence(self) -> None:
        """Stop listening and working."""
        if self._worker is not None:
            self._worker.stop()
            self._worker = None
        for one in self._inputs:
            self.destroy_subscription(one)
        self._inputs = []

    def _release(self, names: set[str]) -> None:
        """Undo configure: destroy publishers and services, let go of what it made."""
        for publisher in self._outputs:
            self.destroy_publisher(publisher)
        for service in self._served:
            self.destroy_service(service)
        for name in names:
            delattr(self, name)
        self._outputs, self._served, self._configured = [], [], set()

    def _on_crash(self, error: BaseException) -> None:
        """End the process: a node that lives on without its worker would be silently dead."""
        self.crashed = error
        self.get_logger().fatal("".join(traceback.format_exception(error)))
        self.finished.set()

    def _on_change(self, config: Config) -> None:
        self.configured(config)
        self.config = config

    def _publish_diagnostics(self) -> None:
        state = self._state_machine.current_state[1]
        reason, values = self.state_of() if state == "active" else (f"lifecycle state {state}", {})
        found = [reason] * bool(reason) + self.problems.current()
        status = DiagnosticStatus(
            level=DiagnosticStatus.WARN if found else DiagnosticStatus.OK,
            name=f"{self.get_namespace().rstrip('/')}/{self.get_name()}".lstrip("/"),
            message="; ".join(found) or "running",
            hardware_id="letvins_ros",
        )
        values = {"state": state} | values | self.stats.take() | self.problems.counts()
        status.values = [KeyValue(key=key, value=value) for key, value in values.items()]
        stamp = self.get_clock().now().to_msg()
        message = DiagnosticArray(status=[status])
        message.header.stamp = stamp
        self._diagnostics.publish(message)


def run_node(make: Callable[[], LetvinsNode]) -> None:
    """Run a node until SIGINT or SIGTERM, then exit with code 0; with 1 after an error, which is told in one line."""
    code = 0
    with signals_noted() as ended:
        rclpy.init(signal_handler_options=SignalHandlerOptions.NO)  # else the context goes before the worker has ended
        sys.setswitchinterval(SWITCH_S)
        try:
            with threadpool_limits(1):  # the matrices are small: more threads only wait for each other
                code = _spin(make(), ended)
        except LetvinsError as error:
            sys.stderr.write(f"error: {error}\n")
            code = 1
        rclpy.try_shutdown()
    sys.exit(code)


def _spin(node: LetvinsNode, ended: threading.Event) -> int:
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    if node.get_parameter("autostart").value:
        done = node.trigger_configure() == TransitionCallbackReturn.SUCCESS
        if not done or node.trigger_activate() != TransitionCallbackReturn.SUCCESS:
            return 1
    while not (ended.is_set() or node.finished.is_set()):
        executor.spin_once(timeout_sec=0.1)
    node.silence()
    node.finish()
    executor.shutdown(timeout_sec=1.0)  # while its context lives
    return 1 if node.crashed else 0
