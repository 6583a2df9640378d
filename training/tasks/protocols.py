# SPDX-License-Identifier: Apache-2.0
"""How keypoints and matches of two views of a plane are measured: by KP2D's and SuperPoint's protocols, and by ours."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import cv2
import numpy as np

from letvins_ros.errors import DataError
from training.data.homographies import transfer
from training.data.pair import Pair
from training.metrics import area_under_curve, average_precision
from training.tasks.pairs import Choice, Prediction

NEAR_PX = 3.0  # keypoints that are the same, matches that are right
CORNERS_PX = (1, 3, 5)
Row = dict[str, float]


@dataclass(frozen=True)
class Protocol:
    """Figures of one pair, and their means over pairs."""

    measure: Callable[[Pair, Prediction], Row]
    summarise: Callable[[Mapping[str, Row]], Row]
    choices: Mapping[tuple[int, int], Choice]  # keypoints taken, by the size of the images


def kp2d_row(pair: Pair, prediction: Prediction) -> Row:
    """Figures of KP2D (Tang et al. 2020, appendix, and the authors' code).

    Distances of both directions are in pixels of b. The matching score asks the best keypoints whether or not the other
    view shows them, and counts those whose partner's true place lies in the image.
    """
    H_b_a, H_a_b = _homographies(pair)
    a_in_b = transfer(H_b_a, prediction.uv_a)
    forward = _right_of_shown(prediction.best_a, H_a_b, pair.image_a.shape)
    backward = _right_of_shown(prediction.best_b, H_b_a, pair.image_b.shape)
    return {
        **_repeatability(_nearest(a_in_b, prediction.uv_b), _nearest(prediction.uv_b, a_in_b)),
        "corner_error": corner_error(prediction.matches[::-1], H_b_a, pair.image_a.shape),
        "MScore": (forward + backward) / 2,
    }


def superpoint_row(pair: Pair, prediction: Prediction) -> Row:
    """Figures of SuperPoint (DeTone et al. 2018, appendix): repeatability and its error as KP2D took them over.

    The matching score is a share of the keypoints that the other view shows. NN mAP is the area under precision and
    recall of their nearest neighbours by distance of descriptors. Both are means of both directions.
    """
    H_b_a, H_a_b = _homographies(pair)
    a_in_b, b_in_a = transfer(H_b_a, prediction.uv_a), transfer(H_a_b, prediction.uv_b)
    right = _right(prediction.forward, a_in_b), _right(prediction.backward, b_in_a)
    sure = prediction.forward_confidence, prediction.backward_confidence
    precisions = [average_precision(c, x) for c, x in zip(sure, right, strict=True)]
    return {
        **_repeatability(_nearest(a_in_b, prediction.uv_b), _nearest(prediction.uv_b, a_in_b)),
        "corner_error": corner_error(prediction.matches[::-1], H_b_a, pair.image_a.shape),
        "NN mAP": float(np.mean(precisions)),
        "MScore": _mean_share(right),
    }


def our_row(pair: Pair, prediction: Prediction) -> Row:
    """Ours: each direction's distances in pixels of the view it ends in, and precision of the mutual matches."""
    H_b_a, H_a_b = _homographies(pair)
    a_in_b, b_in_a = transfer(H_b_a, prediction.uv_a), transfer(H_a_b, prediction.uv_b)
    right = _right(prediction.matches[:, 2:], transfer(H_b_a, prediction.matches[:, :2]))
    both = _right(prediction.forward, a_in_b), _right(prediction.backward, b_in_a)
    return {
        **_repeatability(_nearest(a_in_b, prediction.uv_b), _nearest(b_in_a, prediction.uv_a)),
        "corner_error": corner_error(prediction.matches, H_b_a, pair.image_a.shape),
        "MScore": _mean_share(both),
        "mAP": average_precision(prediction.confidence, right),
        "matches": float(len(right)),
    }


def summary(rows: Mapping[str, Row]) -> Row:
    """Means over pairs that have a figure (not NaN); of the corners' errors the shares up to CORNERS_PX."""
    figures: Row = {}
    for name, values in _columns(rows).items():
        if name == "corner_error":
            figures |= {f"C{px}": float(np.mean(values <= px)) for px in CORNERS_PX}
        else:
            known = values[np.isfinite(values)]
            figures[name] = float(known.mean()) if len(known) else np.nan
    return figures


def our_summary(rows: Mapping[str, Row]) -> Row:
    """The same, and the areas under the curve of the corners' errors."""
    areas = area_under_curve(_columns(rows)["corner_error"], CORNERS_PX)
    return {**summary(rows), **{f"AUC@{px}": area for px, area in zip(CORNERS_PX, areas, strict=True)}}


def corner_error(matches: np.ndarray, H_b_a: np.ndarray, shape: tuple[int, ...]) -> float:
    """Mean distance of the image's corners under the homography of the matches and the true one; inf without one.

    RANSAC draws by the matches' order, which in the authors' code is the weakest keypoints first.
    """
    if len(matches) < 4:
        return np.inf
    found, _ = cv2.findHomography(matches[:, :2], matches[:, 2:], cv2.RANSAC, NEAR_PX, maxIters=5000)
    if found is None:
        return np.inf
    width, height = shape[1] - 1, shape[0] - 1
    corners = np.array([[0, 0], [width, 0], [width, height], [0, height]], float)
    error = _distance(transfer(found, corners), transfer(H_b_a, corners))
    return float(error.mean()) if np.isfinite(error).all() else np.inf


def our_protocol(apart_px: float = 0.0) -> Protocol:
    """Ours, with keypoints as they come or thinned out."""
    return Protocol(our_row, our_summary, {s: Choice(k, apart_px) for s, k in _KEYPOINTS.items()})


_KEYPOINTS = {(240, 320): 300, (480, 640): 1000}
KP2D = Protocol(kp2d_row, summary, {size: Choice(k) for size, k in _KEYPOINTS.items()})
# suppression of 4 px for repeatability at the small size, of 8 px for homographies at the large one (tables 3 and 4)
SUPERPOINT = Protocol(
    superpoint_row, summary, {(240, 320): Choice(300, 4, square=True), (480, 640): Choice(1000, 8, square=True)}
)


def _repeatability(*nearest: np.ndarray) -> Row:
    """Share of all distances up to NEAR_PX, and the mean of those, NaN where there are none."""
    distance = np.concatenate(nearest)
    near = distance <= NEAR_PX
    return {
        "Rep": float(near.mean()) if len(near) else 0.0,
        "Loc": float(distance[near].mean()) if near.any() else np.nan,
    }


def _right_of_shown(points: np.ndarray, H: np.ndarray, shape: tuple[int, ...]) -> float:
    """Of keypoints with their partners (N, 4), H taking partners back: share right of those that end in the image."""
    back = transfer(H, points[:, 2:])
    shown = ((back >= 0) & (back <= np.array(shape[1::-1]) - 1)).all(axis=1)
    return float(np.sum(_right(back, points[:, :2]) & shown) / max(int(shown.sum()), 1))


def _homographies(pair: Pair) -> tuple[np.ndarray, np.ndarray]:
    if pair.H_b_a is None:
        raise ValueError(f"{pair.name} has no homography")
    return pair.H_b_a, np.linalg.inv(pair.H_b_a)


def _mean_share(directions: tuple[np.ndarray, np.ndarray]) -> float:
    return float(np.mean([x.mean() if len(x) else 0.0 for x in directions]))


def _columns(rows: Mapping[str, Row]) -> dict[str, np.ndarray]:
    if not rows:
        raise DataError("no pairs")
    return {name: np.array([row[name] for row in rows.values()]) for name in next(iter(rows.values()))}


def _nearest(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Distance (N,) of each point to the nearest one of b."""
    if len(a) == 0 or len(b) == 0:
        return np.full(len(a), np.inf)
    return np.asarray(np.linalg.norm(a[:, None] - b[None], axis=2).min(axis=1))


def _right(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return _distance(a, b) < NEAR_PX


def _distance(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    distance = np.linalg.norm(a - b, axis=1)
    return np.where(np.isfinite(distance), distance, np.inf)
