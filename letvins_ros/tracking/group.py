# SPDX-License-Identifier: Apache-2.0
"""The features of one camera, or of a pair of which the lead's features are looked for in its partner's images."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from functools import partial
from itertools import islice
from typing import Any

import numpy as np

from letvins_ros.calibration import Rig
from letvins_ros.config import TrackerConfig
from letvins_ros.tracking.anchoring import Patches
from letvins_ros.tracking.epipolar import StereoGeometry, inliers_known_rotation, inliers_unknown_rotation
from letvins_ros.tracking.follower import Follower
from letvins_ros.tracking.motion_guess import MotionGuess
from letvins_ros.tracking.resizing import resizing
from letvins_ros.types import Matches

TYPICAL_INVERSE_DISTANCE = 0.1  # 1/m, where the search in the partner starts while no distance is known
BLIND_FRAMES, FEW = 5, 0.1  # frames in a row with less than this share of the features wanted
STUCK_RAD = 0.005  # two or three pixels: who turns so far sees another image


@dataclass(eq=False)
class Features:
    """The features of the lead's last image."""

    ids: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    uv: np.ndarray = field(default_factory=lambda: np.zeros((0, 2), np.float32))
    bearings: np.ndarray = field(default_factory=lambda: np.zeros((0, 3)))  # lead camera
    inverse_distance: np.ndarray = field(default_factory=lambda: np.zeros(0))  # 1/m, NaN unknown
    ages: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int32))
    flow: np.ndarray = field(default_factory=lambda: np.zeros((0, 2), np.float32))  # px, beyond the known rotation
    patches: Patches = field(default_factory=Patches)

    def keep(self, mask: np.ndarray) -> "Features":
        """Those of the mask (N,)."""
        return Features(*(getattr(self, f.name)[mask] for f in fields(self)))


