# SPDX-License-Identifier: Apache-2.0
"""Features held to the patch in which they were first seen, so that following them does not drift.

Flow from frame to frame adds up its errors: a feature slides over its surface, and for many frames tells the same wrong
motion. Here its first patch is found again in every image, with the affine change of its shape, by inverse
compositional alignment (Baker and Matthews 2004) that starts where flow has led.
"""

from dataclasses import dataclass, field

import numpy as np

from letvins_ros.tracking.patch_size import HALF, SIDE

MAX_MOVE_PX = 2.0  # from where flow has led: the error of a frame, not of many, also where light is poor
MIN_LIKENESS = 0.6  # normalised cross-correlation; noise alone leaves so little in the dark
USUAL_SHARE = 0.8  # of the likeness that most have, which is less while an image is blurred: enough then
CORNERS = HALF * np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]])  # px from the middle
MIN_AREA, MAX_AREA = 0.4, 2.5  # of the first patch: beyond, it was seen at another scale


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

    def outlines(self, uv: np.ndarray) -> np.ndarray:
        """Corners (N, 4, 2), px, that they have around points uv (N, 2)."""
        return np.asarray(uv[:, None] + CORNERS @ np.swapaxes(self.shape, 1, 2))

    def found_again(self, image: np.ndarray, uv: np.ndarray) -> tuple[np.ndarray, "Patches", np.ndarray]:
        """Where the features are in an image (H, W) uint8 in which flow has led to uv (N, 2) px.

        Also their patches, and which of them (N,) are still there: another thing where flow has led says that flow has
        slipped. Where nothing can be said, as a patch reaches off the image or has no texture, flow is believed.
        """
        uv, shape, found, compared = self._aligned(image, uv)
        area = np.linalg.det(shape)
        anew = ~found | (area < MIN_AREA) | (area > MAX_AREA)
        first, now = self.first.copy(), Patches.at(image, uv[anew])
        first[anew], shape[anew] = now.first, now.shape
        return uv, Patches(first, shape), found | ~compared

    def placed(self, image: np.ndarray, uv: np.ndarray) -> np.ndarray:
        """Where the features are in another camera's image of now, in which flow has led to uv (N, 2) px.

        Where a patch is not found, flow is believed.
        """
        return self._aligned(image, uv)[0]

    def _aligned(self, image: np.ndarray, uv: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Places (N, 2) float32 and shapes (N, 2, 2), which (N,) were found, and which could be compared at all."""
        from letvins_ros.tracking.anchoring_kernels import align

        at, shape, likeness = uv.astype(np.float64), self.shape.copy(), np.empty(len(uv))
        align(image, self.first, shape, at, likeness)
        compared = likeness > -1
        usual = float(np.median(likeness[compared])) if compared.any() else 1.0
        alike = likeness > min(MIN_LIKENESS, USUAL_SHARE * usual)
        found = alike & (np.linalg.norm(at - uv, axis=1) < MAX_MOVE_PX)
        return np.where(found[:, None], at, uv).astype(np.float32), shape, found, compared
