# SPDX-License-Identifier: Apache-2.0
"""Whether the scene goes on from one frame to the next, or is another one: a camera that was carried, or a cut."""

from collections import deque
from statistics import median

from letvins_ros.types import Matches

LEAST_FEATURES = 40  # before and after: a dark or blurred image has few, and is no other scene
KEPT_FRAMES = 10
SUDDEN = 0.5  # of the usual share: fast motion loses features over several frames


class Scene:
    """Watches the share of features that are found again."""

    def __init__(self) -> None:
        self._shares: deque[float] = deque(maxlen=KEPT_FRAMES)
        self._features = 0  # in the last frame
        self.kept, self.usual = 1.0, 1.0  # share found again in this frame, and in those before

    def changed(self, matches: Matches) -> bool:
        """Whether most features were lost at once, though the image has as many others."""
        before, self._features = self._features, matches.features
        if min(before, matches.features) < LEAST_FEATURES:
            self._shares.clear()
            return False
        self.kept = len(matches.before) / before
        self.usual = median(self._shares) if len(self._shares) == KEPT_FRAMES else 0.0
        if self.kept < SUDDEN * self.usual:
            self._shares.clear()
            return True
        self._shares.append(self.kept)
        return False
