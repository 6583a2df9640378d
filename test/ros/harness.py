# SPDX-License-Identifier: Apache-2.0
"""Real nodes as processes over real DDS, and an ear that hears what they publish."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from letvins_ros.msg import VioStatus
from nav_msgs.msg import Odometry
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, Image

from letvins_ros.camera import Camera
from letvins_ros.ros.convert import stamp_to_ns
from letvins_ros.ros.system import PROFILE, System, environment, programs, shared

from ..domains import own_domain

os.environ.setdefault(PROFILE, str(shared("config/fastdds.xml")))
os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
START_S = 60  # a busy machine may need so long to start three processes
LATCHED = QoSProfile(depth=10, durability=DurabilityPolicy.TRANSIENT_LOCAL)


class Stack:
    """The processes of one system."""

    def __init__(self, folder: Path, domain: int | None = None, **arguments: Any) -> None:
        self.domain = own_domain() if domain is None else domain
        self.folder, self.codes = folder, dict[Any, Any]()
        folder.mkdir(parents=True, exist_ok=True)
        self.programs = {p.executable: p for p in programs(System(**arguments))}
        self.env = environment(True) | {
            "ROS_DOMAIN_ID": str(self.domain), "PYTHONUNBUFFERED": "1"
        }  # fmt: skip
        self.running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, *names: str) -> "Stack":
        for name in names:
            command = [sys.executable, "-m", "letvins_ros.ros.start", name, *self.programs[name].arguments()]
            with (self.folder / f"{name}.log").open("ab") as log:
                self.running[name] = subprocess.Popen(command, env=self.env, stdout=log, stderr=log)
        return self

    def kill(self, name: str) -> None:
        self.running[name].kill()
        self.running.pop(name).wait()

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text()

    def stop(self, sign: int = signal.SIGINT) -> dict[str, int]:
        """End all; their exit codes by name."""
        for process in self.running.values():
            if process.poll() is None:
                process.send_signal(sign)
        for name, process in self.running.items():
            try:
                self.codes[name] = process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()
                self.codes[name] = process.wait()
        self.running = {}
        return self.codes

    def __enter__(self) -> "Stack":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


class Ear:
    """Hears images, odometry, status and diagnostics, with the time of arrival."""

    def __init__(self, domain: int, namespace: str = "", images: bool = True) -> None:
        self.context = Context()
        rclpy.init(context=self.context, domain_id=domain)
        self.node = Node("ear", context=self.context, namespace=namespace, use_global_arguments=False)
        self.images: dict[int, float] = {}
        self.poses: dict[int, tuple[float, np.ndarray]] = {}  # stamp: arrival, x y z qx qy qz qw
        self.statuses: list[tuple[float, VioStatus]] = []
        self.diagnostics: dict[str, dict[str, str]] = {}
        sensor = QoSProfile(depth=10, reliability=ReliabilityPolicy.BEST_EFFORT)
        if images:
            self.node.create_subscription(Image, "cam0/image_raw", self._on_image, sensor)
        self.node.create_subscription(Odometry, "letvins/odometry", self._on_odometry, 100)
        self.node.create_subscription(
            VioStatus, "letvins/status", lambda m: self.statuses.append((time.time(), m)), 100
        )
        self.node.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 100)
        self.executor = SingleThreadedExecutor(context=self.context)
        self.executor.add_node(self.node)
        self._open = True
        self._thread = threading.Thread(target=self._spin, daemon=True)
        self._thread.start()

    def _spin(self) -> None:
        while self._open:
            self.executor.spin_once(timeout_sec=0.1)

    def _on_image(self, message: Image) -> None:
        self.images.setdefault(stamp_to_ns(message.header.stamp), time.time())

    def _on_odometry(self, message: Odometry) -> None:
        p, q = message.pose.pose.position, message.pose.pose.orientation
        self.poses[stamp_to_ns(message.header.stamp)] = (time.time(), np.array([p.x, p.y, p.z, q.x, q.y, q.z, q.w]))

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            values = {v.key: v.value for v in status.values}
            told = {
                "level": str(status.level[0]),
                "message": status.message,
                "stamp": f"{stamp_to_ns(message.header.stamp) * 1e-9}",
            }
            self.diagnostics[status.name] = told | values

    def wait(self, until: Callable[..., object], timeout_s: float, what: str) -> float:
        """Seconds until it is so; an AssertionError that names it when it takes too long."""
        start = time.time()
        while not until():
            assert time.time() - start < timeout_s, f"{what} not within {timeout_s} s; {self.diagnostics}"
            time.sleep(0.02)
        return time.time() - start

    def newest(self) -> float:
        """When the last pose came, 0 before."""
        return max((arrival for arrival, _ in list(self.poses.values())), default=0.0)

    def coverage(self) -> float:
        """Share of the frames since the first pose that got one."""
        first = min(self.poses)
        frames = [stamp for stamp in self.images if stamp >= first]
        return sum(stamp in self.poses for stamp in frames) / len(frames)

    def latencies_s(self) -> np.ndarray:
        return np.array([self.poses[stamp][0] - at for stamp, at in self.images.items() if stamp in self.poses])

    def write(self, file: Path) -> Path:
        """The poses as a TUM trajectory."""
        rows = [f"{ns * 1e-9:.9f} " + " ".join(f"{v:.9f}" for v in self.poses[ns][1]) for ns in sorted(self.poses)]
        file.write_text("\n".join(rows) + "\n")
        return file

    def __enter__(self) -> "Ear":
        return self

    def __exit__(self, *_: object) -> None:
        self._open = False
        self._thread.join(timeout=2)
        self.node.destroy_node()
        self.context.try_shutdown()


def camera_info(camera: Camera, frame: str, scale: float = 1.0) -> CameraInfo:
    """What a driver says of its camera, with a focal length that is wrong by a factor."""
    fx, fy, cx, cy = camera.intrinsics
    message = CameraInfo(width=camera.width, height=camera.height, distortion_model="plumb_bob")
    message.header.frame_id, message.d = frame, list(camera.distortion)
    message.k = np.array([fx * scale, 0, cx, 0, fy * scale, cy, 0, 0, 1])
    return message


def call(ear: Ear, kind: Any, service: str, node: str = "loop_closure", **fields: Any) -> Any:
    """The answer of a service of a node."""
    client = ear.node.create_client(kind, f"{node}/{service}")
    ear.wait(client.service_is_ready, 60, service)
    future = client.call_async(kind.Request(**fields))
    ear.wait(future.done, 60, f"the answer of {service}")
    return future.result()
