# SPDX-License-Identifier: Apache-2.0
"""What models find, as pictures (H, W, 3) RGB uint8."""

import colorsys

import cv2
import numpy as np

from training.data.images import resize

_ENLARGED = 4  # times
_GREEN, _RED = (0, 255, 0), (255, 0, 0)


def detections(image: np.ndarray, uv: np.ndarray) -> np.ndarray:
    """Circles at keypoints (N, 2)."""
    picture = image.copy()
    for x, y in np.rint(uv).astype(int):
        cv2.circle(picture, (int(x), int(y)), 3, _GREEN, 1, cv2.LINE_AA)
    return picture


def detail(image: np.ndarray, uv: np.ndarray, others: np.ndarray | None = None) -> np.ndarray:
    """A quarter of the sides round the first keypoint, as large as the image: keypoints green, others (M, 2) red."""
    height, width = image.shape[:2]
    side = np.array([max(width // _ENLARGED, 1), max(height // _ENLARGED, 1)])
    middle = uv[0] if len(uv) else np.array([width, height]) / 2
    x, y = corner = np.clip(np.rint(middle - side / 2).astype(int), 0, [width, height] - side)
    scale = [width, height] / side
    picture = cv2.resize(image[y : y + side[1], x : x + side[0]], (width, height), interpolation=cv2.INTER_NEAREST)
    for points, color in ((others if others is not None else uv[:0], _RED), (uv, _GREEN)):
        there = (points - corner + 0.5) * scale - 0.5
        for u, v in np.rint(there[((there >= 0) & (there < [width, height])).all(axis=1)]).astype(int):
            cv2.circle(picture, (int(u), int(v)), 4, color, 1, cv2.LINE_AA)
    return picture


def matches(image_a: np.ndarray, image_b: np.ndarray, found: np.ndarray, right: np.ndarray | None = None) -> np.ndarray:
    """Both images side by side, matches (N, 4) as lines: in many colours, or green where right (N,)."""
    (height_a, width_a), (height_b, width_b) = image_a.shape[:2], image_b.shape[:2]
    picture = np.zeros((max(height_a, height_b), width_a + width_b, 3), np.uint8)
    picture[:height_a, :width_a], picture[:height_b, width_a:] = image_a, image_b
    for i, (u_a, v_a, u_b, v_b) in enumerate(found):
        many = [255 * c for c in colorsys.hsv_to_rgb(i * 0.618 % 1, 1, 1)]
        color = many if right is None else _GREEN if right[i] else _RED
        ends = (round(u_a), round(v_a)), (round(u_b) + width_a, round(v_b))
        cv2.line(picture, *ends, color, 1, cv2.LINE_AA)
    return picture


def heat(values: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Values (h, w) from the least to the largest as colours."""
    low, high = float(values.min()), float(values.max())
    gray = (255 * (values - low) / max(high - low, 1e-9)).astype(np.uint8)
    return cv2.cvtColor(cv2.applyColorMap(resize(gray, size), cv2.COLORMAP_VIRIDIS), cv2.COLOR_BGR2RGB)


def classes(labels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A colour of its own for each class of (h, w)."""
    palette = [colorsys.hsv_to_rgb(i * 0.618 % 1, 0.5 + 0.5 * (i % 2), 1 - 0.3 * (i % 3) / 2) for i in range(256)]
    return (255 * np.array(palette)).astype(np.uint8)[resize(labels, size, nearest=True)]


def answer(query: np.ndarray, found: np.ndarray, right: bool) -> np.ndarray:
    """An image and the one that it was taken for, in a frame that is green where this is right."""
    picture = np.hstack([query, resize(found, (query.shape[0], query.shape[1]))])
    corner = (picture.shape[1] - 1, picture.shape[0] - 1)
    return np.asarray(cv2.rectangle(picture, (0, 0), corner, _GREEN if right else _RED, 5))
