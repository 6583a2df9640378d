# SPDX-License-Identifier: Apache-2.0
"""What is wrong with the set-up, asked in a process of its own and mended while the nodes run; needs no ROS."""

import threading
from collections.abc import Iterable
from contextlib import suppress
from multiprocessing.connection import Connection, Pipe
from typing import Any

import numpy as np

from letvins_ros.calibration import Rig
from letvins_ros.config import Config
from letvins_ros.examination import EXPLAINING, Finding
from letvins_ros.helper_process import start_helper
from letvins_ros.repairs import Repairs
from letvins_ros.second_opinion import FirstSeconds, Opinion, second_opinion
from letvins_ros.types import FrameTracks, ImuSamples

NICE = 10  # the nodes go first


class LiveOpinion:
    """Keeps what comes in the first seconds; where they disagree, finds out what of the set-up explains it."""

    def __init__(self, config: Config, rig: Rig) -> None:
        self._config, self._rig = config, rig
        self._possible = config.mode != "stereo" and not config.estimator.estimate_extrinsics
        self.answer = Opinion()  # for good where it is settled
        self.begin_anew()

    def begin_anew(self) -> None:
        """Forget what has come: what comes is of another time."""
        self._first = FirstSeconds(self._possible and not self.answer.settled)
        self._imu: list[ImuSamples] = []

    def add_imu(self, samples: ImuSamples) -> None:
        """Readings as the estimator gets them."""
        if self._first.wanted:
            self._imu.append(samples)

    def add_frame(self, tracks: FrameTracks, contradiction: float, problems: Iterable[str]) -> None:
        """Tracks, what the estimator says after them, and what is known to be wrong, as "code: text"."""
        first = self._first.add(tracks, contradiction)
        if first and (not self._imu or any(problem.partition(":")[0] in EXPLAINING for problem in problems)):
            self._first.answered(Opinion())
        elif first:
            stamps, gyro, accel = zip(*((one.stamps_ns, one.gyro, one.accel) for one in self._imu), strict=True)
            imu = ImuSamples(np.concatenate(stamps), np.concatenate(gyro), np.concatenate(accel))
            question = (first, imu, self._config, self._rig, self._first.suspected_s)
            threading.Thread(target=self._ask, args=(self._first, question), name="opinion", daemon=True).start()
        if not self._first.wanted:
            self._imu = []

    def _ask(self, asked_for: FirstSeconds, question: Any) -> None:
        """Wait for the process, whose failure harms nobody."""
        ours, theirs = Pipe()
        process = start_helper(_answer, theirs, NICE)
        theirs.close()
        with ours, suppress(EOFError, OSError):
            ours.send(question)
            answer = ours.recv()
            if asked_for is self._first:  # nothing has begun anew since
                self.answer = answer
                asked_for.answered(answer)
        process.wait()


def _answer(pipe: Connection) -> None:
    """In its own process: answer the one question."""
    pipe.send(second_opinion(*pipe.recv()))


class LiveRepairs:
    """What the tracker and a second opinion have found wrong, as far as it is mended."""

    def __init__(self, config: Config, rig: Rig) -> None:
        self._config, self._rig = config, rig
        self.opinion, self.current = LiveOpinion(config, rig), Repairs()
        self._own, self._of_tracker = list[Finding](), Repairs()
        self._tracker_codes = tuple[str, ...]()

    def tracker_says(self, codes: tuple[str, ...], gyro_scale: float, accel_scale: float) -> bool:
        """Take over what the tracker mends, with the scales of the readings; whether that is new."""
        if codes == self._tracker_codes:
            return False
        self._tracker_codes, self._of_tracker = codes, Repairs(gyro_scale=gyro_scale, accel_scale=accel_scale)
        self._update()
        return True

    def opinion_says(self) -> bool:
        """Take over what the second opinion has found, where nodes are to mend it; whether that is new."""
        finding = self.opinion.answer.finding
        if not self._config.ros.mend or self._own or finding is None or not self.opinion.answer.settled:
            return False
        self._own = [finding]
        self._update()
        return True

    @property
    def unmended(self) -> Finding | None:
        """What the second opinion has found, where it is left as it is."""
        return None if self._own else self.opinion.answer.finding

    def codes(self) -> list[str]:
        """Of all that is mended, by the tracker or here."""
        return [*self._tracker_codes, *(finding.code for finding in self.current.mended)]

    def _update(self) -> None:
        self.current = self._of_tracker.after(self._own, self._config, self._rig)
