# SPDX-License-Identifier: Apache-2.0
"""Geometric verification of two keyframes of one place: matching, PnP, refinement, covariance."""

from dataclasses import dataclass

import cv2
import numpy as np

from letvins_ros.calibration import MountedCamera
from letvins_ros.errors import Rejected
from letvins_ros.geometry import apply, inverse, skew, transform
from letvins_ros.loop.features import KeyframeFeatures
from letvins_ros.loop.motion import Motion, exp
from letvins_ros.matching import descriptor_distances, mutual_nearest

GUIDED_PX = 8.0
RANSAC_ROUNDS, RANSAC_INLIERS = 200, 8
REFINEMENTS = 5
PIXEL_STD = 1.0
DEPTH_STD = 0.01  # 1/m, times the squared depth: half a pixel between cameras 0.11 m apart
MATCH_SCALE = 2.5  # of standard deviations: landmark errors are correlated, which the number of inliers hides
MIN_STD = np.repeat([1.5e-3, 5e-3], 3)  # rad, m: landmarks are no better than this, however many agree


@dataclass(frozen=True)
class Limits:
    """Thresholds on descriptor distances of one feature."""

    largest: float  # distance
    ratio: float  # of the nearest to the second nearest distance
    guided: float  # distance in guided matching


OF_BITS = Limits(0.3, 0.9, 0.35)  # ORB
OF_UNIT_VECTORS = Limits(0.13, 0.85, 0.25)  # KP2Dtiny


@dataclass(frozen=True, eq=False)
class Match:
    """One place seen from two keyframes a and b."""

    motion: Motion  # of the bodies, T_a_b
    inliers: int
    uv_a: np.ndarray  # (inliers, 2) px
    uv_b: np.ndarray  # (inliers, 2) px


@dataclass(frozen=True, eq=False)
class _Rays:
    """Landmarks of one body and the bearings under which the other body's camera sees them."""

    points: np.ndarray  # (N, 3) m in one body, NaN where unknown
    bearings: np.ndarray  # (N, 3) unit, in the camera on the other body

    def take(self, rows: np.ndarray) -> "_Rays":
        return _Rays(self.points[rows], self.bearings[rows])


@dataclass(frozen=True, eq=False)
class _Pairs:
    """Putative matches of two keyframes."""

    uv_a: np.ndarray  # (N, 2) px
    uv_b: np.ndarray
    in_b: _Rays  # landmarks of a
    in_a: _Rays  # landmarks of b

    def __len__(self) -> int:
        return len(self.uv_a)


