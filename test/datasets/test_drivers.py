# SPDX-License-Identifier: Apache-2.0
"""Bags with all that real drivers publish: topics, types, encodings, and messages of their own packages."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from rosbags.typesys.store import Typestore

from letvins_ros.datasets import open_dataset

from ..some import some
from . import bag_making as making
from . import recording_layouts as layouts
from .bag_making import IMAGE, IMU, INFO, sequence

COMPRESSED = "sensor_msgs/msg/CompressedImage"
FRAMES = 12
JUNK = "uint8[] data\n"


def picture(camera: int, encoding: str) -> making.Make:
    """The image of a camera in an encoding of Image, or of CompressedImage: jpeg, png."""

    def make(store: Typestore, i: int, stamp_ns: int) -> Any:
        gray = layouts.image(camera, i)
        head = making.header(store, stamp_ns, f"camera{camera}")
        if encoding in ("jpeg", "png"):
            return store.types[COMPRESSED](head, encoding, cv2.imencode(f".{encoding}", gray)[1].ravel())
        if encoding == "16UC1":
            data, step = (gray.astype(np.uint16) * 256).view(np.uint8), 2 * layouts.WIDTH
        else:
            channels = {"mono8": 1, "bgr8": 3, "bgra8": 4}[encoding]
            data, step = np.repeat(gray[:, :, None], channels, 2), channels * layouts.WIDTH
        return store.types[IMAGE](head, layouts.HEIGHT, layouts.WIDTH, encoding, 0, step, data.ravel())

    return make


def images(encoding: str, *topics: str) -> list[making.Record]:
    kind = COMPRESSED if encoding in ("jpeg", "png") else IMAGE
    return [r for i, topic in enumerate(topics) for r in sequence(topic, kind, picture(i, encoding), 10)]


def imu(topic: str, rate_hz: float = 200, **parts: Any) -> list[making.Record]:
    return sequence(topic, IMU, making.an_imu(**parts), rate_hz)


def infos(*topics: str) -> list[making.Record]:
    """Calibration of a pair, and where its left camera sits on the IMU."""
    mount = making.a_tf(("imu", "camera0", (0.1, 0, 0), (0, 0, 0, 1)))
    made = [r for i, topic in enumerate(topics) for r in sequence(topic, INFO, making.an_info(baseline=0.1 * i), 10)]
    return made + sequence("/tf_static", making.TF, mount, 10, 0.1)


R, Z, OAK = "/camera/camera", "/zed/zed_node", "/oak"
CAMS = images("mono8", "/cam0/image_raw", "/cam1/image_raw")
DRIVERS = {  # records, topics of the vendor's own types, what is chosen
    "realsense2_camera": (
        images("mono8", f"{R}/infra1/image_rect_raw", f"{R}/infra2/image_rect_raw")
        + images("bgr8", f"{R}/color/image_raw") + images("16UC1", f"{R}/depth/image_rect_raw")
        + infos(f"{R}/infra1/camera_info", f"{R}/infra2/camera_info") + imu(f"{R}/imu"),
        [(f"{R}/extrinsics/depth_to_infra1", "realsense2_camera_msgs/msg/Extrinsics"),
         (f"{R}/color/metadata", "realsense2_camera_msgs/msg/Metadata")],
        f"cam0={R}/infra1/image_rect_raw --topic cam1={R}/infra2/image_rect_raw --topic imu={R}/imu",
    ),
    "realsense2_camera, gyro and accel apart": (
        images("mono8", f"{R}/infra1/image_rect_raw", f"{R}/infra2/image_rect_raw")
        + imu(f"{R}/gyro/sample", 200, accel=None) + imu(f"{R}/accel/sample", 100, gyro=None),
        [(f"{R}/gyro/imu_info", "realsense2_camera_msgs/msg/IMUInfo")],
        f"cam0={R}/infra1/image_rect_raw --topic cam1={R}/infra2/image_rect_raw"
        f" --topic gyro={R}/gyro/sample --topic accel={R}/accel/sample",
    ),
    "depthai_ros_driver": (
        images("mono8", f"{OAK}/left/image_raw", f"{OAK}/right/image_raw") + images("bgr8", f"{OAK}/rgb/image_raw")
        + images("jpeg", f"{OAK}/left/image_raw/compressed", f"{OAK}/right/image_raw/compressed")
        + images("16UC1", f"{OAK}/stereo/image_raw") + infos(f"{OAK}/left/camera_info", f"{OAK}/right/camera_info")
        + imu(f"{OAK}/imu/data", 200),
        [(f"{OAK}/nn/spatial_detections", "vision_msgs/msg/Detection3DArray")],
        f"cam0={OAK}/left/image_raw --topic cam1={OAK}/right/image_raw --topic imu={OAK}/imu/data",
    ),
    "zed_wrapper": (
        images("bgra8", f"{Z}/left_raw/image_raw_color", f"{Z}/right_raw/image_raw_color")
        + images("bgra8", f"{Z}/left/image_rect_color", f"{Z}/right/image_rect_color")
        + imu(f"{Z}/imu/data") + imu(f"{Z}/imu/data_raw"),
        [(f"{Z}/obj_det/objects", "zed_interfaces/msg/ObjectsStamped"),
         (f"{Z}/status/health", "zed_msgs/msg/HealthStatus")],
        f"cam0={Z}/left_raw/image_raw_color --topic cam1={Z}/right_raw/image_raw_color --topic imu={Z}/imu/data_raw",
    ),
    "mavros": (
        CAMS + imu("/mavros/imu/data", 50) + imu("/mavros/imu/data_raw", 200),
        [("/mavros/state", "mavros_msgs/msg/State"), ("/mavros/rc/in", "mavros_msgs/msg/RCIn")],
        "cam0=/cam0/image_raw --topic cam1=/cam1/image_raw --topic imu=/mavros/imu/data_raw",
    ),
    "vectornav": (
        CAMS + imu("/vectornav/imu", 200) + imu("/vectornav/imu_uncompensated", 40),
        [("/vectornav/raw/common", "vectornav_msgs/msg/CommonGroup"),
         ("/vectornav/raw/gps", "vectornav_msgs/msg/GpsGroup")],
        "cam0=/cam0/image_raw --topic cam1=/cam1/image_raw --topic imu=/vectornav/imu",
    ),
    "microstrain_inertial_driver": (
        images("png", "/left/image_raw/compressed", "/right/image_raw/compressed")
        + imu("/imu/data", 200) + imu("/ekf/imu/data", 100),
        [("/mip/ekf/status", "microstrain_inertial_msgs/msg/MipFilterStatus"),
         ("/imu/overrange_status", "microstrain_inertial_msgs/msg/MipSensorOverrangeStatus")],
        "cam0=/left/image_raw/compressed --topic cam1=/right/image_raw/compressed --topic imu=/imu/data",
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", ["ros1", "sqlite3", "mcap"])
@pytest.mark.parametrize("driver", DRIVERS)
def test_the_bag_of_a_driver_is_read_with_no_option(tmp_path: Path, driver: str, kind: str) -> None:
    records, own, chosen = DRIVERS[driver]
    strange = [(topic, msgtype, JUNK) for topic, msgtype in own]
    path = making.write(making.target(tmp_path, kind), records, kind, strange=strange)
    dataset = open_dataset(path)
    assert f"topics: --topic {chosen}" in dataset.report.notes
    frames = list(dataset.frames())
    assert len(frames) == FRAMES
    for i, frame in enumerate(frames):
        for camera, pixels in enumerate(frame.images):
            assert np.array_equal(some(pixels), layouts.image(camera, i))
    assert len(some(dataset.imu)) > 200
    calibrated = any(record[1] == "/tf_static" for record in records)
    assert (dataset.rig is not None) == calibrated
    assert not [kind for kind in dataset.report.counts if "damaged" in kind]
