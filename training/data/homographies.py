# SPDX-License-Identifier: Apache-2.0
"""Random homographies: a turned, scaled and slanted part of the image becomes the whole view (DeTone et al. 2018)."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import cv2
import numpy as np

_TRIALS = 50
_UPRIGHT = np.deg2rad(15)


@dataclass(frozen=True)
class Ranges:
    """How far views may differ."""

    patch: float = 0.7  # side of the part, as a share of the image's
    perspective: float = 0.2  # shift of the part's corners, share of the image's side
    scaling: float = 0.2  # the part's side changes by this share
    angle: float = np.pi / 4  # rad, either way
    shift: bool = True  # the part may lie anywhere
    smallest: float = 0.0  # > 0: instead the side is between this and `patch`, log-uniform, less where turning needs it
    upright: float = 0.0  # share of those views that are turned by 15 degrees (standard deviation), not anyhow


KP2D = Ranges(0.7, 0.4, 0.2, np.pi / 4)
KP2DTINY = Ranges(0.7, 0.2, 0.2, np.pi / 2)
SUPERPOINT = Ranges(0.85, 0.2, 0.2, np.pi / 2)
FREE = Ranges(1.0, 0.4, angle=np.pi, smallest=0.4)
UPRIGHT = replace(FREE, upright=0.6)
ZOOMED = replace(FREE, angle=np.pi / 4)  # for images that are known to a quarter turn
RANGES = {
    "free": FREE,
    "upright": UPRIGHT,
    "zoomed": ZOOMED,
    "kp2d": KP2D,
    "kp2dtiny": KP2DTINY,
    "superpoint": SUPERPOINT,
}


def random_homography(rng: np.random.Generator, size: tuple[int, int], ranges: Ranges) -> np.ndarray:
    """H_view_image (3, 3): pixels of an image (height, width) to those of a view of the same size, all of it inside.

    Amounts are normal with half the range as deviation, cut at the range; those that would leave the image are drawn
    again, and are given up after some trials. With a smallest side nothing is: the part shrinks until it fits.
    """
    side = np.exp(rng.uniform(*np.log([ranges.smallest, ranges.patch]))) if ranges.smallest else ranges.patch
    corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * side / 2
    slant = _cut_normal(rng, (3,)) * min(ranges.perspective * side / ranges.patch, (1 - side) / 2)
    corners = corners + slant[0] * np.array([[0, 1], [0, -1], [0, 1], [0, -1]])
    corners[[0, 3], 0] += slant[1]
    corners[[1, 2], 0] += slant[2]
    aspect = size[1] / size[0]
    if ranges.smallest:
        upright = ranges.upright > 0 and rng.random() < ranges.upright
        angle = rng.normal(0, _UPRIGHT) if upright else rng.uniform(-ranges.angle, ranges.angle)
        corners = _turned(corners, angle, aspect)
        corners = corners / max(1.0, 2 * np.abs(corners).max())
    else:
        corners = _try(corners, lambda part: part * (1 + ranges.scaling * _cut_normal(rng, (1,))))
        corners = _try(corners, lambda part: _turned(part, rng.uniform(-ranges.angle, ranges.angle), aspect))
    if ranges.shift:
        room = 0.5 + corners.min(axis=0), 0.5 - corners.max(axis=0)
        corners = corners + rng.uniform(-np.maximum(room[0], 0), np.maximum(room[1], 0))
    scale = np.array([size[1] - 1, size[0] - 1])
    view = np.array([[0, 0], [1, 0], [1, 1], [0, 1]]) * scale
    part = (corners + 0.5) * scale
    H = cv2.getPerspectiveTransform(part.astype(np.float32), view.astype(np.float32))
    return np.asarray(H * np.sign(H[2] @ [*part.mean(axis=0), 1]))  # what is seen lies before the camera


def random_affine(rng: np.random.Generator, angle: float, scales: tuple[float, float], stretch: float) -> np.ndarray:
    """A (2, 2): turned by up to `angle` rad, scaled log-uniformly, stretched along some direction.

    `stretch` is the standard deviation of the stretch's logarithm.
    """
    turn, along = rng.uniform(-angle, angle), rng.uniform(0, np.pi)
    scale, longer = np.exp(rng.uniform(*np.log(scales))), np.exp(rng.normal(0, stretch))
    return np.asarray(scale * _rotation(turn + along) @ np.diag([longer, 1 / longer]) @ _rotation(-along))


def warp(image: np.ndarray, H_view_image: np.ndarray, size: tuple[int, int], nearest: bool = False) -> np.ndarray:
    """View (height, width) of an image; 0 beyond it."""
    flags = cv2.INTER_NEAREST if nearest else cv2.INTER_LINEAR
    return cv2.warpPerspective(image, H_view_image, size[::-1], flags=flags)


def sharp_view(image: np.ndarray, H_view_image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """View (height, width) of a photograph as it was taken, mirrored beyond its border; smoothed where it shrinks."""
    x, y = size[1] / 2, size[0] / 2
    pixel = transfer(np.linalg.inv(H_view_image), np.array([[x, y], [x + 1, y], [x, y + 1]]))
    shrinks = np.sqrt(abs(np.linalg.det(pixel[1:] - pixel[0])))
    smooth = cv2.GaussianBlur(image, (0, 0), 0.5 * shrinks) if shrinks > 1.25 else image
    return cv2.warpPerspective(smooth, H_view_image, size[::-1], borderMode=cv2.BORDER_REFLECT_101)


def transfer(H_b_a: np.ndarray, uv: np.ndarray) -> np.ndarray:
    """Pixels (N, 2) of a in b, float64."""
    if len(uv) == 0:
        return np.zeros((0, 2))
    p = np.hstack([uv, np.ones((len(uv), 1))]) @ np.asarray(H_b_a, np.float64).T
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(p[:, 2:] > 0, p[:, :2] / p[:, 2:], np.nan)


def _try(part: np.ndarray, change: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    for _ in range(_TRIALS):
        changed = change(part)
        if np.abs(changed).max() <= 0.5:
            return changed
    return part


def _turned(part: np.ndarray, angle: float, aspect: float) -> np.ndarray:
    return (part * [aspect, 1]) @ _rotation(angle).T / [aspect, 1]


def _rotation(angle: float) -> np.ndarray:
    return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])


def _cut_normal(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return np.clip(rng.normal(0, 0.5, shape), -1, 1)
