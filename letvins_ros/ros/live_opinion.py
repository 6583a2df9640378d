# SPDX-License-Identifier: Apache-2.0
"""Why IMU and images contradict each other, asked in a process of its own while the nodes run; needs no ROS."""

import threading
from collections.abc import Iterable
from contextlib import suppress
from multiprocessing.connection import Pipe
from typing import Any

import numpy as np

from letvins_ros.calibration import Rig
from letvins_ros.config import Config
from letvins_ros.examination import EXPLAINING, Finding
from letvins_ros.helper_process import start_helper
from letvins_ros.second_opinion import FirstSeconds
from letvins_ros.types import FrameTracks, ImuSamples


class LiveOpinion:
    """Keeps what comes in the first seconds; where they disagree, finds out what of the set-up explains it."""

    def __init__(self, config: Config, rig: Rig) -> None:
        self._config, self._rig = config, rig
        self._possible = config.mode != "stereo" and not config.estimator.estimate_extrinsics
        self.finding: Finding | None = None  # for good
        self.begin_anew()

    def begin_anew(self) -> None:
        """Forget what has come: what comes is of another time."""
        self._first = FirstSeconds(self._possible and self.finding is None)
        self._imu: list[ImuSamples] = []

    def add_imu(self, samples: ImuSamples) -> None:
        """Readings as the estimator gets them."""
        if self._first.wanted:
            self._imu.append(samples)

    def add_frame(self, tracks: FrameTracks, contradiction: float, problems: Iterable[str]) -> None:
        """Tracks, what the estimator says after them, and what is known to be wrong, as "code: text"."""
        first = self._first.add(tracks, contradiction)
        if first and self._imu and not any(problem.partition(":")[0] in EXPLAINING for problem in problems):
            stamps, gyro, accel = zip(*((one.stamps_ns, one.gyro, one.accel) for one in self._imu), strict=True)
            imu = ImuSamples(np.concatenate(stamps), np.concatenate(gyro), np.concatenate(accel))
            question = (first, imu, self._config, self._rig, self._first.suspected_s)
            threading.Thread(target=self._ask, args=(self._first, question), name="opinion", daemon=True).start()
        if not self._first.wanted:
            self._imu = []

    def _ask(self, asked_for: FirstSeconds, question: Any) -> None:
        """Wait for the process, whose failure harms nobody."""
        ours, theirs = Pipe()
        process = start_helper("letvins_ros.ros.opinion_process", theirs)
        theirs.close()
        with ours, suppress(EOFError, OSError):
            ours.send(question)
            finding = ours.recv()
            if asked_for is self._first:  # nothing has begun anew since
                self.finding = finding
        process.wait()
