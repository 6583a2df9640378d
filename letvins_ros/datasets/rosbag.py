# SPDX-License-Identifier: Apache-2.0
"""ROS 1 and ROS 2 bags, read without ROS through the rosbags library; times are those of the message headers."""

import struct
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from letvins_ros.calibration import Rig
from letvins_ros.datasets.base import ReadReport
from letvins_ros.datasets.ros_image import image_from_message
from letvins_ros.datasets.sequence import Loaded, Recording, Sensors
from letvins_ros.datasets.stream import clean, pair, time_order
from letvins_ros.datasets.topics import Topics, choose_topics
from letvins_ros.errors import DataError
from letvins_ros.types import ImuSamples, Trajectory

if TYPE_CHECKING:
    from rosbags.highlevel import AnyReader

SUFFIXES = (".bag", ".db3", ".mcap")


def recognises(path: Path) -> bool:
    """Whether this is a bag file, or a folder that holds them."""
    return path.suffix in SUFFIXES or (path.is_dir() and bool(_storage(path)))


def open_bag(path: Path, rig: Rig | None = None, color: bool = False) -> "BagRecording":
    """Read a .bag, .db3 or .mcap file, or a folder of one recording: IMU and times now, images when asked for."""
    sources = [path] if path.is_file() or (path / "metadata.yaml").is_file() else _storage(path)
    return BagRecording(path, sources, rig, color)


def _storage(folder: Path) -> list[Path]:
    return sorted(file for file in folder.iterdir() if file.suffix in SUFFIXES)


@dataclass(frozen=True)
class _Message:
    """One message whose header is known and whose content is decoded when asked for."""

    topic: str
    stamp_ns: int  # of the header
    read: Callable[[], Any]


class BagRecording(Recording):
    """A Dataset of a bag; images are read in passing, never all at once."""

    def __init__(self, path: Path, sources: Sequence[Path], rig: Rig | None, color: bool) -> None:
        """Raise DataError where the bag is damaged, or its topics do not say which are the cameras."""
        self._path, self._sources, self._color = path, sources, color
        topics, report = self._topics(rig), ReadReport()
        stamps, rows = self._scan(topics)
        left_ns, *rest = [_ordered(name, stamps[name], report) for name in topics.images]
        if not len(left_ns):
            raise DataError(f"{path}: no image in {topics.left}")
        self._keys: list[list[tuple[str, int] | None]] = [[(topics.left, int(stamp))] for stamp in left_ns]
        if topics.right or (rig and len(rig.cameras) > 1):
            right_ns = rest[0] if rest else np.zeros(0, np.int64)
            for keys, i in zip(self._keys, pair(left_ns, right_ns, report), strict=True):
                keys.append((topics.right, int(right_ns[i])) if topics.right and i >= 0 else None)
        name = path.resolve().stem if path.is_file() else path.resolve().name
        super().__init__(name, left_ns, Sensors(rig, *_motion(topics, stamps, rows, report)), report)

    def _topics(self, rig: Rig | None) -> Topics:
        with _bag_errors(self._path), _reader(self._sources) as reader:
            topics = choose_topics({used.topic: used.msgtype for used in reader.connections if used.msgcount})
        return replace(topics, right=None) if rig and len(rig.cameras) == 1 else topics

    def _scan(self, topics: Topics) -> tuple[dict[str, list[int]], dict[str, list[list[float]]]]:
        """Read all header stamps, and the content of IMU and truth, by topic."""
        stamps: dict[str, list[int]] = defaultdict(list)
        rows: dict[str, list[list[float]]] = defaultdict(list)
        for message in self._messages([*topics.images, topics.imu, topics.truth]):
            stamps[message.topic].append(message.stamp_ns)
            if message.topic not in topics.images:
                with _bag_errors(self._path):
                    row = _imu_row if message.topic == topics.imu else _pose_row
                    rows[message.topic].append(row(message.read()))
        return stamps, rows

    def _load(self, chosen: range) -> Iterator[list[Loaded | None]]:
        wanted = {key for i in chosen for key in self._keys[i] if key}
        held: dict[tuple[str, int], Loaded] = {}
        messages = self._messages({topic for topic, _ in wanted})
        for i in chosen:
            keys = self._keys[i]
            while any(key and key not in held for key in keys):
                message = next(messages)  # the scan has seen that it is there
                key = message.topic, message.stamp_ns
                if key in wanted and key not in held:
                    with _bag_errors(self._path):
                        held[key] = Loaded(f"{key[0]} {key[1]}", image_from_message(message.read(), self._color))
            yield [held.pop(key) if key else None for key in keys]
            wanted.difference_update(keys)

    def _messages(self, topics: Iterable[str | None]) -> Iterator[_Message]:
        """Yield the messages of these topics in the order of the bag."""
        wanted = set(topics)
        with _bag_errors(self._path), _reader(self._sources) as reader:
            chosen = [connection for connection in reader.connections if connection.topic in wanted]
            for connection, _, raw in reader.messages(chosen):
                # ROS 1 starts with a sequence number, CDR with its byte order; then both have seconds, nanoseconds
                order = ">" if reader.is2 and raw[1] == 0 else "<"
                seconds, nanoseconds = struct.unpack_from(f"{order}II", raw, 4)
                stamp_ns = seconds * 1_000_000_000 + nanoseconds
                yield _Message(connection.topic, stamp_ns, partial(reader.deserialize, raw, connection.msgtype))


def _reader(sources: Sequence[Path]) -> "AnyReader":
    from rosbags.highlevel import AnyReader
    from rosbags.typesys import Stores, get_typestore

    return AnyReader(sources, default_typestore=get_typestore(Stores.ROS2_HUMBLE))


@contextmanager
def _bag_errors(path: Path) -> Iterator[None]:
    """Name the bag in what goes wrong with it; a damaged one raises errors of many kinds."""
    try:
        yield
    except Exception as error:
        raise DataError(f"{path}: {str(error) or type(error).__name__}") from error


def _ordered(name: str, stamps_ns: list[int], report: ReadReport) -> np.ndarray:
    stamps = np.array(stamps_ns, np.int64)
    return np.asarray(stamps[time_order(name, stamps, report)])


def _motion(
    topics: Topics, stamps: dict[str, list[int]], rows: dict[str, list[list[float]]], report: ReadReport
) -> tuple[ImuSamples | None, Trajectory | None]:
    """IMU and truth of the rows that the scan found."""
    cleaned = {
        name: clean(name, np.array(stamps[name], np.int64), np.array(values), report) for name, values in rows.items()
    }
    imu, truth = cleaned.get(topics.imu or ""), cleaned.get(topics.truth or "")
    return (
        ImuSamples(imu[0], imu[1][:, :3], imu[1][:, 3:]) if imu else None,
        Trajectory(truth[0], truth[1][:, :3], truth[1][:, 3:]) if truth else None,
    )


def _imu_row(message: Any) -> list[float]:
    rate, force = message.angular_velocity, message.linear_acceleration
    return [rate.x, rate.y, rate.z, force.x, force.y, force.z]


def _pose_row(message: Any) -> list[float]:
    position, turn = message.pose.position, message.pose.orientation
    return [position.x, position.y, position.z, turn.x, turn.y, turn.z, turn.w]
