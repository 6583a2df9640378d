# SPDX-License-Identifier: Apache-2.0
"""The feature tracker: images in, tracks out."""

from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np

from letvins_ros.calibration import Rig
from letvins_ros.config import TrackerConfig
from letvins_ros.tracking.epipolar import StereoGeometry, inliers_known_rotation, inliers_unknown_rotation
from letvins_ros.tracking.follower import Follower, open_follower
from letvins_ros.types import FrameTracks, ImageFrame

TYPICAL_INVERSE_DISTANCE = 0.1  # 1/m, where the search in the right image starts while no distance is known
STUCK_RAD = 0.005  # two or three pixels: who turns so far sees another image


@dataclass(eq=False)
class _Features:
    """The features of the last frame."""

    ids: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    uv: np.ndarray = field(default_factory=lambda: np.zeros((0, 2), np.float32))
    bearings: np.ndarray = field(default_factory=lambda: np.zeros((0, 3)))  # left camera
    inverse_distance: np.ndarray = field(default_factory=lambda: np.zeros(0))  # 1/m, NaN unknown
    ages: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int32))
    flow: np.ndarray = field(default_factory=lambda: np.zeros((0, 2), np.float32))  # px, beyond the known rotation

    def keep(self, mask: np.ndarray) -> "_Features":
        return _Features(*(getattr(self, f.name)[mask] for f in fields(self)))


