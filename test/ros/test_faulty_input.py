# SPDX-License-Identifier: Apache-2.0
"""What VioStatus, /diagnostics and the covariance say of a sensor that goes wrong in flight, over real DDS."""

import re
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from nav_msgs.msg import Odometry
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, Image, Imu

from letvins_ros.datasets import Dataset, open_dataset
from letvins_ros.ros import convert
from letvins_ros.ros.checks import CURRENT_S
from letvins_ros.ros.doubt import LEAST_SPEED

from ..some import some
from .harness import START_S, Ear, Stack, camera_info

PACE_S, PATIENCE_S = 0.1, 1.0  # between frames; on a busy machine the next one waits so long for the last one's status
AT_S, WITHIN_S, GROWS_S = 2.5, 3.0, 0.4  # of the recording: the fault begins, is told, and grows so long
LATE_FRAMES = 8  # longer than an image waits for the other one
RESTART_FRAMES = 10


class Driver:
    """Plays a recording again and again; in each flight one thing goes wrong at AT_S.

    Its first frames tell the nodes that time has gone back, and then wait until nothing of the last flight is told.
    """

    def __init__(self, ear: Ear, dataset: Dataset) -> None:
        self.node = Node("driver", context=ear.context, use_global_arguments=False)
        qos = QoSProfile(depth=100, reliability=ReliabilityPolicy.RELIABLE)
        self.images = [self.node.create_publisher(Image, f"cam{i}/image_raw", qos) for i in range(2)]
        self.infos = [self.node.create_publisher(CameraInfo, f"cam{i}/camera_info", qos) for i in range(2)]
        self.imu = self.node.create_publisher(Imu, "imu", qos)
        self.dataset, self.frames = dataset, list(dataset.frames())
        self.ear, self.now_s = ear, 0.0

    def keep_pace(self, heard: int) -> None:
        """Wait for the time of the next frame, and for what is said of the last one."""
        due = time.monotonic() + PACE_S
        until = due + PATIENCE_S
        while (now := time.monotonic()) < due or (len(self.ear.statuses) <= heard and now < until):
            time.sleep(0.01)

    def fly(self, fault: str, is_told: Callable[[], bool]) -> float | None:
        """Send until the fault has been told for a while, or the recording ends; when it was told, s after it began."""
        sent, told_s = 0, None
        late = deque[tuple[int, Image]]()
        first_ns, imu = self.frames[0].stamp_ns, some(self.dataset.imu)
        for n, frame in enumerate(self.frames):
            self.now_s, heard = (frame.stamp_ns - first_ns) * 1e-9, len(self.ear.statuses)
            wrong = fault if self.now_s >= AT_S else ""
            end = int(np.searchsorted(imu.stamps_ns, frame.stamp_ns)) + 1
            for i in range(sent, end):
                accel = imu.accel[i] / (9.80665 if wrong == "IMU in g" else 1)
                self.imu.publish(convert.imu_to_message(int(imu.stamps_ns[i]), imu.gyro[i], accel))
            sent = end
            for camera, message in enumerate(map(self._image, (0, 1), map(some, frame.images), [frame.stamp_ns] * 2)):
                other = (camera, message)
                if wrong in ("left missing", "right missing") and camera == (wrong == "right missing"):
                    continue
                if wrong == "swapped":
                    other = (1 - camera, message)
                elif wrong == "right stamped late" and camera == 1:
                    message.header.stamp = convert.ns_to_stamp(frame.stamp_ns + 30_000_000)
                elif wrong in ("left of wrong size", "right of wrong size") and camera == (wrong[0] == "r"):
                    message.height, message.data = 100, message.data[: 100 * message.step]
                if wrong in ("left late", "right late") and camera == (wrong == "right late"):
                    late.append(other)
                    if len(late) <= LATE_FRAMES:
                        continue
                    other = late.popleft()
                self.images[other[0]].publish(other[1])
                self.infos[camera].publish(self._info(camera, wrong == "wrong camera_info"))
            self.keep_pace(heard)
            if n == RESTART_FRAMES:
                time.sleep(CURRENT_S + 0.5)
            if told_s is None and wrong and is_told():
                told_s = self.now_s - AT_S
            if told_s is not None and self.now_s - AT_S > told_s + GROWS_S:
                break
        return some(told_s)

    def _image(self, camera: int, image: np.ndarray, stamp_ns: int) -> Image:
        return convert.image_to_message(image, convert.header(stamp_ns, f"cam{camera}"))

    def _info(self, camera: int, is_wrong: bool) -> CameraInfo:
        lens = some(self.dataset.rig).cameras[camera].camera
        return camera_info(lens, f"cam{camera}", 0.5 if is_wrong and camera == 0 else 1.0)


@pytest.fixture(scope="module")
def flying(
    recording: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Ear, Driver, list[tuple[float, float]]]]:
    folder, dataset = tmp_path_factory.mktemp("faulty"), open_dataset(recording)
    (folder / "as_it_is.yaml").write_text("/**:\n  ros__parameters:\n    ros:\n      mend: false\n")
    config = str(folder / "as_it_is.yaml")
    with (
        Stack(folder, dataset=str(recording), config=config, loop=False) as stack,
        Ear(stack.domain, images=False) as ear,
    ):
        driver, stds = Driver(ear, dataset), []
        ear.node.create_subscription(
            Odometry, "letvins/odometry", lambda m: stds.append((driver.now_s, np.sqrt(m.pose.covariance[0]))), 100
        )
        stack.start("feature_tracker", "vio")
        heard = (driver.imu, *driver.images, *driver.infos)
        ear.wait(lambda: all(one.get_subscription_count() for one in heard), START_S, "nodes")
        yield ear, driver, stds


FAULTS = {
    "right missing": r"cam1: left images without right",
    "left missing": r"cam0: right images without left",
    "swapped": r"cameras_exchanged: ",
    "right late": r"cam1: (left images without right|right images without left)",
    "left late": r"cam[01]: (left images without right|right images without left)",
    "right stamped late": r"cam1: (left images without right|right images without left)",
    "left of wrong size": r"cam0 size: is 752x100, the calibration is for 752x480",
    "right of wrong size": r"cam1 size: is 752x100, the calibration is for 752x480",
    "wrong camera_info": r"cam0 camera_info: its focal length is ",
    "IMU in g": r"accel_in_g: ",
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_in_flight_is_told_within_three_seconds_and_the_covariance_grows(
    fault: str, flying: tuple[Ear, Driver, list[tuple[float, float]]]
) -> None:
    ear, driver, stds = flying
    ear.statuses.clear()
    stds.clear()

    def is_told() -> bool:
        status = ear.statuses[-1][1] if ear.statuses else None
        return (
            status is not None
            and any(re.match(FAULTS[fault], warning) for warning in status.warnings)
            and status.doubtful
            and status.quality < 50
            and re.search(FAULTS[fault], ear.diagnostics.get("feature_tracker", {}).get("message", "")) is not None
        )

    told_s = driver.fly(fault, is_told)
    assert told_s is not None, (ear.statuses[-1], ear.diagnostics)
    assert told_s <= WITHIN_S
    after = [std for at, std in list(stds) if at > AT_S + told_s]
    assert after[-1] - after[0] > LEAST_SPEED * GROWS_S / 2
