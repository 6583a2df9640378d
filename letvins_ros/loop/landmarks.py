# SPDX-License-Identifier: Apache-2.0
"""What later views made of a keyframe's landmarks, which were still rough when it was new."""

from dataclasses import replace

import numpy as np

from letvins_ros.geometry import apply, inverse
from letvins_ros.loop.features import Features
from letvins_ros.types import Keyframe


class Landmarks:
    """The last known positions of recently seen landmarks."""

    def __init__(self, keep_s: float) -> None:
        self._keep_ns = round(keep_s * 1e9)
        self._points: dict[int, tuple[int, np.ndarray]] = {}  # by id: stamp and odom position, the oldest first

    def add(self, keyframe: Keyframe) -> None:
        """Take in what a keyframe knows."""
        known = np.isfinite(keyframe.points_body[:, 0])
        points = apply(keyframe.T_odom_body, keyframe.points_body[known])
        for i, point in zip(keyframe.ids[known].tolist(), points, strict=True):
            self._points.pop(i, None)
            self._points[i] = (keyframe.stamp_ns, point)
        while self._points:
            oldest = next(iter(self._points))
            if self._points[oldest][0] >= keyframe.stamp_ns - self._keep_ns:
                break
            del self._points[oldest]

    def improved(self, features: Features, T_odom_body: np.ndarray) -> Features:
        """The features with the last known positions of their landmarks."""
        rows = [row for row, i in enumerate(features.ids.tolist()) if i in self._points]
        if not rows:
            return features
        latest = np.stack([self._points[int(features.ids[row])][1] for row in rows])
        points = features.points_body.copy()
        points[rows] = apply(inverse(T_odom_body), latest)
        return replace(features, points_body=points)
