# SPDX-License-Identifier: Apache-2.0
"""What a keyframe looks like: local features to match, and one vector by which its place is found again."""

from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np

from letvins_ros.calibration import MountedCamera
from letvins_ros.contrast import even_out
from letvins_ros.loop.vlad import Vlad
from letvins_ros.types import Keyframe

PATCH_OCTAVE = 4  # ORB's patch of 31 px is taken at 1 / 1.2^4 of the size: wider views tell places better apart
BORDER_PX = 24.0
CORNER_CONTRAST = 20  # gray values of the evened-out image; below it are corners of noise, which cost time
CELL_PX = 24  # at most one corner in each


@dataclass(frozen=True, eq=False)
class Features:
    """Local and global descriptors of one keyframe."""

    uv: np.ndarray  # (N, 2) float32 left pixels
    descriptors: np.ndarray  # (N, B) uint8, compared bit by bit, or (N, C) float16 of unit length
    points_body: np.ndarray  # (N, 3) float32 m, NaN where the depth is unknown
    ids: np.ndarray  # (N,) int64 of landmarks, -1 for corners that are none
    place: np.ndarray  # (D,) float32, unit: the inner product of two says how alike they are

    def __post_init__(self) -> None:
        n = len(self.uv)
        if self.uv.shape != (n, 2) or self.points_body.shape != (n, 3) or len(self.descriptors) != n:
            raise ValueError(f"{n} pixels, {self.descriptors.shape} descriptors, {self.points_body.shape} points")

    def __len__(self) -> int:
        return len(self.uv)


class Describer(Protocol):
    """What recognition needs of a method; a network takes the place of ORB by offering the same."""

    name: str  # maps of another name cannot be compared
    place_size: int

    def describe(self, image: np.ndarray, keyframe: Keyframe) -> Features:
        """Features of a gray image (H, W) uint8; the keyframe's own landmarks come first."""
        ...


def with_landmarks(keyframe: Keyframe, more_uv: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pixels, points and ids, as Features has them, of the keyframe's landmarks and then of further pixels (M, 2)."""
    uv = np.concatenate([keyframe.uv, more_uv]).astype(np.float32)
    points, ids = np.full((len(uv), 3), np.nan, np.float32), np.full(len(uv), -1)
    points[: len(keyframe.uv)], ids[: len(keyframe.uv)] = keyframe.points_body, keyframe.ids
    return uv, points, ids


class OrbDescriber:
    """ORB at the keyframe's landmarks and at further corners, turned upright by gravity, and their VLAD.

    The image is evened out before, so that other lamps find the same corners.
    """

    name = "orb-vlad-2"

    def __init__(self, camera: MountedCamera, max_features: int, is_upright: bool, vlad: Vlad | None = None) -> None:
        """is_upright: the odom frame's z points up. Raises WeightsError where the vocabulary is missing."""
        self._camera, self._max_features, self._upright = camera, max_features, is_upright
        self._orb = cv2.ORB.create(nfeatures=max_features)
        self._fast = cv2.FastFeatureDetector.create(CORNER_CONTRAST)
        self._vlad = vlad or Vlad.load()
        self.place_size = self._vlad.size

    def describe(self, image: np.ndarray, keyframe: Keyframe) -> Features:
        """See Describer."""
        image = even_out(image)
        uv, points, ids = with_landmarks(keyframe, self._corners(image, keyframe.uv))
        rows, descriptors = self._orb_at(image, uv, self._roll_deg(keyframe.T_odom_body))
        return Features(uv[rows], descriptors, points[rows], ids[rows], self._vlad.aggregate(descriptors))

    def _corners(self, image: np.ndarray, taken: np.ndarray) -> np.ndarray:
        """The strongest corners (M, 2), spread over the image and away from those taken."""
        keypoints = self._fast.detect(image)
        if not keypoints:
            return np.zeros((0, 2), np.float32)
        uv = np.array([keypoint.pt for keypoint in keypoints], np.float32)
        strongest = np.argsort([-keypoint.response for keypoint in keypoints], kind="stable")
        columns = image.shape[1] // CELL_PX + 1
        cells = (uv // CELL_PX).astype(int) @ [1, columns]
        used = np.unique((taken // CELL_PX).astype(int) @ [1, columns])
        strongest = strongest[~np.isin(cells[strongest], used)]
        _, first = np.unique(cells[strongest], return_index=True)
        return uv[strongest[np.sort(first)][: max(self._max_features - len(taken), 0)]]

    def _roll_deg(self, T_odom_body: np.ndarray) -> float:
        """Angle in the image from its y axis to where down points; 0 where the camera looks up or down."""
        if not self._upright:
            return 0.0
        down = (T_odom_body @ self._camera.T_body_cam)[2, :2] * -1.0
        return float(np.degrees(np.arctan2(-down[0], down[1]))) if np.hypot(*down) > 0.2 else 0.0

    def _orb_at(self, image: np.ndarray, uv: np.ndarray, roll_deg: float) -> tuple[np.ndarray, np.ndarray]:
        """Rows of the pixels that could be described, and their descriptors (N, 32)."""
        size = 31 * 1.2**PATCH_OCTAVE
        places = [
            cv2.KeyPoint(float(u), float(v), size, roll_deg, 0.0, PATCH_OCTAVE, row) for row, (u, v) in enumerate(uv)
        ]
        kept, descriptors = self._orb.compute(image, places)
        if descriptors is None:
            return np.zeros(0, int), np.zeros((0, 32), np.uint8)
        return np.array([keypoint.class_id for keypoint in kept], int), descriptors
