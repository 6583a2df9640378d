# SPDX-License-Identifier: Apache-2.0
"""The self-examination in the tracker's node, where images and readings meet."""

import time

from letvins_ros.calibration import Rig
from letvins_ros.examination import Examiner
from letvins_ros.ros.checks import Problems
from letvins_ros.tracking import FeatureTracker
from letvins_ros.types import ImuSamples

TELL_S = 1.0  # how often what is found is told


class SelfExamination:
    """Examines what the tracker has, and notes what is wrong at present."""

    def __init__(self, rig: Rig, problems: Problems) -> None:
        self._rig, self._problems = rig, problems
        self._offset_ns = round(rig.cameras[0].time_offset_s * 1e9)
        self._examiner, self._told_at = Examiner(rig), 0.0

    def begin_anew(self) -> None:
        """Time has begun anew."""
        self._examiner = Examiner(self._rig)

    def add_imu(self, samples: ImuSamples) -> None:
        """Readings as they came."""
        self._examiner.add_imu(samples)

    def add_frame(self, tracker: FeatureTracker, stamp_ns: int) -> None:
        """What the tracker has found in the frame of this stamp."""
        self._examiner.add_frame(tracker.matches, stamp_ns, stamp_ns + self._offset_ns, tracker.stuck[0])
        if time.monotonic() - self._told_at < TELL_S:
            return
        self._told_at = time.monotonic()
        for finding in self._examiner.present():
            self._problems.note(finding.code, finding.message)
