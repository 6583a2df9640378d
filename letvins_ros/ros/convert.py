# SPDX-License-Identifier: Apache-2.0
"""ROS messages to the core's data and back, without a loop over elements.

cv_bridge, sensor_msgs_py, tf_transformations and tf2_ros do their part where they are installed and work with the
numpy at hand (those of apt are built for numpy 1, and then fail); elsewhere the same is done here.
"""

from array import array
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from importlib import import_module
from typing import Any

import numpy as np
from builtin_interfaces.msg import Time
from geometry_msgs.msg import Point, Pose, Quaternion, Transform, TransformStamped, Vector3
from nav_msgs.msg import Odometry
from sensor_msgs.msg import Image, Imu, PointCloud2, PointField
from std_msgs.msg import Header

from letvins_ros import types
from letvins_ros.datasets.ros_image import ImageDecoder
from letvins_ros.geometry import from_quaternion
from letvins_ros.geometry import quaternion_xyzw as own_quaternion
from letvins_ros.msg import FeatureTracks, Keyframe, LoopClosure, PlaceDescription, VioStatus
from letvins_ros.ros.mount import Mount

STATES = (types.VioStatus.INITIALISING, types.VioStatus.TRACKING, types.VioStatus.DEGRADED)  # as numbered in VioStatus
PLENTY = 5  # so many times the features needed leave nothing to wish for
_XYZ = [PointField(name=n, offset=4 * i, datatype=PointField.FLOAT32, count=1) for i, n in enumerate("xyz")]
_TYPECODE = {"int64": "q", "int32": "i", "uint16": "H", "float32": "f", "float64": "d", "uint8": "B"}


# -- what may be installed --------------------------------------------------------------------------------------------


@cache
def installed(module: str) -> Any:
    """The module, or None where it is missing or does not load."""
    try:
        return import_module(module)
    except Exception:
        return None


@cache
def _cv_bridge() -> Any:
    """A bridge that has proved to work, or None."""
    module = installed("cv_bridge")
    try:
        bridge, probe = module.CvBridge(), np.arange(6, dtype=np.uint8).reshape(2, 3)
        works = (bridge.imgmsg_to_cv2(image_to_message(probe, Header()), "mono8") == probe).all()
    except Exception:
        return None
    return bridge if works else None


@cache
def _quaternion() -> Callable[[np.ndarray], np.ndarray]:
    module = installed("tf_transformations")
    try:
        turned = np.eye(4)[[1, 2, 0, 3]]
        q = np.asarray(module.quaternion_from_matrix(turned))
        works = np.allclose(np.outer(q, q), np.outer(*[own_quaternion(turned[:3, :3])] * 2))
    except Exception:
        works = False
    if not works:
        return own_quaternion
    return lambda R: np.asarray(module.quaternion_from_matrix(np.block([[R, np.zeros((3, 1))], [np.zeros(3), 1.0]])))


def tf_broadcaster(node: Any) -> Callable[[TransformStamped], None]:
    """What sends a transform on /tf."""
    module = installed("tf2_ros")
    if module is not None:
        return module.TransformBroadcaster(node).sendTransform
    messages = installed("tf2_msgs.msg")
    if messages is None:
        node.get_logger().warning("no tf2_msgs: /tf is not published; remedy: make build, or apt install tf2_msgs")
        return lambda transform: None
    publisher = node.create_publisher(messages.TFMessage, "/tf", 100)
    return lambda transform: publisher.publish(messages.TFMessage(transforms=[transform]))


# -- small parts ------------------------------------------------------------------------------------------------------


def stamp_to_ns(stamp: Time) -> int:
    """Nanoseconds of a stamp."""
    return int(stamp.sec) * 1_000_000_000 + int(stamp.nanosec)


def ns_to_stamp(ns: int) -> Time:
    """A stamp of nanoseconds."""
    sec, nanosec = divmod(ns, 1_000_000_000)
    return Time(sec=sec, nanosec=nanosec)


def header(ns: int, frame_id: str) -> Header:
    """A header of time and frame."""
    return Header(stamp=ns_to_stamp(ns), frame_id=frame_id)


def sequence(values: np.ndarray) -> array:  # type: ignore[type-arg]
    """All values as a message's sequence, copied at once."""
    out: array = array(_TYPECODE[values.dtype.name])  # type: ignore[type-arg]
    if values.size:
        out.frombytes(np.ascontiguousarray(values).view(np.uint8).data)
    return out


def vector(v: np.ndarray) -> Vector3:
    """Three numbers as Vector3."""
    return Vector3(x=float(v[0]), y=float(v[1]), z=float(v[2]))


def pose_to_message(T: np.ndarray) -> Pose:
    """A transform (4, 4) as Pose."""
    x, y, z, w = (float(v) for v in _quaternion()(T[:3, :3]))
    px, py, pz = (float(v) for v in T[:3, 3])
    return Pose(position=Point(x=px, y=py, z=pz), orientation=Quaternion(x=x, y=y, z=z, w=w))


