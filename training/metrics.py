# SPDX-License-Identifier: Apache-2.0
"""Figures that several tasks share."""

from collections.abc import Sequence

import numpy as np


def area_under_curve(errors: np.ndarray, thresholds: Sequence[float]) -> list[float]:
    """Area under the share of errors below x, from 0 to each threshold and divided by it (SuperGlue, section 5).

    An error that is infinite or NaN counts as a failure.
    """
    finite = np.sort(errors[np.isfinite(errors)])
    share = np.arange(1, len(finite) + 1) / max(len(errors), 1)
    areas = []
    for threshold in thresholds:
        below = np.searchsorted(finite, threshold)
        x = np.concatenate([[0], finite[:below], [threshold]])
        y = np.concatenate([[0], share[:below], [share[below - 1] if below else 0]])
        areas.append(float(np.trapezoid(y, x) / threshold))
    return areas


def average_precision(confidence: np.ndarray, right: np.ndarray) -> float:
    """Mean precision at each right answer, answers ordered by confidence; 0 without right ones."""
    if not right.any():
        return 0.0
    ordered = right[np.argsort(-confidence, kind="stable")]
    precision = np.cumsum(ordered) / np.arange(1, len(ordered) + 1)
    return float(precision[ordered].mean())


def recall_at(ranked: Sequence[np.ndarray], positives: Sequence[np.ndarray], counts: Sequence[int]) -> list[float]:
    """Share of queries with a positive among the first n database indices, for each n."""
    first = [
        int(np.argmax(np.isin(r, p))) if np.isin(r, p).any() else len(r) for r, p in zip(ranked, positives, strict=True)
    ]
    return [float(np.mean([rank < count for rank in first])) if first else 0.0 for count in counts]


def rotation_error_deg(R_a: np.ndarray, R_b: np.ndarray) -> float:
    """Angle between two rotations."""
    cosine = (np.trace(R_a.T @ R_b) - 1) / 2
    return float(np.degrees(np.arccos(np.clip(cosine, -1, 1))))


def direction_error_deg(a: np.ndarray, b: np.ndarray, signed: bool = True) -> float:
    """Angle between two vectors, or between two lines."""
    cosine = float(a @ b / max(np.linalg.norm(a) * np.linalg.norm(b), 1e-12))
    return float(np.degrees(np.arccos(np.clip(cosine if signed else abs(cosine), -1, 1))))
