# SPDX-License-Identifier: Apache-2.0
"""What later views made of a keyframe's landmarks, which were still rough when it was new."""

from dataclasses import replace

import numpy as np

from letvins_ros.geometry import apply
from letvins_ros.loop.features import Features
from letvins_ros.types import Keyframe


def improved(features: Features, T_body_later: np.ndarray, later: Keyframe) -> Features:
    """The features with the landmarks that a later keyframe knows; T_body_later (4, 4) is of the same estimate."""
    known = np.flatnonzero(np.isfinite(later.points_body[:, 0]))
    _, rows, of_known = np.intersect1d(features.ids, later.ids[known], return_indices=True)
    if not len(rows):
        return features
    points = features.points_body.copy()
    points[rows] = apply(T_body_later, later.points_body[known[of_known]])
    return replace(features, points_body=points)
