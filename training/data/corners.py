# SPDX-License-Identifier: Apache-2.0
"""Corners that are found again from elsewhere, as a first teacher of keypoints."""

import cv2
import numpy as np

from training.data.homographies import random_affine, warp

VIEWS = 10  # of an image, besides itself
_RADIUS = 3  # px, within which one corner is kept
_PIXELS = 256  # of a view, for each of its corners
_SPREAD_PX = 1.0  # of a corner's place from view to view


def repeated_corners(
    gray: np.ndarray, H_b_a: np.ndarray, cell: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Labels (3, h, w) float32 of the cells of a clean image (H, W) and of its view b: share, x and y in px.

    The share 0..1 of random views that show a corner there is what a score should tell; 0 where the cell has none.
    """
    share = repeats(gray, rng)
    return _cells(share, cell), _cells(warp(share, H_b_a, (share.shape[0], share.shape[1])), cell)


def repeats(gray: np.ndarray, rng: np.random.Generator, views: int = VIEWS) -> np.ndarray:
    """Share (H, W) of views in which a pixel is a corner, by homographic adaptation (DeTone et al. 2018).

    The detector is Harris & Stephens' of 1988; close corners may add up to more than 1.
    """
    size = (gray.shape[0], gray.shape[1])
    found, seen = _corners(gray), np.ones(size, np.float32)
    for _ in range(views):
        M = _affine(rng, size)
        view = cv2.warpAffine(gray, M, size[::-1], borderMode=cv2.BORDER_REFLECT_101)
        back = cv2.invertAffineTransform(M)
        found += cv2.warpAffine(_corners(view), back, size[::-1])
        seen += cv2.warpAffine(np.ones(size, np.float32), back, size[::-1])
    return np.asarray(found / seen, np.float32)


def _affine(rng: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
    """(2, 3): turned up to 34 degrees, scaled by 0.6 to 1.5, stretched along some direction, about the centre."""
    A = random_affine(rng, 0.6, (0.6, 1.5), 0.15)
    centre = (np.array(size[::-1]) - 1) / 2
    return np.column_stack([A, centre - A @ centre])


def _corners(gray: np.ndarray) -> np.ndarray:
    """(H, W) with a soft spot of height 1 at each of the strongest corners."""
    response = _harris(gray)
    peaks = np.where(response >= _largest(response), response, 0)
    count = max(1, peaks.size // _PIXELS)
    weakest = max(np.partition(peaks.ravel(), -count)[-count], 1e-6)
    spots = cv2.GaussianBlur((peaks >= weakest).astype(np.float32), (0, 0), _SPREAD_PX)
    return np.asarray(spots * np.float32(2 * np.pi * _SPREAD_PX**2))


def _harris(gray: np.ndarray) -> np.ndarray:
    smooth = cv2.GaussianBlur(gray, (0, 0), 1.0)
    dx, dy = (cv2.Sobel(smooth, cv2.CV_32F, *order) for order in ((1, 0), (0, 1)))
    xx, xy, yy = (cv2.GaussianBlur(x, (0, 0), 1.5) for x in (dx * dx, dx * dy, dy * dy))
    return np.asarray(xx * yy - xy * xy - 0.04 * (xx + yy) ** 2)


def _largest(x: np.ndarray) -> np.ndarray:
    return np.asarray(cv2.dilate(x, np.ones((2 * _RADIUS + 1,) * 2, np.uint8)))


def _cells(share: np.ndarray, cell: int) -> np.ndarray:
    height, width = share.shape[0] // cell, share.shape[1] // cell
    peaks = np.where(share >= _largest(share), share, 0)
    blocks = peaks[: height * cell, : width * cell].reshape(height, cell, width, cell).swapaxes(1, 2)
    flat = blocks.reshape(height, width, cell * cell)
    place, strength = flat.argmax(axis=2), flat.max(axis=2)
    x = np.arange(width) * cell + place % cell
    y = np.arange(height)[:, None] * cell + place // cell
    return np.stack([np.minimum(strength, 1), x, y]).astype(np.float32)
