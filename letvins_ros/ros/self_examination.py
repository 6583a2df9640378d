# SPDX-License-Identifier: Apache-2.0
"""The self-examination in the tracker's node, where images and readings meet."""

import time

from letvins_ros.calibration import Rig
from letvins_ros.config import Config
from letvins_ros.examination import Examiner
from letvins_ros.repairs import Repairs
from letvins_ros.ros.checks import MENDED, Problems
from letvins_ros.tracking import FeatureTracker
from letvins_ros.types import ImuSamples

TELL_S = 0.2  # how often what is found is told
MENDABLE = {"cameras_exchanged", "accel_in_g", "gyro_in_degrees"}  # while the nodes run


class SelfExamination:
    """Examines what the tracker has, and notes what is wrong at present."""

    def __init__(self, config: Config, rig: Rig, problems: Problems) -> None:
        self._config, self._rig, self._problems = config, rig, problems
        self._examiner, self._told_at = Examiner(rig), 0.0
        self.repairs = Repairs()  # of what reaches the tracker and this

    def begin_anew(self) -> None:
        """Time has begun anew."""
        self._examiner = Examiner(self._rig)

    def add_imu(self, samples: ImuSamples) -> None:
        """Readings as they came."""
        self._examiner.add_imu(samples)

    def add_frame(self, tracker: FeatureTracker, stamp_ns: int) -> bool:
        """What the tracker has found in the frame of this stamp; whether the set-up is mended from the next one on."""
        self._examiner.add_frame(tracker.matches, stamp_ns, tracker.stuck[0])
        if time.monotonic() - self._told_at < TELL_S:
            return False
        self._told_at = time.monotonic()
        present = self._examiner.present()
        for finding in present:
            self._problems.note(finding.code, finding.message, sure=True)
        for finding in self.repairs.mended:
            self._problems.note(f"{finding.code}{MENDED}", finding.message)
        before = self.repairs
        if self._config.ros.mend:
            to_mend = [finding for finding in present if finding.code in MENDABLE]
            self.repairs = before.after(to_mend, self._config, self._rig)
        if self.repairs != before:
            self.begin_anew()
        return self.repairs != before
