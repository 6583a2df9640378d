# SPDX-License-Identifier: Apache-2.0
"""How well matches lead to the motion between two calibrated views: pose AUC, and odometry from frame to frame."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import cv2
import numpy as np

from letvins_ros.camera import Camera
from letvins_ros.datasets import open_dataset
from letvins_ros.errors import DataError
from letvins_ros.geometry import from_quaternion, inverse
from training.data.homographies import transfer
from training.data.images import resize
from training.data.pair import Pair
from training.data.tartanair import find_trajectories, scaled_K
from training.metrics import area_under_curve, direction_error_deg, rotation_error_deg
from training.tasks.pairs import Prediction
from training.tasks.protocols import NEAR_PX

AUC_DEG = (5, 10, 20)
_THRESHOLD_PX = 0.5
_EPIPOLAR = 5e-4  # squared, in normalised coordinates; of a right match (SuperGlue, appendix)
_FEWEST = 5


def tartanair_pairs(root: Path, size: tuple[int, int], gap: int, count: int) -> Iterator[Pair]:
    """Frames `gap` apart, spread over the trajectories."""
    choices = [(t, i) for t in find_trajectories(root) for i in range(len(t) - gap)]
    if not choices:
        raise DataError(f"{root}: no two frames are {gap} apart")
    for k in np.unique(np.linspace(0, len(choices) - 1, count).astype(int)):
        trajectory, i = choices[k]
        images = [trajectory.image(j) for j in (i, i + gap)]
        K = scaled_K(images[0].shape, size)
        a, b = (resize(image, size) for image in images)
        yield Pair(f"{k}", a, b, None, K, K, trajectory.motion(i, i + gap))


def recording_pairs(source: Path, every: int, duration_s: float, width: int) -> Iterator[Pair]:
    """Left images of a recording with truth, undistorted, `width` px wide, each with the one `every` frames later."""
    dataset = open_dataset(source)
    if dataset.rig is None or dataset.truth is None:
        raise DataError(f"{source}: odometry needs a calibration and a true trajectory")
    left, last = dataset.rig.cameras[0], None
    camera, truth = left.camera, dataset.truth
    K, maps = _undistortion(camera, width)
    for number, frame in enumerate(dataset.frames(0.0, duration_s)):
        row = int(np.abs(truth.stamps_ns - frame.stamp_ns).argmin())
        if number % every or frame.images[0] is None or abs(int(truth.stamps_ns[row]) - frame.stamp_ns) > 5_000_000:
            continue
        shown = cv2.remap(frame.images[0], *maps, cv2.INTER_LINEAR)
        image = cv2.cvtColor(shown, cv2.COLOR_GRAY2RGB) if shown.ndim == 2 else shown
        T_world_cam = from_quaternion(truth.positions[row], truth.quaternions[row]) @ left.T_body_cam
        if last is not None:
            yield Pair(f"{number:06d}", last[0], image, None, K, K, inverse(T_world_cam) @ last[1])
        last = image, T_world_cam


def two_view_figures(pair: Pair, prediction: Prediction) -> dict[str, float]:
    """Errors of the motion found: degrees of rotation and of translation's direction, and metres at the true length.

    A motion that is not found is no motion.
    """
    if pair.K_a is None or pair.K_b is None or pair.T_b_a is None:
        raise ValueError(f"{pair.name} is not calibrated")
    a, b = _normalised(prediction.matches[:, :2], pair.K_a), _normalised(prediction.matches[:, 2:], pair.K_b)
    focal = float(np.mean([pair.K_a[0, 0], pair.K_b[0, 0]]))
    found = _motion(a, b, _THRESHOLD_PX / focal)
    R, t = found if found is not None else (np.eye(3), np.zeros(3))
    R_true, t_true = pair.T_b_a[:3, :3], pair.T_b_a[:3, 3]
    length = float(np.linalg.norm(t_true))
    rotation, direction = rotation_error_deg(R, R_true), direction_error_deg(t, t_true, signed=False)
    return {
        "error_deg": max(rotation, direction) if found is not None else np.inf,
        "rotation_deg": rotation,
        "translation_m": float(np.linalg.norm(t * length - t_true)),
        "length_m": length,
        "precision": float(np.mean(_epipolar(a, b, pair.T_b_a) < _EPIPOLAR)) if len(a) else 0.0,
        "matches": float(len(a)),
    }


def right_matches(pair: Pair, found: np.ndarray) -> np.ndarray | None:
    """Which matches (N, 4) agree with the true homography or motion (N,) bool, None where neither is known."""
    if pair.H_b_a is not None:
        return np.asarray(np.linalg.norm(transfer(pair.H_b_a, found[:, :2]) - found[:, 2:], axis=1) < NEAR_PX)
    if pair.T_b_a is None or pair.K_a is None or pair.K_b is None:
        return None
    a, b = _normalised(found[:, :2], pair.K_a), _normalised(found[:, 2:], pair.K_b)
    return np.asarray(_epipolar(a, b, pair.T_b_a) < _EPIPOLAR)


def pose_summary(rows: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """Area under the curve of the larger error of each pair, precision of the matches, and their number."""
    errors = np.array([row["error_deg"] for row in rows.values()])
    areas = zip(AUC_DEG, area_under_curve(errors, AUC_DEG), strict=True)
    means = {key: float(np.mean([row[key] for row in rows.values()])) for key in ("precision", "matches")}
    return {**{f"AUC@{deg}": area for deg, area in areas}, **means}


def odometry_summary(rows: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """Relative errors from frame to frame: root mean squares, median, percent of the way and degrees per 100 m."""
    turned, moved, length = (
        np.array([row[key] for row in rows.values()]) for key in ("rotation_deg", "translation_m", "length_m")
    )
    way = max(float(length.sum()), 1e-9)
    return {
        "rot_rmse_deg": float(np.sqrt(np.mean(turned**2))),
        "rot_median_deg": float(np.median(turned)),
        "trans_rmse_m": float(np.sqrt(np.mean(moved**2))),
        "trans_percent": 100 * float(moved.sum()) / way,
        "rot_deg_per_100m": 100 * float(turned.sum()) / way,
        "failed": float(np.mean([not np.isfinite(row["error_deg"]) for row in rows.values()])),
    }


def _motion(a: np.ndarray, b: np.ndarray, threshold: float) -> tuple[np.ndarray, np.ndarray] | None:
    if len(a) < _FEWEST:
        return None
    E, inliers = cv2.findEssentialMat(
        a, b, np.eye(3), method=cv2.USAC_MAGSAC, prob=0.99999, threshold=threshold, maxIters=10000
    )
    if E is None or E.shape != (3, 3):
        return None
    count, R, t, _ = cv2.recoverPose(E, a, b, np.eye(3), mask=inliers)
    return (R, t[:, 0]) if count else None


def _normalised(uv: np.ndarray, K: np.ndarray) -> np.ndarray:
    return np.asarray((uv - K[:2, 2]) / [K[0, 0], K[1, 1]], np.float64)


def _epipolar(a: np.ndarray, b: np.ndarray, T_b_a: np.ndarray) -> np.ndarray:
    """Symmetric squared distance (N,) to the epipolar lines."""
    t = T_b_a[:3, 3]
    E = np.array([[0, -t[2], t[1]], [t[2], 0, -t[0]], [-t[1], t[0], 0]]) @ T_b_a[:3, :3]
    a1, b1 = (np.hstack([x, np.ones((len(x), 1))]) for x in (a, b))
    lines_b, lines_a = a1 @ E.T, b1 @ E
    off = (b1 * lines_b).sum(axis=1) ** 2
    return np.asarray(off * (1 / (lines_b[:, :2] ** 2).sum(axis=1) + 1 / (lines_a[:, :2] ** 2).sum(axis=1)))


def _undistortion(camera: Camera, width: int) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray]]:
    """Intrinsics of the undistorted image and where its pixels lie in the original one."""
    scale = width / camera.width
    height = round(camera.height * scale)
    focal = camera.focal_px * scale
    K = np.array([[focal, 0, (width - 1) / 2], [0, focal, (height - 1) / 2], [0, 0, 1]])
    u, v = np.meshgrid(np.arange(width), np.arange(height))
    rays = np.stack([(u - K[0, 2]) / focal, (v - K[1, 2]) / focal, np.ones_like(u)], axis=-1).reshape(-1, 3)
    uv, _ = camera.project(rays)
    maps = uv.astype(np.float32).reshape(height, width, 2)
    return K, (maps[..., 0].copy(), maps[..., 1].copy())