class Verifier:
    """Compares keyframes of one camera, of any model."""

    def __init__(self, camera: MountedCamera, min_inliers: int, inlier_px: float) -> None:
        self._camera, self._min_inliers = camera.camera, min_inliers
        self._T_cam_body = inverse(camera.T_body_cam)
        self._max_angle = inlier_px / camera.camera.focal_px
        self._sigma = PIXEL_STD / camera.camera.focal_px

    def verify(self, a: KeyframeFeatures, b: KeyframeFeatures) -> Match | Rejected:
        """The pose of b in a, or why they are no match."""
        distance = descriptor_distances(a.descriptors, b.descriptors)
        limits = OF_BITS if a.descriptors.dtype == np.uint8 else OF_UNIT_VECTORS
        first = self._pairs(a, b, *mutual_nearest(distance, limits.largest, limits.ratio))
        T_a_b = self._hypothesis(first)
        if isinstance(T_a_b, Rejected):
            return T_a_b
        near = self._is_near(a, b, T_a_b)
        pairs = self._pairs(a, b, *mutual_nearest(np.where(near, distance, 1.0), limits.guided))
        return self._refined(T_a_b, pairs)

    def _pairs(self, a: KeyframeFeatures, b: KeyframeFeatures, of_a: np.ndarray, of_b: np.ndarray) -> "_Pairs":
        """The matches with at least one landmark."""
        known = np.isfinite(a.points_body[of_a, 0]) | np.isfinite(b.points_body[of_b, 0])
        of_a, of_b = of_a[known], of_b[known]
        uv_a, uv_b = a.uv[of_a], b.uv[of_b]
        in_b = _Rays(a.points_body[of_a].astype(float), self._camera.unproject(uv_b))
        in_a = _Rays(b.points_body[of_b].astype(float), self._camera.unproject(uv_a))
        return _Pairs(uv_a, uv_b, in_b, in_a)

    def _is_near(self, a: KeyframeFeatures, b: KeyframeFeatures, T_a_b: np.ndarray) -> np.ndarray:
        """Which features (N, M) lie where the other keyframe's landmarks would be seen."""
        a_in_b, _ = self._camera.project(apply(self._T_cam_body @ inverse(T_a_b), a.points_body.astype(float)))
        b_in_a, _ = self._camera.project(apply(self._T_cam_body @ T_a_b, b.points_body.astype(float)))
        near = np.linalg.norm(a_in_b[:, None] - b.uv[None], axis=2) < GUIDED_PX
        return np.asarray(near | (np.linalg.norm(a.uv[:, None] - b_in_a[None], axis=2) < GUIDED_PX))

    def _hypothesis(self, pairs: "_Pairs") -> np.ndarray | Rejected:
        """T_a_b by RANSAC over the direction that has more landmarks."""
        in_b, in_a = pairs.in_b, pairs.in_a
        more_a = np.isfinite(in_b.points[:, 0]).sum() >= np.isfinite(in_a.points[:, 0]).sum()
        rays = in_b if more_a else in_a
        ahead = np.isfinite(rays.points[:, 0]) & (rays.bearings[:, 2] > 0.2)  # the image plane has only what lies ahead
        rays = rays.take(np.flatnonzero(ahead))
        if len(rays.points) < RANSAC_INLIERS:
            return Rejected(f"{len(rays.points)} matches with depth, {RANSAC_INLIERS} needed")
        xy = rays.bearings[:, :2] / rays.bearings[:, 2:]
        found, rotation, translation, inliers = cv2.solvePnPRansac(
            rays.points, xy, np.eye(3), None, None, None, False, RANSAC_ROUNDS, self._max_angle, 0.999, None,
            cv2.SOLVEPNP_P3P,
        )  # fmt: skip
        if not found or len(inliers) < RANSAC_INLIERS:
            return Rejected(f"no pose fits {RANSAC_INLIERS} of {len(xy)} matches")
        T_other_one = inverse(self._T_cam_body) @ transform(cv2.Rodrigues(rotation)[0], translation[:, 0])
        return inverse(T_other_one) if more_a else T_other_one

    def _refined(self, T_a_b: np.ndarray, pairs: "_Pairs") -> Match | Rejected:
        """Gauss-Newton on the angles of the inliers of both directions, which are chosen anew at each step."""
        inliers = np.zeros(len(pairs), bool)
        for _ in range(REFINEMENTS):
            errors, J, variances = self._errors(T_a_b, pairs.in_b, pairs.in_a)
            angles = np.linalg.norm(errors, axis=2)
            good = angles < self._max_angle  # NaN is not
            inliers = good.any(axis=0) & ~(angles > self._max_angle).any(axis=0)
            used = good & inliers
            if inliers.sum() < self._min_inliers:
                return Rejected(f"{int(inliers.sum())} inliers of {len(pairs)} matches, {self._min_inliers} needed")
            scale = 1 / np.sqrt(variances[used])[:, None]
            r, A = (errors[used] * scale).reshape(-1), (J[used] * scale[:, :, None]).reshape(-1, 6)
            H = A.T @ A
            T_a_b = T_a_b @ exp(np.linalg.solve(H + 1e-3 * np.eye(6), -A.T @ r))
        spread = max(float(r @ r) / max(len(r) - 6, 1), 1.0)
        covariance = np.linalg.inv(H + 1e-3 * np.eye(6)) * spread * MATCH_SCALE**2 + np.diag(MIN_STD**2)
        return Match(Motion(T_a_b, covariance), int(inliers.sum()), pairs.uv_a[inliers], pairs.uv_b[inliers])

    def _errors(self, T_a_b: np.ndarray, in_b: _Rays, in_a: _Rays) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Errors (2, N, 2) rad of both directions, derivatives (2, N, 2, 6) by T_a_b exp(xi) and variances (2, N)."""
        in_body_b = apply(inverse(T_a_b), in_b.points)
        by_b = np.concatenate([skew(in_body_b), np.broadcast_to(-np.eye(3), (len(in_body_b), 3, 3))], axis=2)
        R = T_a_b[:3, :3]
        by_a = np.concatenate([-R @ skew(in_a.points), np.broadcast_to(R, (len(in_a.points), 3, 3))], axis=2)
        by_depth_b, by_depth_a = self._uncertain(in_b.points) @ R, self._uncertain(in_a.points) @ R.T
        parts = [
            self._seen(in_body_b, by_b, by_depth_b, in_b.bearings),
            self._seen(apply(T_a_b, in_a.points), by_a, by_depth_a, in_a.bearings),
        ]
        e, J, variances = zip(*parts, strict=True)
        return np.stack(e), np.stack(J), np.stack(variances)

    def _uncertain(self, points: np.ndarray) -> np.ndarray:
        """Standard deviation (N, 3), m, of landmarks along the ray to the camera that observed them."""
        rays = points - inverse(self._T_cam_body)[:3, 3]
        return np.asarray(DEPTH_STD * np.linalg.norm(rays, axis=1, keepdims=True) * rays)

    def _seen(
        self, points: np.ndarray, by_pose: np.ndarray, spread: np.ndarray, bearings: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Errors (N, 2) on the plane across each bearing, of points (N, 3) in the body; derivatives (N, 2, 6).

        Also their variances (N,) where the points are uncertain by a spread (N, 3).
        """
        p = apply(self._T_cam_body, points)
        distance = np.linalg.norm(p, axis=1, keepdims=True)
        n = p / distance
        side = np.cross(bearings, np.eye(3)[np.argmin(np.abs(bearings), axis=1)])
        side /= np.linalg.norm(side, axis=1, keepdims=True)
        plane = np.stack([side, np.cross(bearings, side)], axis=1)  # (N, 2, 3)
        by_point = (np.eye(3) - n[:, :, None] * n[:, None, :]) / distance[:, :, None] @ self._T_cam_body[:3, :3]
        errors = (plane @ n[:, :, None])[..., 0]
        errors[(n * bearings).sum(axis=1) < 0] = np.inf  # behind
        by_spread = (plane @ by_point @ spread[:, :, None])[..., 0]
        return errors, plane @ by_point @ by_pose, self._sigma**2 + (by_spread**2).sum(axis=1)
