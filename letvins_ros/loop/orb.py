# SPDX-License-Identifier: Apache-2.0
"""ORB features, and a global descriptor of them: VLAD (Jegou 2010) over bits reduced by PCA."""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from letvins_ros.calibration import MountedCamera
from letvins_ros.contrast import equalise_contrast
from letvins_ros.geometry import image_roll
from letvins_ros.loop.features import KeyframeFeatures, with_landmarks
from letvins_ros.types import Keyframe
from letvins_ros.weights import ORB_VLAD, load_weights

PATCH_OCTAVE = 4  # ORB's patch of 31 px is taken at 1 / 1.2^4 of the size: wider views tell places better apart
CORNER_CONTRAST = 20  # gray values of the equalised image; below it are corners of noise, which cost time
CELL_PX = 24  # at most one corner in each


@dataclass(frozen=True, eq=False)
class Vlad:
    """A vocabulary: a PCA of the bits, and the words to which the reduced vectors are assigned."""

    mean: np.ndarray  # (256,) float32 of the bits
    axes: np.ndarray  # (256, P) float32
    words: np.ndarray  # (K, P) float32

    @staticmethod
    def load(path: Path = ORB_VLAD) -> "Vlad":
        """Read a vocabulary; raises WeightsError where the file cannot be used."""
        weights = load_weights(path)
        return Vlad(weights["mean"], weights["axes"], weights["words"])

    @property
    def size(self) -> int:
        """Length of the vector."""
        return int(self.words.size)

    def reduce(self, descriptors: np.ndarray) -> np.ndarray:
        """Short vectors (N, P) float32 of descriptors (N, 32) uint8."""
        bits = np.unpackbits(descriptors, axis=1).astype(np.float32)
        return np.asarray((bits - self.mean) @ self.axes)

    def aggregate(self, descriptors: np.ndarray) -> np.ndarray:
        """Unit vector (K * P,) float32; zero where there is nothing to describe."""
        x = self.reduce(descriptors)
        word = np.argmax(x @ self.words.T - 0.5 * (self.words**2).sum(axis=1), axis=1)
        sums = np.zeros_like(self.words)
        np.add.at(sums, word, x - self.words[word])
        norms = np.linalg.norm(sums, axis=1, keepdims=True)
        sums /= np.maximum(norms, 1e-9) ** 0.5  # a repeated pattern must not dominate (burstiness)
        flat = sums.ravel()
        return np.asarray(flat / max(float(np.linalg.norm(flat)), 1e-9), np.float32)


class OrbDescriber:
    """ORB at the keyframe's landmarks and at further corners, patches rotated by gravity, and their VLAD.

    The image is equalised before, so that other lighting gives the same corners.
    """

    name = "orb-vlad-2"

    def __init__(
        self, camera: MountedCamera, max_features: int, gravity_aligned: bool, vlad: Vlad | None = None
    ) -> None:
        """gravity_aligned: the odom frame's z points up. Raises WeightsError where the vocabulary is missing."""
        self._camera, self._max_features, self._gravity_aligned = camera, max_features, gravity_aligned
        self._orb = cv2.ORB.create(nfeatures=max_features)
        self._fast = cv2.FastFeatureDetector.create(CORNER_CONTRAST)
        self._vlad = vlad or Vlad.load()
        self.place_size = self._vlad.size

    def describe(self, image: np.ndarray, keyframe: Keyframe) -> KeyframeFeatures:
        """See Describer."""
        image = equalise_contrast(image)
        uv, points, ids = with_landmarks(keyframe, self._corners(image, keyframe.uv))
        rows, descriptors = self._orb_at(image, uv, self._roll_deg(keyframe.T_odom_body))
        return KeyframeFeatures(uv[rows], descriptors, points[rows], ids[rows], self._vlad.aggregate(descriptors))

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
        return np.degrees(image_roll(T_odom_body @ self._camera.T_body_cam)) if self._gravity_aligned else 0.0

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
