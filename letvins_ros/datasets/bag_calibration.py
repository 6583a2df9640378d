# SPDX-License-Identifier: Apache-2.0
"""The calibration that lies in a bag: camera_info of each camera, mounts from tf_static or from the stereo pair."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from letvins_ros import geometry
from letvins_ros.calibration import Rig, rig_from_dict
from letvins_ros.calibration_files.camera_info import camera_from_info, mount_from_projections, rectified_camera
from letvins_ros.calibration_files.values import Plain, named
from letvins_ros.datasets.bags.decode import CAMERA_INFO, TRANSFORMS, decode
from letvins_ros.datasets.bags.storage import Bag
from letvins_ros.datasets.fixed_frames import FixedFrames
from letvins_ros.datasets.topics import RECTIFIED, Topics
from letvins_ros.errors import CalibrationError


@dataclass(frozen=True, eq=False)
class BagRig:
    """The calibration of a bag's cameras, as far as it has one."""

    rig: Rig | None
    imu_mounted: bool = True  # the body is the IMU, not the left camera
    reason: str = ""  # why there is none, or no place of the IMU


def _frames(transforms: Iterable[Any]) -> FixedFrames:
    """The tree of tf's frames."""
    tree = FixedFrames()
    for one in transforms:
        p, q = one.transform.translation, one.transform.rotation
        turn = np.array([q.x, q.y, q.z, q.w])
        if np.isfinite([p.x, p.y, p.z, *turn]).all() and abs(np.linalg.norm(turn) - 1) < 1e-2:
            T = geometry.from_quaternion(np.array([[p.x, p.y, p.z]]), turn[None] / np.linalg.norm(turn))[0]
            tree.add(_bare(one.header.frame_id), _bare(one.child_frame_id), T)
    return tree


def read_bag_rig(bag: Bag, topics: Topics) -> BagRig:
    """Rig of the chosen cameras; the body is the IMU where its place is known, else the left camera."""
    infos = [_info_topic(name, bag) for name in topics.cameras]
    if missing := [name for name, info in zip(topics.cameras, infos, strict=True) if info is None]:
        return BagRig(None, reason=f"the bag has no camera_info for {', '.join(missing)}")
    first = _first(bag, {*topics.cameras, *(info for info in infos if info), *([topics.imu] if topics.imu else [])})
    messages = [first.get(info or "") for info in infos]
    try:
        cameras = [_camera(name, info) for name, info in zip(topics.cameras, messages, strict=True)]
    except CalibrationError as error:
        return BagRig(None, reason=str(error))
    frames = _frames(one for message in _transforms(bag) for one in message.transforms)
    names = [first[topic].header.frame_id if topic in first else "" for topic in topics.cameras]
    imu_frame = first[topics.imu].header.frame_id if topics.imu in first else None
    mounts = [_mount(frames, names, messages, topics, i) for i in range(len(cameras))]
    if lost := [topics.cameras[i] for i, T in enumerate(mounts) if T is None]:
        return BagRig(None, reason=f"neither tf_static nor camera_info tells how {', '.join(lost)} is mounted")
    T_body_left, reason = np.eye(4), ""
    if imu_frame is not None:
        found = frames.between(_bare(imu_frame), _bare(names[0]))
        if found is None:
            reason = f"imu not used: no tf_static joins {imu_frame or 'its frame'} and {names[0] or topics.cameras[0]}"
        else:
            T_body_left = found @ _rectifying(topics.cameras[0], messages[0])
    for camera, T_left_cam in zip(cameras, mounts, strict=True):
        if T_left_cam is not None:
            camera["T_body_cam"] = (T_body_left @ T_left_cam).ravel().tolist()
    try:
        rig = rig_from_dict({f"camera{i}": camera for i, camera in enumerate(cameras)})
    except CalibrationError as error:
        return BagRig(None, reason=str(error))
    return BagRig(rig, not reason, reason)


def _bare(frame: str) -> str:
    return frame.lstrip("/")


def _info_topic(image: str, bag: Bag) -> str | None:
    """The camera_info that goes with an image topic: beside it."""
    name = image
    for _ in range(2):
        name = name.rpartition("/")[0]
        if (found := bag.topics.get(f"{name}/camera_info")) and found.type == CAMERA_INFO:
            return found.name
    return None


def _first(bag: Bag, names: set[str]) -> dict[str, Any]:
    """Return the first message of each topic that can be decoded."""
    found: dict[str, Any] = {}
    for raw in bag.messages(names):
        if raw.topic not in found and (message := decode(raw, bag.topics[raw.topic].type, bag.ros1)) is not None:
            found[raw.topic] = message
            if len(found) == len(names):
                break
    return found


def _transforms(bag: Bag) -> list[Any]:
    """Return all messages of the static transforms."""
    names = {name for name, topic in bag.topics.items() if topic.type in TRANSFORMS and name.endswith("tf_static")}
    decoded = [decode(raw, bag.topics[raw.topic].type, bag.ros1) for raw in (bag.messages(names) if names else ())]
    return [message for message in decoded if message is not None]


def _field(info: Any, name: str) -> list[float]:
    """A matrix of the message, row by row: `K` in ROS 1, `k` in ROS 2."""
    return [float(x) for x in getattr(info, name if hasattr(info, name) else name.lower())]


def _camera(topic: str, info: Any | None) -> Plain:
    with named(topic):
        if info is None:
            raise CalibrationError("its camera_info cannot be decoded")
        if max(info.binning_x, info.binning_y) > 1 or info.roi.x_offset or info.roi.y_offset:
            raise CalibrationError("its camera_info is of the whole sensor, the images are a part of it or binned")
        size = int(info.width), int(info.height)
        if RECTIFIED.search(topic):
            return rectified_camera(size, _field(info, "P"))
        return camera_from_info(size, info.distortion_model, _field(info, "K"), _field(info, "D"))


def _rectifying(topic: str, info: Any) -> np.ndarray:
    """T_optical_image (4, 4): how far the frame of the images is turned from that of the lens."""
    T = np.eye(4)
    if RECTIFIED.search(topic):
        T[:3, :3] = np.reshape(_field(info, "R"), (3, 3)).T
    return T


def _mount(frames: FixedFrames, names: list[str], infos: list[Any], topics: Topics, i: int) -> np.ndarray | None:
    """T_left_camera (4, 4) of camera i: by tf_static, else from the matrices of the calibrated pair."""
    if i == 0:
        return np.eye(4)
    T = frames.between(_bare(names[0]), _bare(names[i])) if names[0] != names[i] else None
    turns = [_rectifying(topics.cameras[k], infos[k]) for k in (0, i)]
    if T is not None:
        return geometry.inverse(turns[0]) @ T @ turns[1]
    rectified = [bool(RECTIFIED.search(topics.cameras[k])) for k in (0, i)]
    R = [
        np.eye(3) if flat else np.reshape(_field(infos[k], "R"), (3, 3))
        for flat, k in zip(rectified, (0, i), strict=True)
    ]
    return mount_from_projections(R, [np.reshape(_field(infos[k], "P"), (3, 4)) for k in (0, i)])
