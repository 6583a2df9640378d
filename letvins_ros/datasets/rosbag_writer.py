# SPDX-License-Identifier: Apache-2.0
"""Writes any Dataset as a ROS 1 or ROS 2 bag, on the topics of EuRoC's own bags."""

from collections.abc import Iterator
from heapq import merge
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from letvins_ros.datasets.base import Dataset
from letvins_ros.datasets.topics import GNSS_TYPE, IMAGE_TYPES, IMU_TYPE, TRUTH
from letvins_ros.errors import DataError
from letvins_ros.types import GnssFixes, ImuSamples, Trajectory
from letvins_ros.writing import atomic_path

if TYPE_CHECKING:
    from rosbags.rosbag1 import Writer as Writer1
    from rosbags.rosbag2 import Writer as Writer2
    from rosbags.typesys.store import Typestore

Kind = Literal["ros1", "sqlite3", "mcap"]
Record = tuple[int, str, Any]  # stamp in ns, topic, message
GNSS = "/gnss"
TYPES = {
    "/cam0/image_raw": IMAGE_TYPES[0], "/cam1/image_raw": IMAGE_TYPES[0], "/imu0": IMU_TYPE, GNSS: GNSS_TYPE,
    TRUTH[0]: TRUTH[1],
}  # fmt: skip


def write_bag(dataset: Dataset, path: Path, kind: Kind = "mcap") -> None:
    """Write /cam0/image_raw, /cam1/image_raw, /imu0, /gnss and /ground_truth/pose in time order, recorded when stamped.

    path: the .bag file for ros1, else the folder of a ROS 2 bag; it appears when it is complete. Raises DataError where
    it exists already.
    """
    if path.exists():
        raise DataError(f"{path}: exists already")
    with atomic_path(path) as part:
        _write(dataset, part, kind)


def _write(dataset: Dataset, path: Path, kind: Kind) -> None:
    from rosbags.typesys import Stores, get_typestore

    store = get_typestore(Stores.ROS1_NOETIC if kind == "ros1" else Stores.ROS2_HUMBLE)
    serialize = store.serialize_ros1 if kind == "ros1" else store.serialize_cdr
    messages = _Messages(store, kind == "ros1")
    streams = [messages.images(dataset), messages.imu(dataset.imu), messages.gnss(dataset.gnss)]
    streams.append(messages.truth(dataset.truth))
    with _writer(path, kind) as writer:
        connections: dict[str, Any] = {}
        for stamp_ns, topic, message in merge(*streams, key=itemgetter(0)):
            if topic not in connections:
                connections[topic] = writer.add_connection(topic, TYPES[topic], typestore=store)
            writer.write(connections[topic], stamp_ns, serialize(message, TYPES[topic]))


def _writer(path: Path, kind: Kind) -> "Writer1 | Writer2":
    from rosbags.rosbag1 import Writer as Writer1
    from rosbags.rosbag2 import StoragePlugin
    from rosbags.rosbag2 import Writer as Writer2

    if kind == "ros1":
        return Writer1(path)
    plugin = StoragePlugin.MCAP if kind == "mcap" else StoragePlugin.SQLITE3
    return Writer2(path, version=8, storage_plugin=plugin)


class _Messages:
    """Makes messages with the classes of one typestore."""

    def __init__(self, store: "Typestore", ros1: bool) -> None:
        self._types, self._ros1 = store.types, ros1

    def images(self, dataset: Dataset) -> Iterator[Record]:
        for frame in dataset.frames():
            for i, image in enumerate(frame.images):
                if image is not None:
                    yield frame.stamp_ns, f"/cam{i}/image_raw", self._image(frame.stamp_ns, f"cam{i}", image)

    def imu(self, imu: ImuSamples | None) -> Iterator[Record]:
        unknown = np.zeros(9)
        for stamp, gyro, accel in zip(imu.stamps_ns, imu.gyro, imu.accel, strict=True) if imu else ():
            turn = self._make("geometry_msgs/msg/Quaternion", 0.0, 0.0, 0.0, 1.0)
            rate, force = (self._make("geometry_msgs/msg/Vector3", *map(float, v)) for v in (gyro, accel))
            no_turn = np.array([-1.0, *unknown[1:]])  # how sensor_msgs/Imu says that it has no orientation
            header = self._header(int(stamp), "imu0")
            yield int(stamp), "/imu0", self._make(IMU_TYPE, header, turn, no_turn, rate, unknown, force, unknown)

    def truth(self, truth: Trajectory | None) -> Iterator[Record]:
        for stamp, p, q in zip(truth.stamps_ns, truth.positions, truth.quaternions, strict=True) if truth else ():
            position = self._make("geometry_msgs/msg/Point", *map(float, p))
            turn = self._make("geometry_msgs/msg/Quaternion", *map(float, q))
            pose = self._make("geometry_msgs/msg/Pose", position, turn)
            yield int(stamp), TRUTH[0], self._make(TRUTH[1], self._header(int(stamp), "world"), pose)

    def gnss(self, fixes: GnssFixes | None) -> Iterator[Record]:
        for stamp, place, std in zip(fixes.stamps_ns, fixes.geodetic, fixes.std, strict=True) if fixes else ():
            status = self._make("sensor_msgs/msg/NavSatStatus", 0, 1)
            known = bool(np.isfinite(std).all())  # covariance type 2: the diagonal is known
            covariance = np.diag(std**2).ravel() if known else np.zeros(9)
            header = self._header(int(stamp), "gnss")
            fix = self._make(GNSS_TYPE, header, status, *map(float, place), covariance, 2 if known else 0)
            yield int(stamp), GNSS, fix

    def _image(self, stamp_ns: int, frame_id: str, image: np.ndarray) -> Any:
        height, width = image.shape[:2]
        encoding, step = ("mono8", width) if image.ndim == 2 else ("rgb8", 3 * width)
        header, data = self._header(stamp_ns, frame_id), image.reshape(-1)
        return self._make(IMAGE_TYPES[0], header, height, width, encoding, 0, step, data)

    def _header(self, stamp_ns: int, frame_id: str) -> Any:
        stamp = self._make("builtin_interfaces/msg/Time", *divmod(stamp_ns, 1_000_000_000))
        sequence_number = (0,) if self._ros1 else ()
        return self._make("std_msgs/msg/Header", *sequence_number, stamp, frame_id)

    def _make(self, name: str, *fields: Any) -> Any:
        return self._types[name](*fields)