def pose_from_message(pose: Pose) -> np.ndarray:
    """Transform (4, 4) of a Pose."""
    p, q = pose.position, pose.orientation
    return from_quaternion(np.array([p.x, p.y, p.z]), np.array([q.x, q.y, q.z, q.w]))


def transform_to_message(T_parent_child: np.ndarray, ns: int, parent: str, child: str) -> TransformStamped:
    """A transform for /tf."""
    pose = pose_to_message(T_parent_child)
    p = pose.position
    transform = Transform(translation=Vector3(x=p.x, y=p.y, z=p.z), rotation=pose.orientation)
    return TransformStamped(header=header(ns, parent), child_frame_id=child, transform=transform)


def transform_from_message(transform: Transform) -> np.ndarray:
    """Transform (4, 4) of a message."""
    p, q = transform.translation, transform.rotation
    return from_quaternion(np.array([p.x, p.y, p.z]), np.array([q.x, q.y, q.z, q.w]))


# -- sensors ----------------------------------------------------------------------------------------------------------


def image_from(message: Any, decoder: ImageDecoder) -> np.ndarray | None:
    """(H, W) uint8 gray of an Image or CompressedImage, None where its data do not fit its size.

    Raises DataError for an encoding that is not known.
    """
    image = decoder.decode(message)  # names what is wrong; cv_bridge only raises
    if image is None or decoder.is_deep or hasattr(message, "format") or message.encoding == "mono8":
        return image
    bridge = _cv_bridge()
    return image if bridge is None else np.asarray(bridge.imgmsg_to_cv2(message, "mono8"))


def image_to_message(image: np.ndarray, head: Header) -> Image:
    """(H, W) gray or (H, W, 3) BGR uint8 as mono8 or bgr8."""
    height, width = image.shape[:2]
    encoding, step = ("mono8", width) if image.ndim == 2 else ("bgr8", 3 * width)
    message = Image(header=head, height=height, width=width, encoding=encoding, step=step)
    message.data = sequence(image)
    return message


def imu_from(message: Imu) -> tuple[int, float, float, float, float, float, float]:
    """Stamp in ns, gyro x y z in rad/s, accelerometer x y z in m/s^2."""
    rate, force = message.angular_velocity, message.linear_acceleration
    return stamp_to_ns(message.header.stamp), rate.x, rate.y, rate.z, force.x, force.y, force.z


def imu_to_message(ns: int, gyro: np.ndarray, accel: np.ndarray, frame_id: str = "imu0") -> Imu:
    """One reading; it says that it has no orientation."""
    message = Imu(header=header(ns, frame_id), angular_velocity=vector(gyro), linear_acceleration=vector(accel))
    message.orientation_covariance[0] = -1.0
    return message


def cloud_to_message(points: np.ndarray, head: Header) -> PointCloud2:
    """Points (N, 3), m, as a cloud of x y z float32."""
    points = np.ascontiguousarray(points, np.float32)
    module = installed("sensor_msgs_py.point_cloud2")
    if module is not None:
        return module.create_cloud(head, _XYZ, points)
    n = len(points)
    cloud = PointCloud2(header=head, height=1, width=n, fields=_XYZ, point_step=12, row_step=12 * n, is_dense=True)
    cloud.data = sequence(points.view(np.uint8).ravel())
    return cloud


def cloud_from(message: PointCloud2) -> np.ndarray:
    """Points (N, 3) float32 of a cloud that begins with x y z float32."""
    rows = np.frombuffer(message.data, np.uint8).reshape(message.width * message.height, message.point_step)
    return np.ascontiguousarray(rows[:, :12]).view(np.float32)


# -- our own ----------------------------------------------------------------------------------------------------------


def description_to_message(description: types.PlaceDescription | None) -> PlaceDescription:
    """A description; one of no describer stands for none."""
    if description is None:
        return PlaceDescription()
    return PlaceDescription(
        describer=description.describer,
        more_uv=sequence(description.more_uv),
        descriptors=sequence(description.descriptors.view(np.uint16)),
        place=sequence(description.place),
    )


def description_from(message: PlaceDescription, n: int) -> types.PlaceDescription | None:
    """A description of n features of the tracks, None where there is none; ValueError where lengths do not fit."""
    if not message.describer:
        return None
    more_uv = np.array(message.more_uv, np.float32).reshape(-1, 2)
    descriptors = np.array(message.descriptors, np.uint16).view(np.float16).reshape(n + len(more_uv), -1)
    return types.PlaceDescription(message.describer, more_uv, descriptors, np.array(message.place, np.float32))


def tracks_to_message(tracks: types.FrameTracks, frames: Sequence[str] = (), received_ns: int = 0) -> FeatureTracks:
    """Tracks of one frame; frames: frame_id of each camera's image."""
    head = header(tracks.stamp_ns, frames[0] if frames else "")
    message = FeatureTracks(header=head, frames=list(frames), received=ns_to_stamp(received_ns))
    message.ids, message.ages = sequence(tracks.ids), sequence(tracks.ages)
    message.cameras, message.uv = tracks.cameras, sequence(tracks.uv)
    message.gyro_scale = message.accel_scale = 1.0
    message.description = description_to_message(tracks.description)
    return message


