# SPDX-License-Identifier: Apache-2.0
"""Features held to the patch in which they were first seen, so that following them does not drift.

Flow from frame to frame adds up its errors: a feature slides over its surface, and for many frames tells the same wrong
motion. Here its first patch is found again in every image, with the affine change of its shape, by inverse
compositional alignment (Baker and Matthews 2004) that starts where flow has led.
"""

from dataclasses import dataclass, field

import numpy as np

from letvins_ros.tracking.patch_size import SIDE

MAX_MOVE_PX = 1.0  # from where flow has led: the error of one frame, not of many
MIN_LIKENESS = 0.8  # normalised cross-correlation
MIN_AREA, MAX_AREA = 0.6, 1.6  # of the first patch: beyond, it was seen at another scale


def compile_kernels() -> None:
    """Have numba compile what is here, or load it from its cache, before the first frame waits for it."""
    image = np.zeros((SIDE, SIDE), np.uint8)
    uv = np.zeros((1, 2), np.float32)
    Patches.at(image, uv).found_again(image, uv)


@dataclass(frozen=True, eq=False)
class Patches:
    """What N features looked like when they were first seen, and what shape that has now."""

    first: np.ndarray = field(default_factory=lambda: np.zeros((0, SIDE + 2, SIDE + 2), np.float32))  # gray levels
    shape: np.ndarray = field(default_factory=lambda: np.zeros((0, 2, 2)))  # px now per px then

    @classmethod
    def none(cls, features: int) -> "Patches":
        """Those of features that nothing shows."""
        return cls(np.zeros((features, SIDE + 2, SIDE + 2), np.float32), np.tile(np.eye(2), (features, 1, 1)))

    @classmethod
    def at(cls, image: np.ndarray, uv: np.ndarray) -> "Patches":
        """Those of an image (H, W) uint8 around points uv (N, 2) px."""
        from letvins_ros.tracking.anchoring_kernels import take  # numba: some 60 MB that not every tracker needs

        patches = cls.none(len(uv))
        take(image, np.asarray(uv, np.float64), patches.first)
        return patches

    def __getitem__(self, mask: np.ndarray) -> "Patches":
        return Patches(self.first[mask], self.shape[mask])

    def followed_by(self, others: "Patches") -> "Patches":
        """These, then the others."""
        return Patches(np.concatenate([self.first, others.first]), np.concatenate([self.shape, others.shape]))

    def found_again(self, image: np.ndarray, uv: np.ndarray) -> tuple[np.ndarray, "Patches"]:
        """Where the features are in an image (H, W) uint8 in which flow has led to uv (N, 2) px, and their patches.

        One that is not found where flow says stays there, and is what is seen there from now on.
        """
        from letvins_ros.tracking.anchoring_kernels import align

        at, shape, likeness = uv.astype(np.float64), self.shape.copy(), np.empty(len(uv))
        align(image, self.first, shape, at, likeness)
        area = np.linalg.det(shape)
        near = np.linalg.norm(at - uv, axis=1) < MAX_MOVE_PX
        held = near & (likeness > MIN_LIKENESS) & (area > MIN_AREA) & (area < MAX_AREA)
        first = self.first.copy()
        anew = Patches.at(image, uv[~held])
        first[~held], shape[~held] = anew.first, anew.shape
        return np.where(held[:, None], at, uv).astype(np.float32), Patches(first, shape)