class CameraGroup:
    """Follows the features of a group of cameras (see Rig.groups) through its lead's images."""

    def __init__(self, rig: Rig, cameras: tuple[int, ...], ids: Iterator[int], seed: int) -> None:
        """ids: gives new features their ids; seed: starts the random choices of each frame."""
        self.lead, self.partner = cameras[0], cameras[1] if len(cameras) > 1 else None
        self._mounted = rig.cameras[self.lead]
        self._stereo, self._resizing = None, None
        if self.partner is not None:
            partner = rig.cameras[self.partner]
            self._resizing = resizing(partner.camera, self._mounted.camera)
            seen = partner if self._resizing is None else replace(partner, camera=self._resizing.camera)
            self._stereo = StereoGeometry(self._mounted, seen)
        self._ids, self._frames = ids, seed
        self._last_view: Any = None
        self._last_image = np.zeros((0, 0), np.uint8)
        self._turned: np.ndarray | None = np.eye(3)  # by the body since the last view, None: unknown
        self.stuck = 0  # images that repeated the one before while the body turned
        self._blind_frames = 0  # in a row
        self.matches: Matches | None = None  # of the last frame, before any are rejected
        self._features = Features()
        self._motion_guess = MotionGuess(self._mounted.camera, self._stereo.of_a_pixel if self._stereo else 0.0)

    @property
    def blind(self) -> bool:
        """Whether there has been no image, or hardly a feature in it, for a while."""
        return self._blind_frames >= BLIND_FRAMES

    @property
    def outlines(self) -> np.ndarray:
        """Corners (N, 4, 2), px, that the features' first patches have now."""
        return self._features.patches.outlines(self._features.uv)

    def accept(self, image: np.ndarray | None, R_last_now: np.ndarray | None, trusted: bool) -> bool:
        """Whether the lead's image serves; where there is none, or a stuck one, the features wait for the next.

        R_last_now (3, 3) is the body's rotation since the call before, trusted where its bias is known.
        """
        self._turned = None if self._turned is None or R_last_now is None else self._turned @ R_last_now
        self.matches = None
        if image is None:
            self._blind_frames += 1
            return False
        if trusted and self._turned is not None and self._is_stuck(image, self._turned):
            self.stuck += 1
            return False
        self._last_image = image
        return True

    def _is_stuck(self, image: np.ndarray, R_last_now: np.ndarray) -> bool:
        """Whether the image is the one before although the body has turned; one without light may be so."""
        turned = np.trace(R_last_now) < 1 + 2 * np.cos(STUCK_RAD)
        return bool(turned and image.any() and np.array_equal(image, self._last_image))

    def compared(self, camera: int, image: np.ndarray) -> np.ndarray:
        """A camera's image as it is compared: the partner's at the size of the lead's."""
        return self._resizing.resized(image) if self._resizing and camera == self.partner else image

    def forget(self) -> None:
        """Forget all features."""
        self._features = Features()
        self._motion_guess.forget()

    def follow(
        self, views: Mapping[int, Any], trusted: bool, follower: Follower, config: TrackerConfig, most: int
    ) -> tuple[Features, np.ndarray]:
        """The features in the accepted image, and where they are in the partner's (N, 2) px, NaN where not found.

        views: those of the cameras that gave an image, by camera. most: features at most.
        """
        R_cam, view = self._rotation_of_lead(), views[self.lead]
        features, bearings_before = self._found_again(view, R_cam, follower, config)
        pairs = (bearings_before, features.bearings, features.inverse_distance)
        features = self._without_outliers(features, bearings_before, R_cam if trusted else None, config)
        features = self._with_new(features, view, follower, most, config.anchor)
        partner_view = None if self.partner is None else views.get(self.partner)
        uv_partner, alike, features = self._in_partner(features, (view, partner_view), follower, config)
        self.matches = Matches(*pairs, alike, 0 if partner_view is None else len(features.ids), len(features.ids))
        self._last_view, self._features, self._turned = view, features, np.eye(3)
        self._frames += 1
        self._blind_frames = self._blind_frames + 1 if len(features.ids) < FEW * config.max_features else 0
        return features, uv_partner

    def _rotation_of_lead(self) -> np.ndarray | None:
        if self._turned is None:
            return None
        R_body_cam = self._mounted.T_body_cam[:3, :3]
        return np.asarray(R_body_cam.T @ self._turned @ R_body_cam)

    def _found_again(
        self, view: Any, R_last_now: np.ndarray | None, follower: Follower, config: TrackerConfig
    ) -> tuple[Features, np.ndarray]:
        """The last features that are found in this view, and the bearings (N, 3) that they had."""
        last = self._features
        if not len(last.ids):
            return last, last.bearings
        follow, guess = partial(follower.follow, self._last_view, view), last.uv
        if R_last_now is None:
            uv, found = self._motion_guess.follow(last, follow, config.ransac_px)
        else:
            turned, valid = self._mounted.camera.project(last.bearings @ R_last_now)
            guess = np.where(valid[:, None], turned, last.uv)
            uv, found = follow(last.uv, guess + last.flow)
            self._motion_guess.forget()
        if config.max_age_frames:
            found &= last.ages < config.max_age_frames
        last, uv, guess = last.keep(found), uv[found], guess[found]
        appearance, patches, there = follower.appearance(view), last.patches, np.ones(len(uv), bool)
        if config.anchor and appearance is not None:
            uv, patches, there = patches.found_again(appearance, uv)
        bearings = self._mounted.camera.unproject(uv)
        flow = (uv - guess).astype(np.float32)
        followed = replace(last, uv=uv, bearings=bearings, ages=last.ages + 1, flow=flow, patches=patches)
        good = there & np.isfinite(bearings).all(1) & self._unmasked(uv)
        return followed.keep(good), last.bearings[good]

    def _unmasked(self, uv: np.ndarray) -> np.ndarray:
        mask = self._mounted.mask
        if mask is None:
            return np.ones(len(uv), bool)
        height, width = mask.shape
        column = np.clip(np.rint(uv[:, 0]), 0, width - 1).astype(int)
        row = np.clip(np.rint(uv[:, 1]), 0, height - 1).astype(int)
        return np.asarray(mask[row, column] > 0)

    def _without_outliers(
        self, features: Features, bearings_before: np.ndarray, R_last_now: np.ndarray | None, config: TrackerConfig
    ) -> Features:
        limit = config.ransac_px / self._mounted.camera.focal_px
        if R_last_now is None:
            return features.keep(inliers_unknown_rotation(bearings_before, features.bearings, limit))
        same_motion = inliers_known_rotation(bearings_before, features.bearings, R_last_now.T, limit, self._frames)
        return features.keep(same_motion)

    def _with_new(self, features: Features, view: Any, follower: Follower, most: int, anchor: bool) -> Features:
        uv = follower.detect(view, features.uv, self._mounted.mask, most)
        bearings = self._mounted.camera.unproject(uv)
        good = np.isfinite(bearings).all(1)
        n = int(good.sum())
        flow = np.median(features.flow, axis=0) if len(features.ids) else np.zeros(2, np.float32)
        appearance = follower.appearance(view)
        patches = Patches.at(appearance, uv[good]) if anchor and appearance is not None else Patches.none(n)
        return Features(
            np.concatenate([features.ids, np.fromiter(islice(self._ids, n), np.int64, n)]),
            np.concatenate([features.uv, uv[good]]).astype(np.float32),
            np.concatenate([features.bearings, bearings[good]]),
            np.concatenate([features.inverse_distance, np.full(n, np.nan)]),
            np.concatenate([features.ages, np.zeros(n, np.int32)]),
            np.concatenate([features.flow, np.full((n, 2), flow)]),
            features.patches.followed_by(patches),
        )

    def _in_partner(
        self, features: Features, views: tuple[Any, Any | None], follower: Follower, config: TrackerConfig
    ) -> tuple[np.ndarray, np.ndarray, Features]:
        """Pixels (N, 2) in the partner, NaN where not found; pixels (2, M, 2) in both that look alike, anywhere.

        And the features with their distances updated.
        """
        uv_partner = np.full((len(features.ids), 2), np.nan, np.float32)
        if self._stereo is None or views[1] is None or not len(features.ids):
            return uv_partner, np.zeros((2, 0, 2), np.float32), features
        known = np.isfinite(features.inverse_distance)
        typical = float(np.median(features.inverse_distance[known])) if known.any() else TYPICAL_INVERSE_DISTANCE
        inverse_distance, alike = features.inverse_distance.copy(), np.full_like(uv_partner, np.nan)
        appearance = follower.appearance(views[1]) if config.anchor else None
        # what is not where most are, or where it was, may be far behind it
        for expected in (np.where(known, inverse_distance, typical), np.full(len(known), TYPICAL_INVERSE_DISTANCE)):
            rows = np.flatnonzero(np.isnan(uv_partner[:, 0]))
            bearings, uv = features.bearings[rows], features.uv[rows]
            guess = self._stereo.guess_right(bearings, expected[rows])
            found_uv, found = follower.follow(*views, uv, np.where(np.isfinite(guess), guess, uv))
            if appearance is not None:
                found_uv[found] = features.patches[rows[found]].placed(appearance, found_uv[found])
            original_uv = found_uv if self._resizing is None else self._resizing.original(found_uv)
            seen_first = found & np.isnan(alike[rows, 0])  # each feature counts once
            alike[rows[seen_first]] = original_uv[seen_first]
            partners = self._stereo.right.unproject(found_uv)
            agree, w = self._stereo.agree(bearings, partners, config.stereo_epipolar_px)
            found &= agree & np.isfinite(partners).all(1)
            uv_partner[rows[found]] = original_uv[found]
            inverse_distance[rows[found]] = np.maximum(w[found], 0.0)
        somewhere = np.isfinite(alike[:, 0])
        pairs = np.stack([features.uv[somewhere], alike[somewhere]])
        return uv_partner, pairs, replace(features, inverse_distance=inverse_distance)
