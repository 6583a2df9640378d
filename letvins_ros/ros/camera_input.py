# SPDX-License-Identifier: Apache-2.0
"""One camera's images and camera_info, as they reach a node, and what is wrong with them."""

import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import numpy as np
from sensor_msgs.msg import CameraInfo

from letvins_ros.camera import Camera
from letvins_ros.datasets.ros_image import ImageDecoder
from letvins_ros.errors import DataError
from letvins_ros.ros import convert
from letvins_ros.ros.camera_info import difference
from letvins_ros.ros.checks import StampGate, Verdict
from letvins_ros.ros.joiner import Arrived
from letvins_ros.ros.node import LetvinsNode

SILENT_S = 1.0
JUMP_FRAMES = 5  # that make a jump of the stamps the new time


class CameraInput:
    """Subscribes to a camera, and names what of its messages cannot be used or does not fit the calibration."""

    def __init__(self, node: LetvinsNode, index: int, camera: Camera) -> None:
        self._node, self._index, self._camera, self.name = node, index, camera, f"cam{index}"
        self._gate, self._decoder = StampGate(JUMP_FRAMES), ImageDecoder(live=True)
        self._take_infos: Callable[[], Iterable[tuple[CameraInfo, int]]] = tuple
        self._heard_at = time.monotonic()
        self.frame_id = ""  # of the last image

    def listen(self, on_image: Callable[[int, Any], None]) -> None:
        """Subscribe until the node is deactivated; on_image is given the camera's index and the message."""
        self._node.hear_images(self._index, partial(on_image, self._index))
        self._take_infos = self._node.poll(
            CameraInfo, self._node.camera_info_topic(self._index), self._node.sensor_qos(1)
        )

    @property
    def is_silent(self) -> bool:
        """Whether no image has come for long."""
        return time.monotonic() - self._heard_at > SILENT_S

    def arrived(self, message: Any) -> tuple[Arrived, Verdict]:
        """An image that has just come, and what its stamp tells."""
        now = time.monotonic_ns()
        self._heard_at, self.frame_id = now * 1e-9, message.header.frame_id
        self._node.stats.count(f"{self.name} images")
        image = Arrived(convert.stamp_to_ns(message.header.stamp), now, time.time_ns(), message)
        verdict = self._gate.check(image.stamp_ns, now)
        if verdict.kind:
            self._node.problems.note(f"{self.name} {verdict.kind}", verdict.problem)
        return image, verdict

    def pixels(self, image: Arrived) -> np.ndarray | None:
        """The image (H, W) or (H, W, 3), or None after naming what is wrong with it."""
        try:
            pixels = convert.image_from(image.message, self._decoder)
        except DataError as error:
            self._node.problems.note(f"{self.name} encoding", str(error))
            return None
        if pixels is None:
            text = "cannot be decoded: its data do not fit its height and step"
            self._node.problems.note(f"{self.name} data", text)
            return None
        height, width = pixels.shape[:2]
        if (width, height) != (self._camera.width, self._camera.height):
            text = f"is {width}x{height}, the calibration is for {self._camera.width}x{self._camera.height}"
            self._node.problems.note(f"{self.name} size", text)
            return None
        return pixels

    def compare_info(self) -> None:
        """Name a camera_info that does not fit the calibration."""
        for info, _ in self._take_infos():
            if text := difference(self._camera, info):
                self._node.problems.note(f"{self.name} camera_info", text)
