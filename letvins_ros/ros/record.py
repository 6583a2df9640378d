# SPDX-License-Identifier: Apache-2.0
"""Node: writes all letvins topics and /tf into a ROS 2 bag, through the rosbags library."""

import shutil
import sys
import time
from functools import partial
from pathlib import Path
from threading import Event
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import PoseWithCovarianceStamped
from nav_msgs.msg import Odometry
from nav_msgs.msg import Path as PathMessage
from rclpy.executors import SingleThreadedExecutor
from rclpy.logging import get_logger
from rclpy.node import Node
from rclpy.qos import QoSProfile
from rclpy.signals import SignalHandlerOptions
from rclpy.utilities import remove_ros_args
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from sensor_msgs.msg import Image, PointCloud2
from visualization_msgs.msg import MarkerArray

from letvins_ros.msg import FeatureTracks, Keyframe, LoopClosure, VioStatus
from letvins_ros.ros.convert import installed
from letvins_ros.ros.start import signals_noted
from letvins_ros.ros.system import shared
from letvins_ros.writing import unused

TOPICS = {
    "letvins/tracks": FeatureTracks, "letvins/image_track": Image, "letvins/odometry": Odometry,
    "letvins/pose": PoseWithCovarianceStamped, "letvins/imu_odometry": Odometry, "letvins/path": PathMessage,
    "letvins/points": PointCloud2,
    "letvins/keyframe": Keyframe, "letvins/status": VioStatus, "letvins/loop": LoopClosure,
    "letvins/map_path": PathMessage, "letvins/map_odometry": Odometry, "letvins/pose_graph": MarkerArray,
    "/diagnostics": DiagnosticArray,
}  # fmt: skip


RESERVE_MB = 50  # of the disk


class Recorder(Node):
    """Writes what it receives, as it comes, with the time of arrival."""

    def __init__(self, writer: Writer, namespace: str) -> None:
        super().__init__("letvins_record", namespace=namespace)
        self._writer, self._store = writer, get_typestore(Stores.ROS2_HUMBLE)
        for file in sorted(shared("msg").glob("*.msg")):
            self._store.register(get_types_from_msg(file.read_text(), f"letvins_ros/msg/{file.stem}"))
        topics: dict[str, Any] = dict(TOPICS)
        if installed("tf2_msgs.msg"):
            topics["/tf"] = installed("tf2_msgs.msg").TFMessage
        for topic, kind in topics.items():
            name = f"{kind.__module__.split('.')[0]}/msg/{kind.__name__}"
            connection = writer.add_connection(self.resolve_topic_name(topic), name, typestore=self._store)
            self.create_subscription(kind, topic, partial(self._write, connection), QoSProfile(depth=100), raw=True)

    def _write(self, connection: Any, data: bytes) -> None:
        self._writer.write(connection, time.time_ns(), data)


def main() -> None:
    """Record into the folder named first, in the namespace named second, until SIGINT or SIGTERM.

    Where the folder exists, as after a restart, into the next free name. A bag that cannot go on ends nobody else.
    """
    wanted, namespace = remove_ros_args(sys.argv)[1:3]
    bag = unused(Path(wanted))
    with signals_noted() as ended:
        rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
        if problem := _record(bag, namespace, ended):
            get_logger("letvins_record").error(problem)
            ended.wait()
        rclpy.try_shutdown()


def _record(bag: Path, namespace: str, ended: Event) -> str:
    """Record until the end; why not until then."""
    executor = SingleThreadedExecutor()
    try:
        with Writer(bag, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
            recorder = Recorder(writer, namespace)
            recorder.get_logger().info(f"recording into {bag}")
            executor.add_node(recorder)
            while not ended.is_set() and has_room(bag):
                executor.spin_once(timeout_sec=0.1)
    except OSError as error:
        return f"cannot write {bag}: {error.strerror}; it holds what was written before"
    finally:
        executor.shutdown(timeout_sec=1.0)
    return "" if ended.is_set() else f"less than {RESERVE_MB} MB are free: {bag} is complete up to here"


def has_room(bag: Path) -> bool:
    """Whether more can be written; the end of a bag, without which it cannot be read, needs some."""
    return shutil.disk_usage(bag).free > RESERVE_MB * 1e6
