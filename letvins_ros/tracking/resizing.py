# SPDX-License-Identifier: Apache-2.0
"""Images of a pair brought to one size: flow compares only such."""

from dataclasses import dataclass, replace

import cv2
import numpy as np

from letvins_ros.camera import Camera


@dataclass(frozen=True, eq=False)
class Resizing:
    """Gives a camera's images the size, focal length and principal point of another's, without turning anything."""

    camera: Camera  # of the resized images
    scale: float
    shift: np.ndarray  # (2,) px: a pixel uv comes to scale * uv + shift

    def resized(self, image: np.ndarray) -> np.ndarray:
        """The image (H, W) or (H, W, 3) at the other size; black where it does not reach."""
        A = np.array([[self.scale, 0.0, self.shift[0]], [0.0, self.scale, self.shift[1]]])
        return np.asarray(cv2.warpAffine(image, A, (self.camera.width, self.camera.height), flags=cv2.INTER_LINEAR))

    def original(self, uv: np.ndarray) -> np.ndarray:
        """Where pixels (..., 2) of the resized image are in the original one."""
        return np.asarray((uv - self.shift) / self.scale, np.float32)


def resizing(camera: Camera, other: Camera) -> Resizing | None:
    """What brings this camera's images to the size of the other's; None where they have it."""
    if (camera.width, camera.height) == (other.width, other.height):
        return None
    scale = other.focal_px / camera.focal_px
    *lens, fx, fy, cx, cy = camera.intrinsics
    centre = np.array(other.intrinsics[-2:])
    like = replace(
        camera, width=other.width, height=other.height, intrinsics=(*lens, scale * fx, scale * fy, *centre.tolist())
    )
    return Resizing(like, scale, centre - scale * np.array([cx, cy]))
