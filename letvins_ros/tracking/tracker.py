# SPDX-License-Identifier: Apache-2.0
"""The feature tracker: images in, tracks out."""

from dataclasses import dataclass, field, replace

import cv2
import numpy as np

from letvins_ros.calibration import Rig
from letvins_ros.config import TrackerConfig
from letvins_ros.tracking.detection import GridDetector
from letvins_ros.tracking.epipolar import (
    StereoGeometry,
    inliers_known_rotation,
    inliers_unknown_rotation,
)
from letvins_ros.tracking.flow import EqualisedMaps, LucasKanade, MapMaker, NetworkMaps, PlainMaps
from letvins_ros.types import FrameTracks, ImageFrame

FAR_FROM_START_PX = 40.0  # a stereo guess is used only if it is this close to the epipolar geometry's


@dataclass(eq=False)
class _Features:
    """The features of the last frame."""

    ids: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    uv: np.ndarray = field(default_factory=lambda: np.zeros((0, 2), np.float32))
    bearings: np.ndarray = field(default_factory=lambda: np.zeros((0, 3)))  # left camera
    inverse_distance: np.ndarray = field(default_factory=lambda: np.zeros(0))  # 1/m, NaN unknown
    ages: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int32))

    def keep(self, mask: np.ndarray) -> "_Features":
        return _Features(
            self.ids[mask], self.uv[mask], self.bearings[mask], self.inverse_distance[mask], self.ages[mask]
        )


class FeatureTracker:
    """Follows corners through the left images and finds them in the right ones."""

    def __init__(self, config: TrackerConfig, rig: Rig, maps: MapMaker | None = None) -> None:
        self._config = config
        self._left = rig.cameras[0]
        self._stereo = StereoGeometry(rig.cameras[0], rig.cameras[1]) if len(rig.cameras) > 1 else None
        self._maps = maps or make_maps(config)
        self._flow = LucasKanade(config.window_px, config.pyramid_levels, config.forward_backward_px)
        self._detector = GridDetector(config.max_features, round(config.min_distance_px), config.quality)
        self._last_map: np.ndarray | None = None
        self._features = _Features()
        self._next_id = 0
        self._frames = 0

    def process(self, frame: ImageFrame, R_last_now: np.ndarray | None = None, trusted: bool = False) -> FrameTracks:
        """Tracks of one frame.

        R_last_now (3, 3) is the body's rotation since the last frame, where the search starts; when trusted (its bias is
        known) it serves for rejecting outliers too.
        """
        maps = self._maps([image for image in frame.images if image is not None])
        R_cam = None if R_last_now is None else self._in_camera(R_last_now)
        features = self._follow(maps[0], R_cam)
        features = self._reject_outliers(features, R_cam if trusted else None)
        features = self._add_new(features, maps[0], frame.images[0])
        uv_right, features = self._match_right(features, maps)
        self._last_map, self._features = maps[0], features
        self._frames += 1
        return FrameTracks(frame.stamp_ns, features.ids, features.uv, uv_right, features.ages)

    def reset(self) -> None:
        """Forget all features; ids go on."""
        self._last_map, self._features = None, _Features()

    def _in_camera(self, R_last_now: np.ndarray) -> np.ndarray:
        R_body_cam = self._left.T_body_cam[:3, :3]
        return np.asarray(R_body_cam.T @ R_last_now @ R_body_cam)

    def _follow(self, now: np.ndarray, R_last_now: np.ndarray | None) -> _Features:
        last = self._features
        if self._last_map is None or not len(last.ids) or self._last_map.shape != now.shape:
            return _Features()
        guess = last.uv
        if R_last_now is not None:
            turned, valid = self._left.camera.project(last.bearings @ R_last_now)
            guess = np.where(valid[:, None], turned, last.uv)
        uv, found = self._flow.follow(self._last_map, now, last.uv, guess)
        bearings = self._left.camera.unproject(uv)
        found &= np.isfinite(bearings).all(1) & self._unmasked(uv)
        if self._config.max_age_frames:
            found &= last.ages < self._config.max_age_frames
        self._previous_bearings = last.bearings[found]
        return replace(last, uv=uv, bearings=bearings, ages=last.ages + 1).keep(found)

    def _unmasked(self, uv: np.ndarray) -> np.ndarray:
        if self._left.mask is None:
            return np.ones(len(uv), bool)
        height, width = self._left.mask.shape
        column = np.clip(np.rint(uv[:, 0]), 0, width - 1).astype(int)
        row = np.clip(np.rint(uv[:, 1]), 0, height - 1).astype(int)
        return np.asarray(self._left.mask[row, column] > 0)

    def _reject_outliers(self, features: _Features, R_last_now: np.ndarray | None) -> _Features:
        if not len(features.ids):
            return features
        limit = self._config.ransac_px / self._left.camera.focal_px
        before, now = self._previous_bearings, features.bearings
        if R_last_now is None:
            return features.keep(inliers_unknown_rotation(before, now, limit))
        return features.keep(inliers_known_rotation(before, now, R_last_now.T, limit, self._frames))

    def _add_new(self, features: _Features, tracking_map: np.ndarray, image: np.ndarray | None) -> _Features:
        gray = tracking_map if tracking_map.ndim == 2 else _gray(image)
        uv = self._detector.detect(gray, features.uv, self._left.mask)
        bearings = self._left.camera.unproject(uv)
        good = np.isfinite(bearings).all(1)
        n = int(good.sum())
        ids = np.arange(self._next_id, self._next_id + n, dtype=np.int64)
        self._next_id += n
        return _Features(
            np.concatenate([features.ids, ids]),
            np.concatenate([features.uv, uv[good]]).astype(np.float32),
            np.concatenate([features.bearings, bearings[good]]),
            np.concatenate([features.inverse_distance, np.full(n, np.nan)]),
            np.concatenate([features.ages, np.zeros(n, np.int32)]),
        )

    def _match_right(self, features: _Features, maps: list[np.ndarray]) -> tuple[np.ndarray, _Features]:
        """Right pixels (N, 2), NaN where not found, and the features with their distances brought up to date."""
        uv_right = np.full((len(features.ids), 2), np.nan, np.float32)
        if self._stereo is None or len(maps) < 2 or not len(features.ids):
            return uv_right, features
        known = np.isfinite(features.inverse_distance)
        typical = float(np.median(features.inverse_distance[known])) if known.any() else 0.1
        w_guess = np.where(known, features.inverse_distance, typical)
        guess = self._stereo.guess_right(features.bearings, w_guess)
        guess = np.where(np.isfinite(guess), guess, features.uv)
        found_uv, found = self._flow.follow(maps[0], maps[1], features.uv, guess)
        bearings = self._stereo.right.unproject(found_uv)
        found &= np.isfinite(bearings).all(1)
        found &= self._stereo.agree(features.bearings, bearings, self._config.stereo_epipolar_px)
        uv_right[found] = found_uv[found]
        w = np.maximum(self._stereo.inverse_distance(features.bearings, bearings), 0.0)
        return uv_right, replace(features, inverse_distance=np.where(found, w, features.inverse_distance))


def make_maps(config: TrackerConfig) -> MapMaker:
    """The maps that this configuration follows."""
    if config.method == "letnet2":
        from letvins_ros.inference import open_backend  # noqa: PLC0415  the network's runtime is heavy

        return NetworkMaps(open_backend(config.backend, config.weights))
    return EqualisedMaps() if config.equalise == "clahe" else PlainMaps()


def _gray(image: np.ndarray | None) -> np.ndarray:
    if image is None:
        raise ValueError("the left image is missing")
    return image if image.ndim == 2 else np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY))
