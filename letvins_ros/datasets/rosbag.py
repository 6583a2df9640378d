# SPDX-License-Identifier: Apache-2.0
"""ROS 1 and ROS 2 bags, read without ROS; times are those of the message headers."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from letvins_ros.calibration import Rig
from letvins_ros.config import InputConfig
from letvins_ros.datasets.bag_calibration import BagRig, read_bag_rig
from letvins_ros.datasets.bags.base import Raw
from letvins_ros.datasets.bags.decode import decode
from letvins_ros.datasets.bags.storage import Bag, Storage, header_stamp_ns
from letvins_ros.datasets.base import ReadReport
from letvins_ros.datasets.bit_depth import bits_note, spread
from letvins_ros.datasets.joined_imu import join_imu
from letvins_ros.datasets.peek import candidates, imu_row
from letvins_ros.datasets.ros_image import ImageDecoder
from letvins_ros.datasets.sequence import Loaded, Recording, Sensors
from letvins_ros.datasets.stream import clean, join, spread_bursts, time_order
from letvins_ros.datasets.topics import GNSS_TYPE, IMU_TYPE, POSE_TYPE, Topics, choose_topics
from letvins_ros.errors import DataError
from letvins_ros.types import GnssFixes, ImuSamples, Trajectory

Key = tuple[str, int]  # topic and stamp of an image


@dataclass
class _Scan:
    """What the first pass over a bag finds, by topic."""

    stamps: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    recorded: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    rows: dict[str, list[list[float]]] = field(default_factory=lambda: defaultdict(list))


class BagRecording(Recording):
    """A Dataset of a bag; images are read in passing, never all at once."""

    def __init__(self, path: Path, rig: Rig | None, color: bool, inputs: InputConfig) -> None:
        """Raise DataError where the bag is damaged, or its topics do not say which are the cameras."""
        self._storage, report = Storage(path), ReadReport()
        with self._storage.open() as bag:
            self._types = {name: topic.type for name, topic in bag.topics.items()}
            try:
                topics = choose_topics(candidates(bag), inputs.topics, _camera_numbers(rig, inputs))
            except DataError as error:
                raise DataError(f"{path}: {error}") from None
            own = read_bag_rig(bag, topics) if rig is None else BagRig(rig)
            self._decoders = {name: ImageDecoder(color) for name in topics.cameras}
            self._scan(bag, topics, scan := _Scan(), report)
        report.note(f"topics: {topics.command()}")
        for name, decoder in self._decoders.items():
            if decoder.is_deep:
                report.note(bits_note(name, decoder.depth))
        self._by_recording = _use_recording_times(scan, report)
        stamps_ns, keys = _frames(topics, scan, own.rig, report)
        if not keys:
            raise DataError(f"{path}: no image in {topics.cameras[0]}")
        self._keys = keys
        imu, truth, gnss = _motion(topics, scan, report)
        if own.reason:
            report.note(f"calibration: {own.reason}")
        if imu is not None and own.rig is not None and not own.imu_mounted:
            imu = None
        name = path.resolve().stem if path.is_file() else path.resolve().name
        super().__init__(name, stamps_ns, Sensors(own.rig, imu, truth, gnss), report)

    def _scan(self, bag: Bag, topics: Topics, scan: _Scan, report: ReadReport) -> None:
        """Read all header stamps, the content of IMU and truth, and some images to know how many bits they use."""
        motion = {name for name in (topics.imu, topics.accel, topics.truth, topics.gnss) if name}
        looked_at = {name: set(spread(bag.topics[name].count)) for name in topics.cameras}
        for raw in bag.messages({*topics.cameras, *motion}):
            if len(scan.stamps[raw.topic]) in looked_at.get(raw.topic, ()):
                self._look(raw, bag.ros1)
            stamp_ns = header_stamp_ns(raw, bag.ros1)
            row = self._row(raw, bag.ros1) if raw.topic in motion else []
            if stamp_ns is None or row is None:
                report.add(f"{raw.topic}: damaged messages, skipped", f"recorded at {raw.recorded_ns}")
                continue
            scan.stamps[raw.topic].append(stamp_ns)
            scan.recorded[raw.topic].append(raw.recorded_ns)
            if row:
                scan.rows[raw.topic].append(row)
        for problem in bag.problems:
            report.add(f"bag: {problem}", str(len(bag.files)))

    def _look(self, raw: Raw, ros1: bool) -> None:
        message = decode(raw, self._types[raw.topic], ros1)
        if message is not None:
            self._decoders[raw.topic].look(message)

    def _row(self, raw: Raw, ros1: bool) -> list[float] | None:
        message = decode(raw, self._types[raw.topic], ros1)
        if message is None:
            return None
        return _ROWS[self._types[raw.topic]](message)

    def _load(self, chosen: range) -> Iterator[list[Loaded | None]]:
        wanted = {key for i in chosen for key in self._keys[i] if key}
        held: dict[Key, Loaded] = {}
        with self._storage.open() as bag:
            messages = bag.messages({topic for topic, _ in wanted})
            for i in chosen:
                keys = self._keys[i]
                while any(key and key not in held for key in keys) and (raw := next(messages, None)):
                    stamp_ns = raw.recorded_ns if raw.topic in self._by_recording else header_stamp_ns(raw, bag.ros1)
                    key = raw.topic, stamp_ns or 0
                    if key in wanted and key not in held:
                        held[key] = Loaded(f"{key[0]} {key[1]}", self._image(raw, bag.ros1))
                yield [held.pop(key, Loaded(f"{key[0]} {key[1]}", None)) if key else None for key in keys]
                wanted.difference_update(keys)

    def _image(self, raw: Raw, ros1: bool) -> np.ndarray | None:
        message = decode(raw, self._types[raw.topic], ros1)
        return None if message is None else self._decoders[raw.topic].decode(message)


def _camera_numbers(rig: Rig | None, inputs: InputConfig) -> tuple[int, ...]:
    return inputs.camera_numbers or tuple(range(len(rig.cameras) if rig else 2))


def _use_recording_times(scan: _Scan, report: ReadReport) -> set[str]:
    """Topics whose headers have no time; from now on those of the recorder count for them."""
    unstamped = {name for name, stamps in scan.stamps.items() if len(stamps) > 1 and not any(stamps)}
    for name in unstamped:
        report.note(f"{name}: stamps are zero, times of the recorder used")
        scan.stamps[name] = scan.recorded[name]
    return unstamped


def _frames(
    topics: Topics, scan: _Scan, rig: Rig | None, report: ReadReport
) -> tuple[np.ndarray, list[list[Key | None]]]:
    """Stamps (N,) of the frames, and of each the image of each camera."""
    cameras = len(rig.cameras) if rig else len(topics.cameras)
    ordered = [_ordered(name, scan.stamps[name], report) for name in topics.cameras[:cameras]]
    ordered += [np.zeros(0, np.int64)] * (cameras - len(ordered))
    frames_ns, chosen = join(ordered, rig.groups if rig else (tuple(range(cameras)),), report)
    keys = [
        [(topics.cameras[camera], int(ordered[camera][i])) if i >= 0 else None for camera, i in enumerate(row)]
        for row in chosen.T
    ]
    return frames_ns, keys


def _ordered(name: str, stamps_ns: list[int], report: ReadReport) -> np.ndarray:
    stamps = np.array(stamps_ns, np.int64)
    return np.asarray(stamps[time_order(name, stamps, report)])


def _motion(
    topics: Topics, scan: _Scan, report: ReadReport
) -> tuple[ImuSamples | None, Trajectory | None, GnssFixes | None]:
    """IMU, truth and GNSS of the rows that the scan found."""
    cleaned = {}
    for name, rows in scan.rows.items():
        stamps_ns, values = np.array(scan.stamps[name], np.int64), np.array(rows)
        if name not in (topics.truth, topics.gnss):
            stamps_ns = spread_bursts(name, stamps_ns, values, report)
        cleaned[name] = clean(name, stamps_ns, values, report)
    names = (topics.imu, topics.accel, topics.truth, topics.gnss)
    imu, accel, truth, fixes = (cleaned.get(name or "") for name in names)
    samples = ImuSamples(imu[0], imu[1][:, :3], imu[1][:, 3:]) if imu else None
    if samples and topics.accel:
        samples = join_imu(samples, *accel, report) if accel else None
    gnss = (
        GnssFixes(fixes[0], fixes[1][:, :3], np.where(fixes[1][:, 3:] > 0, fixes[1][:, 3:], np.nan)) if fixes else None
    )
    return samples, Trajectory(truth[0], truth[1][:, :3], truth[1][:, 3:]) if truth else None, gnss


def _pose_row(message: Any) -> list[float]:
    position, turn = message.pose.position, message.pose.orientation
    return [position.x, position.y, position.z, turn.x, turn.y, turn.z, turn.w]


def _fix_row(message: Any) -> list[float]:
    """Latitude, longitude, height, standard deviations east, north, up, 0 where unknown; NaN where there is no fix."""
    variances = np.reshape(message.position_covariance, (3, 3)).diagonal()
    std = np.sqrt(np.maximum(variances, 0.0)) if message.position_covariance_type else np.zeros(3)
    position = [message.latitude, message.longitude, message.altitude]
    return [*(position if message.status.status >= 0 else [np.nan] * 3), *std.tolist()]


_ROWS = {IMU_TYPE: imu_row, POSE_TYPE: _pose_row, GNSS_TYPE: _fix_row}
