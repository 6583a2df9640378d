# SPDX-License-Identifier: Apache-2.0
"""The feature tracker: images in, tracks out."""

from dataclasses import replace
from itertools import count

import cv2
import numpy as np

from letvins_ros.calibration import Rig
from letvins_ros.config import TrackerConfig
from letvins_ros.tracking.anchoring import compile_kernels
from letvins_ros.tracking.follower import Follower, PlaceFollower, open_follower
from letvins_ros.tracking.group import CameraGroup, Features
from letvins_ros.types import FrameTracks, ImageFrame, Matches


class FeatureTracker:
    """Follows features through the images of a rig: of its pairs through the leads' images, of other cameras alone."""

    def __init__(  # noqa: PLR0913
        self,
        config: TrackerConfig,
        rig: Rig,
        follower: Follower | None = None,
        seed: int = 0,
        first_id: int = 0,
        described: int = 0,
    ) -> None:
        """follower: instead of the configuration's, with its own thresholds. first_id: ids count up from it.

        described: features of left images to describe for the loop closer while `describing`, see Config.described.
        """
        self.describing = described > 0
        self.turns = 0  # quarter turns to the left that set left images upright
        cv2.setNumThreads(config.threads)  # of this process
        if config.anchor:
            compile_kernels()
        self._config, self._cameras = config, len(rig.cameras)
        self._make_follower = (lambda _: follower) if follower else open_follower(config, described)
        self.follower: Follower = self._make_follower(config)
        ids = count(first_id)
        self._groups = [CameraGroup(rig, cameras, ids, seed) for cameras in rig.groups]

    @property
    def stuck(self) -> dict[int, int]:
        """How many images repeated the one before while the body turned, by camera; a partner's are not looked at."""
        return {group.lead: group.stuck for group in self._groups}

    @property
    def outlines(self) -> np.ndarray | None:
        """Corners (N, 4, 2), px, that the first patches of the first camera's features have now; None without them."""
        return self._groups[0].outlines if self._config.anchor else None

    @property
    def matches(self) -> Matches | None:
        """What the first camera's group found in the last frame by appearance, None where its image did not serve."""
        return self._groups[0].matches

    def process(self, frame: ImageFrame, R_last_now: np.ndarray | None = None, trusted: bool = False) -> FrameTracks:
        """Tracks of one frame; features of a camera whose image is missing have none, and wait for its next image.

        The search starts where the last flow would lead. R_last_now (3, 3) is the body's rotation since the last frame,
        whose part of the flow is then known; when trusted (its bias is known) it serves for rejecting outliers too. A
        camera that is stuck while the body turns gives no tracks either.
        """
        images = {camera: image for camera, image in enumerate(frame.images) if image is not None}
        groups = [group for group in self._groups if group.accept(images.get(group.lead), R_last_now, trusted)]
        shown = {
            c: group.compared(c, images[c]) for group in groups for c in (group.lead, group.partner) if c in images
        }
        placing = self.follower if self.describing and isinstance(self.follower, PlaceFollower) else None
        seen = list(shown.values())
        prepared = placing.prepare_place(seen, self.turns) if placing else self.follower.prepare(seen)
        views = dict(zip(shown, prepared, strict=True))
        most = self._shares(groups)
        found = [group.follow(views, trusted, self.follower, self._config, most[group]) for group in groups]
        tracks = self._joined(frame.stamp_ns, groups, found)
        if placing is None or 0 not in views:
            return tracks
        return replace(tracks, description=placing.describe(views[0], tracks.uv[0, tracks.by_left]))

    def _shares(self, groups: list[CameraGroup]) -> dict[CameraGroup, int]:
        """How many features each group may have; those that see anything share those of the blind ones."""
        share, seeing = self._config.max_features, sum(not group.blind for group in self._groups)
        return {group: share if group.blind else share * len(self._groups) // seeing for group in groups}

    def _joined(
        self, stamp_ns: int, groups: list[CameraGroup], found: list[tuple[Features, np.ndarray]]
    ) -> FrameTracks:
        ids = np.concatenate([np.zeros(0, np.int64), *(features.ids for features, _ in found)])
        ages = np.concatenate([np.zeros(0, np.int32), *(features.ages for features, _ in found)])
        uv, begin = np.full((self._cameras, len(ids), 2), np.nan, np.float32), 0
        for group, (features, uv_partner) in zip(groups, found, strict=True):
            rows = slice(begin, begin := begin + len(features.ids))
            uv[group.lead, rows] = features.uv
            if group.partner is not None:
                uv[group.partner, rows] = uv_partner
        return FrameTracks(stamp_ns, ids, uv, ages)

    def reset(self) -> None:
        """Forget all features; ids go on."""
        for group in self._groups:
            group.forget()

    def configure(self, config: TrackerConfig) -> None:
        """Go on with other thresholds; the method, its network and its matcher stay as they are."""
        cv2.setNumThreads(config.threads)
        self._config = config
        self.follower = self._make_follower(config)
