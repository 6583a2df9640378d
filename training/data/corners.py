# SPDX-License-Identifier: Apache-2.0
"""Corners that both views of a pair agree on, as a first teacher of keypoints."""

import cv2
import numpy as np

from training.data.homographies import warp

_RADIUS = 3  # px, within which one corner is kept
_SHARE = 1 / 10  # of the cells, at most, that are said to hold a corner


def common_corners(
    gray_a: np.ndarray, gray_b: np.ndarray, H_b_a: np.ndarray, cell: int
) -> tuple[np.ndarray, np.ndarray]:
    """Labels (3, h, w) float32 of the cells of both clean views: whether a corner lies in it, and its x and y in px.

    The response (Shi & Tomasi 1994) is averaged over both views, so that what only one of them shows loses, and b's
    corners are where a's are.
    """
    size = (gray_a.shape[0], gray_a.shape[1])
    response_a, response_b = _response(gray_a), _response(gray_b)
    seen = warp(np.ones(size, np.float32), np.linalg.inv(H_b_a), size)
    mean_a = response_a + seen * (warp(response_b, np.linalg.inv(H_b_a), size) - response_a) / 2
    mean_b = warp(mean_a, H_b_a, size)
    return _cells(mean_a, cell), _cells(mean_b, cell)


def _response(gray: np.ndarray) -> np.ndarray:
    smooth = cv2.GaussianBlur(gray, (0, 0), 1.0)
    response = cv2.cornerMinEigenVal(smooth, 5)
    return np.asarray(response / max(float(response.mean()), 1e-12), np.float32)


def _cells(response: np.ndarray, cell: int) -> np.ndarray:
    height, width = response.shape[0] // cell, response.shape[1] // cell
    largest = cv2.dilate(response, np.ones((2 * _RADIUS + 1,) * 2, np.uint8))
    peaks = np.where(response >= largest, response, 0)
    blocks = peaks[: height * cell, : width * cell].reshape(height, cell, width, cell).swapaxes(1, 2)
    flat = blocks.reshape(height, width, cell * cell)
    place, strength = flat.argmax(axis=2), flat.max(axis=2)
    strong = np.sort(strength.ravel())[-max(1, int(strength.size * _SHARE))]
    x = np.arange(width) * cell + place % cell
    y = np.arange(height)[:, None] * cell + place // cell
    return np.stack([(strength >= max(strong, 1e-6)), x, y]).astype(np.float32)
