# SPDX-License-Identifier: Apache-2.0
"""Bags as real drivers write them: their topics, types and habits, with small images."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rosbags.rosbag1 import Writer as Writer1
from rosbags.rosbag2 import StoragePlugin
from rosbags.rosbag2 import Writer as Writer2
from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore

from .recording_layouts import HEIGHT, WIDTH, image

Make = Callable[[Typestore, int, int], Any]  # the message of a store, from its number and stamp
Record = tuple[
    int, str, str, Make, int, int
]  # when recorded, topic, type, what makes the message, its number and stamp
Numbers = np.ndarray | Sequence[float]
Transform = tuple[str, str, Numbers, Numbers]  # parent, child, position, quaternion
START_NS = 1_600_000_000_000_000_000
IMAGE, IMU, INFO = "sensor_msgs/msg/Image", "sensor_msgs/msg/Imu", "sensor_msgs/msg/CameraInfo"
TF, POSE = "tf2_msgs/msg/TFMessage", "geometry_msgs/msg/PoseStamped"
STORES = {True: get_typestore(Stores.ROS1_NOETIC), False: get_typestore(Stores.ROS2_HUMBLE)}
K = [50.0, 0.0, 31.5, 0.0, 50.0, 23.5, 0.0, 0.0, 1.0]
EYE = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]

STORES[True].register(get_types_from_msg("geometry_msgs/TransformStamped[] transforms\n", TF))


def sequence(
    topic: str, kind: str, make: Make, rate_hz: float, seconds: float = 1.2, recorded_late_ns: int = 0
) -> list[Record]:
    """Records of one topic: when recorded, topic, type, what makes the message of its store and stamp."""
    stamps = START_NS + np.arange(round(rate_hz * seconds)) * round(1e9 / rate_hz)
    return [(int(s) + recorded_late_ns, topic, kind, make, i, int(s)) for i, s in enumerate(stamps)]


def header(store: Typestore, stamp_ns: int, frame: str = "") -> Any:
    kind: Any = store.types["std_msgs/msg/Header"]
    time = store.types["builtin_interfaces/msg/Time"](*divmod(stamp_ns, 10**9))
    return kind(*([0] if "seq" in kind.__dataclass_fields__ else []), time, frame)


def xyz(store: Typestore, values: Numbers, kind: str = "Vector3") -> Any:
    return store.types[f"geometry_msgs/msg/{kind}"](*map(float, values))


def a_picture(camera: int = 0, encoding: str = "mono8", frame: str = "", clock_ns: int = 0) -> Make:
    def make(store: Typestore, i: int, stamp_ns: int) -> Any:
        pixels = image(camera, i)
        return store.types[IMAGE](
            header(store, stamp_ns + clock_ns if stamp_ns else 0, frame),
            HEIGHT, WIDTH, encoding, 0, WIDTH, pixels.ravel(),
        )  # fmt: skip

    return make


def an_imu(
    gyro: tuple[float, float, float] | None = (0.1, 0.2, 0.3),
    accel: tuple[float, float, float] | None = (0.0, 0.0, 9.81),
    frame: str = "imu",
    clock_ns: int = 0,
    ramp: float = 0.0,
) -> Make:
    """gyro or accel None: zeros, as drivers fill them in; ramp: growth of the force along x per second."""

    def make(store: Typestore, i: int, stamp_ns: int) -> Any:
        force = np.array(accel or (0, 0, 0), float)
        force[0] += ramp * (stamp_ns - START_NS) / 1e9
        turn = store.types["geometry_msgs/msg/Quaternion"](0.0, 0.0, 0.0, 1.0)
        none = np.zeros(9)
        return store.types[IMU](
            header(store, stamp_ns + clock_ns, frame), turn, none, xyz(store, gyro or (0, 0, 0)), none,
            xyz(store, force), none,
        )  # fmt: skip

    return make


def an_info(
    frame: str = "",
    D: Sequence[float] = (),
    model: str = "plumb_bob",
    R: Sequence[float] = EYE,
    baseline: float = 0.0,
    matrix: Sequence[float] = K,
) -> Make:
    def make(store: Typestore, i: int, stamp_ns: int) -> Any:
        P = [matrix[0], 0, matrix[2], -matrix[0] * baseline, 0, matrix[4], matrix[5], 0, 0, 0, 1, 0]
        roi = store.types["sensor_msgs/msg/RegionOfInterest"](0, 0, 0, 0, False)
        numbers = [np.array(x, float) for x in (D, matrix, R, P)]
        return store.types[INFO](header(store, stamp_ns, frame), HEIGHT, WIDTH, model, *numbers, 0, 0, roi)

    return make


def a_tf(*transforms: Transform) -> Make:
    """transforms: parent, child, position, quaternion x y z w."""

    def make(store: Typestore, i: int, stamp_ns: int) -> Any:
        made = []
        for parent, child, position, turn in transforms:
            pose = store.types["geometry_msgs/msg/Transform"](xyz(store, position), xyz(store, turn, "Quaternion"))
            made.append(store.types["geometry_msgs/msg/TransformStamped"](header(store, stamp_ns, parent), child, pose))
        return store.types[TF](made)

    return make


def target(folder: Path, kind: str) -> Path:
    """Where in a folder `write` puts a bag of the kind: ros1, sqlite3 or mcap."""
    return folder / "r.bag" if kind == "ros1" else folder / "r"


def storage_of(bag: Path) -> Path:
    """The file of a bag that holds its messages."""
    return bag if bag.is_file() else next(file for file in bag.iterdir() if file.suffix != ".yaml")


def write(
    path: Path,
    records: list[Record],
    kind: str = "mcap",
    prepare: Callable[[Any], object] = lambda writer: None,
    strange: Sequence[tuple[str, str, str]] = (),
) -> Path:
    """path: as of `target`. strange: topic, type, definition of a topic with junk in it."""
    ros1 = kind == "ros1"
    store = STORES[ros1]
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = Writer1(path) if ros1 else Writer2(path, version=8, storage_plugin=StoragePlugin[kind.upper()])
    prepare(writer)
    serialize = store.serialize_ros1 if ros1 else store.serialize_cdr
    with writer:
        for topic, msgtype, definition in strange:
            about: dict[str, Any] = {"md5sum": "0" * 32} if ros1 else {"rihs01": "RIHS01_" + "0" * 64}
            writer.write(writer.add_connection(topic, msgtype, msgdef=definition, **about), START_NS, b"junk" * 5)
        connections = {}
        for recorded_ns, topic, msgtype, make, i, stamp_ns in sorted(records, key=lambda record: record[0]):
            if topic not in connections:
                connections[topic] = writer.add_connection(topic, msgtype, typestore=store)
            writer.write(connections[topic], recorded_ns, serialize(make(store, i, stamp_ns), msgtype))
    return path


def stereo_imu(
    left: str = "/cam0/image_raw", right: str = "/cam1/image_raw", imu: str = "/imu0", seconds: float = 1.2
) -> list[Record]:
    return [
        *sequence(left, IMAGE, a_picture(0), 10, seconds),
        *sequence(right, IMAGE, a_picture(1), 10, seconds),
        *sequence(imu, IMU, an_imu(), 200, seconds),
    ]