class FeatureTracker:
    """Follows features through the left images and finds them in the right ones."""

    def __init__(
        self, config: TrackerConfig, rig: Rig, follower: Follower | None = None, seed: int = 0, first_id: int = 0
    ) -> None:
        """follower: instead of the configuration's, with its own thresholds. first_id: ids count up from it."""
        self._config = config
        self._left = rig.cameras[0]
        self._cameras = min(len(rig.cameras), 2)
        self._stereo = StereoGeometry(rig.cameras[0], rig.cameras[1]) if self._cameras > 1 else None
        self._make_follower = (lambda _: follower) if follower else open_follower(config)
        self.follower: Follower = self._make_follower(config)
        self._last_view: Any = None
        self._last_image = np.zeros((0, 0), np.uint8)
        self._turned = np.eye(3)  # by the body while the image stood still
        self.stuck = 0  # frames that repeated the image before while the body turned
        self._features = _Features()
        self._next_id = first_id
        self._frames = seed  # starts the random choices of each frame

    def process(self, frame: ImageFrame, R_last_now: np.ndarray | None = None, trusted: bool = False) -> FrameTracks:
        """Tracks of one frame, whose left image must be there.

        The search starts where the last flow would lead. R_last_now (3, 3) is the body's rotation since the last frame,
        whose part of the flow is then known; when trusted (its bias is known) it serves for rejecting outliers too. A
        camera that is stuck while the body turns gives no tracks; the features wait for its next image.
        """
        image = frame.images[0]
        if image is None:
            raise ValueError(f"the left image of frame {frame.stamp_ns} is missing")
        if R_last_now is not None:
            R_last_now = self._turned @ R_last_now
            if trusted and self._is_stuck(image, R_last_now):
                self.stuck, self._turned = self.stuck + 1, R_last_now
                none = _Features()
                return FrameTracks(frame.stamp_ns, none.ids, np.stack([none.uv] * self._cameras), none.ages)
        self._last_image, self._turned = image, np.eye(3)
        views = self.follower.prepare([image for image in frame.images[: self._cameras] if image is not None])
        R_cam = None if R_last_now is None else self._in_camera(R_last_now)
        features, bearings_before = self._follow(views[0], R_cam)
        features = self._reject_outliers(features, bearings_before, R_cam if trusted else None)
        features = self._add_new(features, views[0])
        uv_right, features = self._match_right(features, views)
        self._last_view, self._features = views[0], features
        self._frames += 1
        uv = np.stack([features.uv, uv_right][: self._cameras])
        return FrameTracks(frame.stamp_ns, features.ids, uv, features.ages)

    def _is_stuck(self, image: np.ndarray, R_last_now: np.ndarray) -> bool:
        """Whether the image is the one before although the body has turned; one without light may be so."""
        turned = np.trace(R_last_now) < 1 + 2 * np.cos(STUCK_RAD)
        return bool(turned and image.any() and np.array_equal(image, self._last_image))

    def reset(self) -> None:
        """Forget all features; ids go on."""
        self._features = _Features()

    def configure(self, config: TrackerConfig) -> None:
        """Go on with other thresholds; the method, its network and its matcher stay as they are."""
        self._config = config
        self.follower = self._make_follower(config)

    def _in_camera(self, R_last_now: np.ndarray) -> np.ndarray:
        R_body_cam = self._left.T_body_cam[:3, :3]
        return np.asarray(R_body_cam.T @ R_last_now @ R_body_cam)

    def _follow(self, view: Any, R_last_now: np.ndarray | None) -> tuple[_Features, np.ndarray]:
        """The last frame's features that are found again, and the bearings (N, 3) that they had."""
        last = self._features
        if not len(last.ids):
            return last, last.bearings
        guess = last.uv
        if R_last_now is not None:
            turned, valid = self._left.camera.project(last.bearings @ R_last_now)
            guess = np.where(valid[:, None], turned, last.uv)
        uv, found = self.follower.follow(self._last_view, view, last.uv, guess + last.flow)
        bearings = self._left.camera.unproject(uv)
        found &= np.isfinite(bearings).all(1) & self._unmasked(uv)
        if self._config.max_age_frames:
            found &= last.ages < self._config.max_age_frames
        followed = replace(last, uv=uv, bearings=bearings, ages=last.ages + 1, flow=(uv - guess).astype(np.float32))
        return followed.keep(found), last.bearings[found]

    def _unmasked(self, uv: np.ndarray) -> np.ndarray:
        if self._left.mask is None:
            return np.ones(len(uv), bool)
        height, width = self._left.mask.shape
        column = np.clip(np.rint(uv[:, 0]), 0, width - 1).astype(int)
        row = np.clip(np.rint(uv[:, 1]), 0, height - 1).astype(int)
        return np.asarray(self._left.mask[row, column] > 0)

    def _reject_outliers(
        self, features: _Features, bearings_before: np.ndarray, R_last_now: np.ndarray | None
    ) -> _Features:
        limit = self._config.ransac_px / self._left.camera.focal_px
        if R_last_now is None:
            return features.keep(inliers_unknown_rotation(bearings_before, features.bearings, limit))
        same_motion = inliers_known_rotation(bearings_before, features.bearings, R_last_now.T, limit, self._frames)
        return features.keep(same_motion)

    def _add_new(self, features: _Features, view: Any) -> _Features:
        uv = self.follower.detect(view, features.uv, self._left.mask)
        bearings = self._left.camera.unproject(uv)
        good = np.isfinite(bearings).all(1)
        n = int(good.sum())
        ids = np.arange(self._next_id, self._next_id + n, dtype=np.int64)
        self._next_id += n
        flow = np.median(features.flow, axis=0) if len(features.ids) else np.zeros(2, np.float32)
        return _Features(
            np.concatenate([features.ids, ids]),
            np.concatenate([features.uv, uv[good]]).astype(np.float32),
            np.concatenate([features.bearings, bearings[good]]),
            np.concatenate([features.inverse_distance, np.full(n, np.nan)]),
            np.concatenate([features.ages, np.zeros(n, np.int32)]),
            np.concatenate([features.flow, np.full((n, 2), flow)]),
        )

    def _match_right(self, features: _Features, views: list[Any]) -> tuple[np.ndarray, _Features]:
        """Right pixels (N, 2), NaN where not found, and the features with their distances brought up to date."""
        uv_right = np.full((len(features.ids), 2), np.nan, np.float32)
        if self._stereo is None or len(views) < 2 or not len(features.ids):
            return uv_right, features
        known = np.isfinite(features.inverse_distance)
        typical = float(np.median(features.inverse_distance[known])) if known.any() else TYPICAL_INVERSE_DISTANCE
        w_guess = np.where(known, features.inverse_distance, typical)
        guess = self._stereo.guess_right(features.bearings, w_guess)
        guess = np.where(np.isfinite(guess), guess, features.uv)
        found_uv, found = self.follower.follow(views[0], views[1], features.uv, guess)
        bearings = self._stereo.right.unproject(found_uv)
        agree, w = self._stereo.agree(features.bearings, bearings, self._config.stereo_epipolar_px)
        found &= agree & np.isfinite(bearings).all(1)
        uv_right[found] = found_uv[found]
        inverse_distance = np.where(found, np.maximum(w, 0.0), features.inverse_distance)
        return uv_right, replace(features, inverse_distance=inverse_distance)
