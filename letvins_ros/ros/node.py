# SPDX-License-Identifier: Apache-2.0
"""What all nodes share: parameters, lifecycle, diagnostics, a clean end."""

import threading
import time
import traceback
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from geometry_msgs.msg import TransformStamped
from rclpy.callback_groups import CallbackGroup
from rclpy.clock import Clock, ClockType
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.qos import QoSProfile
from sensor_msgs.msg import CompressedImage, Image

from letvins_ros.config import Config
from letvins_ros.errors import CalibrationError, LetvinsError, Rejected
from letvins_ros.ros import convert, qos
from letvins_ros.ros.checks import Problems
from letvins_ros.ros.live_calibration import LiveCalibration
from letvins_ros.ros.params import changed_config, declare_calibration, declare_config
from letvins_ros.ros.qos import OUTPUT
from letvins_ros.ros.stats import Stats
from letvins_ros.ros.worker import Worker


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


class LetvinsNode(LifecycleNode):
    """A managed node; what it receives and does begins when it is activated and ends when it is deactivated."""

    needs_rig = True  # the calibration of the sensors

    def __init__(self, name: str, **options: Any) -> None:
        """Raise LetvinsError where a parameter given to the node, or the file or recording it names, cannot be used."""
        super().__init__(name, **options)
        self.made_at = time.monotonic()  # since then it and the other nodes have been learning of each other
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
        self._calibration = self._listen_for_calibration() if self.needs_rig and self.config.rig is None else None
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", OUTPUT)
        steady = Clock(clock_type=ClockType.STEADY_TIME)  # goes on where /clock stands still
        self.create_timer(1.0, self._publish_diagnostics, clock=steady)

    # -- what a node fills in -----------------------------------------------------------------------------------------

    @abstractmethod
    def configure(self) -> None:
        """Make the core's object and the publishers; raise LetvinsError where that cannot be done."""

    @abstractmethod
    def activate(self) -> None:
        """Listen, by `subscribe`."""

    @abstractmethod
    def step(self) -> bool:
        """Do one piece of work in the worker's thread; whether there was one."""

    def state_of(self) -> tuple[str, dict[str, str]]:
        """Why nothing useful comes out, empty when it does, and values for the diagnostics."""
        return "", {}

    def each_second(self, reason: str) -> None:
        """Do what is to be done once a second while active; reason: that of state_of."""

    def configured(self, config: Config) -> None:
        """Take over dynamic parameters; raise LetvinsError to refuse them."""

    def finish(self) -> None:
        """Do what is left to do before the process ends."""

    # -- calibration on topics ----------------------------------------------------------------------------------------

    def camera_info_topic(self, camera: int) -> str:
        """Beside the camera's images, as drivers publish it, unless camera_info is remapped itself."""
        plain, own = f"cam{camera}/camera_info", self.resolve_topic_name(f"cam{camera}/camera_info")
        if own != f"{self.get_namespace().rstrip('/')}/{plain}":
            return own
        images = self.resolve_topic_name(f"cam{camera}/image_raw").removesuffix("/compressed")
        return f"{images.rpartition('/')[0]}/camera_info"

    def _listen_for_calibration(self) -> LiveCalibration:
        count = 1 if self.config.mode == "mono_imu" else 2
        topics = [self.camera_info_topic(camera) for camera in range(count)]
        return LiveCalibration(topics, "" if self.config.mode == "stereo" else "imu", self.poll)

    def lacks_calibration(self) -> str:
        """What the node still waits for before it can be configured; empty when it has a rig."""
        if self._calibration is None:
            return ""
        rig = self._calibration.rig()
        if isinstance(rig, Rejected):
            return rig.reason
        self.silence()
        self._calibration, self.config = None, replace(self.config, rig=rig)
        declare_calibration(self, self.config)
        self.get_logger().info(f"calibration of {len(rig.cameras)} cameras taken from camera_info and /tf_static")
        return ""

    # -- for the nodes ------------------------------------------------------------------------------------------------

    def advertise(self, kind: type, topic: str, quality: QoSProfile = OUTPUT) -> Any:
        """A publisher that lives until cleanup."""
        self._outputs.append(self.create_publisher(kind, topic, quality))
        return self._outputs[-1]

    def broadcaster(self) -> Callable[[TransformStamped], None]:
        """What sends a transform on /tf; it is made once and lives as long as the node."""
        if self._broadcaster is None:
            self._broadcaster = convert.tf_broadcaster(self)
        return self._broadcaster

    def serve(self, kind: type, name: str, callback: Callable[[Any, Any], Any]) -> None:
        """Answer a service until cleanup."""
        self._served.append(self.create_service(kind, name, callback))

    def subscribe(self, kind: type, topic: str, callback: Callable[[Any], None], quality: QoSProfile = OUTPUT) -> None:
        """Subscribe until deactivated."""
        self._inputs.append(self.create_subscription(kind, topic, callback, quality))

    def poll(self, kind: type, topic: str, quality: QoSProfile) -> Callable[[], Iterator[tuple[Any, int]]]:
        """Subscribe until deactivated; the function returned gives what has come since its last call, and when.

        That is the middleware's time of arrival, in ns of the clock that never jumps: a busy node takes messages late.

        Waking the executor costs some 0.4 ms a message, which 200 Hz of IMU in two nodes cannot afford.
        """
        subscription = self.create_subscription(kind, topic, _nothing, quality, callback_group=_Unattended())
        self._inputs.append(subscription)

        def take() -> Iterator[tuple[Any, int]]:
            with subscription.handle:
                while (got := subscription.handle.take_message(kind, False)) is not None:
                    now, received = time.time_ns(), got[1]["received_timestamp"] or time.time_ns()
                    yield got[0], time.monotonic_ns() - max(now - received, 0)

        return take

    def hear_images(self, camera: int, callback: Callable[[Any], None]) -> None:
        """Subscribe to a camera's images until deactivated; compressed ones lie beside the topic, after remapping."""
        topic, kind = self.resolve_topic_name(f"cam{camera}/image_raw"), Image
        if self.config.ros.compressed:
            topic, kind = f"{topic.removesuffix('/compressed')}/compressed", CompressedImage
        self.subscribe(kind, topic, callback, self.sensor_qos(5))

    def patience_s(self) -> float:
        """How long the worker sleeps when nothing wakes it."""
        return 0.05

    def sensor_qos(self, depth: int) -> QoSProfile:
        """Best effort, which receives from reliable publishers too, unless configured otherwise."""
        return qos.sensor_qos(depth, reliable=self.config.ros.reliable_input)

    def wake(self) -> None:
        """There is work."""
        if self._worker is not None:
            self._worker.wake()

    # -- lifecycle ----------------------------------------------------------------------------------------------------

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        before = set(vars(self))
        try:
            if lack := self.lacks_calibration():
                raise CalibrationError(lack)
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

    def _on_change(self, values: Mapping[str, Any]) -> None:
        config = changed_config(self.config, values)
        self.configured(config)
        self.config = config

    def _publish_diagnostics(self) -> None:
        state = self._state_machine.current_state[1]
        reason, values = self.state_of() if state == "active" else (f"lifecycle state {state}", {})
        lack = self.lacks_calibration() if state == "unconfigured" else ""
        reason = f"{reason}: {lack}" if lack else reason
        if state == "active":
            self.each_second(reason)
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