def tracks_from(message: FeatureTracks) -> types.FrameTracks:
    """Tracks of one frame; ValueError where the lengths do not agree."""
    ids = np.array(message.ids, np.int64)
    uv = np.array(message.uv, np.float32).reshape(message.cameras, len(ids), 2)
    tracks = types.FrameTracks(stamp_to_ns(message.header.stamp), ids, uv, np.array(message.ages, np.int32))
    return replace(tracks, description=description_from(message.description, int(tracks.by_left.sum())))


def keyframe_to_message(keyframe: types.Keyframe, frame_id: str = "odom", session_ns: int = 0) -> Keyframe:
    """A keyframe of one session of the vio node."""
    message = Keyframe(header=header(keyframe.stamp_ns, frame_id), session=ns_to_stamp(session_ns))
    message.index, message.resets = keyframe.index, keyframe.resets
    message.pose = pose_to_message(keyframe.T_odom_body)
    message.before = [pose_to_message(T) for T in keyframe.T_odom_before]
    message.covariance, message.motion_covariance = keyframe.covariance.ravel(), keyframe.motion_covariance.ravel()
    message.ids, message.uv = sequence(keyframe.ids), sequence(keyframe.uv.astype(np.float32))
    message.points_body = sequence(keyframe.points_body)
    message.description = description_to_message(keyframe.description)
    return message


def closure_to_message(closure: types.LoopClosure, T_map_odom: np.ndarray, frame_id: str = "map") -> LoopClosure:
    """A loop, and the correction (4, 4) after it."""
    message = LoopClosure(header=header(closure.stamp_ns, frame_id), old_stamp=ns_to_stamp(closure.stamp_a_ns))
    message.old_index, message.new_index = closure.a, -1 if closure.b is None else closure.b
    message.old_new, message.map_odom = pose_to_message(closure.T_a_b), pose_to_message(T_map_odom)
    message.covariance = closure.covariance.ravel()
    message.inliers, message.relocalised = closure.inliers, closure.relocalised
    return message


def closure_from(message: LoopClosure) -> tuple[types.LoopClosure, np.ndarray]:
    """A loop, and the correction (4, 4) after it."""
    closure = types.LoopClosure(
        stamp_to_ns(message.header.stamp),
        stamp_to_ns(message.old_stamp),
        message.old_index,
        None if message.new_index < 0 else message.new_index,
        pose_from_message(message.old_new),
        np.asarray(message.covariance).reshape(6, 6),
        message.inliers,
        message.relocalised,
    )
    return closure, pose_from_message(message.map_odom)


def keyframe_from(message: Keyframe) -> types.Keyframe:
    """A keyframe; ValueError where the lengths do not agree."""
    return types.Keyframe(
        message.index,
        stamp_to_ns(message.header.stamp),
        pose_from_message(message.pose),
        np.array(message.covariance).reshape(6, 6),
        np.array([pose_from_message(pose) for pose in message.before]).reshape(-1, 4, 4),
        np.array(message.motion_covariance).reshape(6, 6),
        np.array(message.ids, np.int64),
        np.array(message.uv, np.float32).reshape(-1, 2),
        np.array(message.points_body).reshape(-1, 3),
        message.resets,
        description_from(message.description, len(message.ids)),
    )


def quality_of(status: types.VioStatus, features: int, needed: int, doubtful: bool) -> int:
    """0 (no pose) to 100: full with some times the features needed, below 50 where the pose is degraded or doubtful."""
    if status is types.VioStatus.INITIALISING:
        return 0
    share = min(features / (PLENTY * needed), 1.0)
    return round(49 * share) if doubtful or status is types.VioStatus.DEGRADED else round(50 + 50 * share)


def status_to_message(state: types.VioState, frame_id: str = "odom", session_ns: int = 0) -> VioStatus:
    """Where the estimator stands; the counts of the node are filled in by it."""
    return VioStatus(
        header=header(state.stamp_ns, frame_id),
        session=ns_to_stamp(session_ns),
        state=STATES.index(state.status),
        reason=state.reason,
        resets=state.resets,
        gyro_bias=vector(state.gyro_bias),
        accel_bias=vector(state.accel_bias),
    )


def odometry_to_message(
    state: types.VioState, rate: np.ndarray, rate_std: float, frames: tuple[str, str], mount: Mount
) -> Odometry:
    """Pose of the base in odom, twist in the base.

    rate (3,): turning of the IMU in its own axes, bias taken off, rad/s, with its noise rate_std.
    """
    message = Odometry(header=header(state.stamp_ns, frames[0]), child_frame_id=frames[1])
    message.pose.pose = pose_to_message(mount.pose(state.T_odom_body))
    message.pose.covariance = mount.pose_covariance(state).ravel()
    twist = mount.twist(state, rate)
    message.twist.twist.linear, message.twist.twist.angular = vector(twist[:3]), vector(twist[3:])
    message.twist.covariance = mount.twist_covariance(state, rate_std).ravel()
    return message
