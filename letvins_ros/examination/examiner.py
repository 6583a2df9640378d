# SPDX-License-Identifier: Apache-2.0
"""The examiner: looks at readings and matches as they come, and says what is wrong with the sensors."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from letvins_ros.calibration import Rig
from letvins_ros.examination.alignment import Turns, align
from letvins_ros.examination.finding import Finding
from letvins_ros.examination.imu_checks import (
    gap_findings,
    held_findings,
    range_findings,
    rate_findings,
    spike_findings,
    stuck_findings,
    unit_findings,
)
from letvins_ros.examination.readings import Readings
from letvins_ros.examination.rotation import turns_between
from letvins_ros.examination.scene import Scene
from letvins_ros.examination.stamps import FrameStamps
from letvins_ros.examination.stereo import StereoExam
from letvins_ros.examination.turning import turning_findings
from letvins_ros.types import ImuSamples, Matches

PERIOD_S = 1.0  # between two examinations
TURNS_S = 15.0  # of rotations from images that are compared with the gyro
RECENT_S, NEWEST_S = 2.0, 1.0  # of readings that are looked at by themselves, and for their units
TURN_PERIOD_S = 0.09  # one rotation in so long is enough, whatever the camera's rate
LONGEST_INTERVAL_S = 0.2  # between two frames whose rotation is known
FROZEN = 5  # frames in a row
FORGOTTEN_S = 4.0  # suspicions that were not found again for so long
CONFIRMED = 2  # examinations that must find the same, one soon after the other
HIDES = {  # what follows from a finding needs no mention
    "accel_stuck": {"imu_held"},
    "imu_held": {"gyro_disagrees", "imu_axes", "imu_mount", "gyro_scale", "time_offset"},
    "imu_spikes": {"gyro_disagrees", "imu_axes", "imu_mount", "gyro_scale", "time_offset", "imu_saturated"},
    "gyro_stuck": {"imu_held", "gyro_disagrees", "imu_axes", "imu_mount", "gyro_scale", "time_offset"},
    "gyro_in_degrees": {"imu_axes", "imu_mount", "imu_saturated"},
    "stereo_mount": {"gyro_scale", "imu_mount"},
    "stereo_focal": {"gyro_scale", "imu_mount", "gyro_disagrees"},
    "imu_saturated": {"gyro_scale", "imu_mount"},
    "frame_gap": {"imu_gap"},
    "stamps_repeated": {"imu_rate"},
    "stamp_units": {"imu_rate", "imu_gap"},
    "cameras_exchanged": {"stereo_missing", "stereo_mount", "stereo_focal", "gyro_scale"},
}
EXPLAIN_S = 3.0  # a contradiction is explained by what is found up to so long after it
EXPLAINING = {
    *("time_offset", "gyro_scale", "gyro_disagrees", "gyro_stuck", "gyro_in_degrees", "accel_in_g", "accel_stuck"),
    "accel_scale",
    *("accel_without_gravity", "imu_axes", "imu_mount", "imu_held", "imu_spikes", "imu_saturated", "scene_changed"),
    *("stereo_mount", "stereo_focal", "stereo_disagrees", "cameras_exchanged", "stamps_repeated", "stamps_back"),
}


@dataclass
class _Suspicion:
    """A finding on its way to be told."""

    finding: Finding
    times: int = 0  # found
    seen_s: float = 0.0  # when last
    told: bool = False


class Examiner:
    """Examines one stream of readings and frames."""

    def __init__(self, rig: Rig) -> None:
        self._rig = rig
        self._R_body_cam = rig.cameras[0].T_body_cam[:3, :3]
        self._offset_ns = round(rig.cameras[0].time_offset_s * 1e9)  # as given, whatever the estimator makes of it
        self._readings, self._turns = Readings(), deque[tuple[int, int, np.ndarray]]()
        self._pairs: list[tuple[int, int, Matches]] = []  # whose rotation is to be found
        pair = [rig.cameras[i] for i in rig.groups[0]]
        self._stereo = StereoExam(pair[0], pair[1]) if len(pair) > 1 else None
        self._stamps, self._frozen, self._stuck = FrameStamps(), 0, 0
        self._scene = Scene()
        self._first_ns: int | None = None
        self._now_s = 0.0  # since the first frame
        self._last_ns: int | None = None  # IMU clock, of the last frame that the tracker took
        self._examined_ns = 0
        self._suspicions: dict[str, _Suspicion] = {}

    def add_imu(self, samples: ImuSamples) -> None:
        """Readings as they came, before anything is mended."""
        self._readings.add(samples)

    def add_frame(self, matches: Matches | None, stamp_ns: int, stuck: int = 0, contradicted: bool = False) -> None:
        """Matches of a frame, None where it has none, and its stamp.

        stuck: how many images so far repeated the one before while the body turned. contradicted: whether the estimator
        finds that IMU and images tell of different motions.
        """
        if self._first_ns is None:
            self._first_ns = self._examined_ns = stamp_ns
        now_s = (stamp_ns - self._first_ns) * 1e-9
        if now_s - self._now_s > LONGEST_INTERVAL_S:  # what is lost over a gap tells nothing of the scene
            self._scene = Scene()
        self._now_s = now_s
        self._stamps.add(stamp_ns, now_s)
        self._frozen = self._frozen + 1 if stuck > self._stuck else 0
        self._stuck = stuck
        if self._frozen >= FROZEN:
            text = f"the left camera sends one image again and again while the body turns ({FROZEN} times in a row)"
            self.add_finding(Finding("images_frozen", text, now_s, {"frames": float(FROZEN)}), now_s)
        if contradicted:
            text = "IMU and images tell of different motions, by more than their noise"
            self.add_finding(Finding("imu_contradicted", text, now_s), now_s)
        if matches is not None:
            self._add_turn(matches, stamp_ns + self._offset_ns)
            if self._scene.changed(matches):
                kept, usual = self._scene.kept, self._scene.usual
                text = f"{kept:.0%} of the features were found again in the next frame, {usual:.0%} in those before"
                self.add_finding(Finding("scene_changed", text, now_s, {"share": kept}), now_s)
            if self._stereo is not None:
                self._stereo.add(matches)
        if stamp_ns - self._examined_ns >= PERIOD_S * 1e9:
            self._examined_ns = stamp_ns
            self._examine(now_s)

    def add_finding(self, finding: Finding, now_s: float = np.inf) -> None:
        """Tell what another part is sure of: once more just now, or for good, instead of what it said before."""
        known = self._suspicions.get(finding.code)
        first = finding if known is None or now_s == np.inf else known.finding
        self._suspicions[finding.code] = _Suspicion(first, seen_s=now_s, told=True)

    def findings(self) -> list[Finding]:
        """Everything found so far, the oldest first; what only follows from another is left out."""
        for finding in self._stamps.findings():
            self.add_finding(finding)
        return self._found_since(-np.inf)

    def present(self) -> list[Finding]:
        """Those of the findings that have been true lately."""
        return self._found_since(self._now_s - FORGOTTEN_S)

    def _found_since(self, oldest_s: float) -> list[Finding]:
        told = [one.finding for one in self._suspicions.values() if one.told and one.seen_s >= oldest_s]
        return without_consequences(sorted(told, key=lambda finding: finding.since_s))

    def _add_turn(self, matches: Matches, imu_time_ns: int) -> None:
        last, self._last_ns = self._last_ns, imu_time_ns
        if last is None or not 0 < imu_time_ns - last < LONGEST_INTERVAL_S * 1e9:
            return
        if self._readings.last_ns is None:  # nothing to compare it with
            return
        if self._pairs and imu_time_ns - self._pairs[-1][1] < TURN_PERIOD_S * 1e9:
            return
        self._pairs.append((last, imu_time_ns, matches))

    def _find_turns(self) -> None:
        """The rates of the second's pairs of frames, all at once, and none that is too old."""
        for (start, end, _), turn in zip(self._pairs, turns_between([pair[2] for pair in self._pairs]), strict=True):
            if np.isfinite(turn).all():
                self._turns.append((start, end, self._R_body_cam @ turn / ((end - start) * 1e-9)))
        oldest = self._pairs[-1][1] - int(TURNS_S * 1e9)
        while self._turns and self._turns[0][0] < oldest:
            self._turns.popleft()
        self._pairs = []

    def _examine(self, now_s: float) -> None:
        found = self._of_imu(now_s)
        if self._stereo is not None:
            found += self._stereo.findings(now_s)
        for code, one in list(self._suspicions.items()):
            if not one.told and now_s - one.seen_s > FORGOTTEN_S:
                del self._suspicions[code]
        for finding in found:
            known = self._suspicions.setdefault(finding.code, _Suspicion(finding))
            known.times, known.seen_s = known.times + 1, now_s
            known.told |= known.times >= CONFIRMED
            known.finding = replace(finding, since_s=known.finding.since_s)

    def _of_imu(self, now_s: float) -> list[Finding]:
        if self._readings.last_ns is None:
            return []
        if self._pairs:
            self._find_turns()
        everything, recent = self._readings.samples(), self._readings.samples(RECENT_S)
        found = [
            *(unit_findings(recent, now_s) or unit_findings(self._readings.samples(NEWEST_S), now_s)),
            *range_findings(everything, now_s),
            *spike_findings(everything, now_s),
            *rate_findings(recent, self._rig.imu, now_s),
            *gap_findings(everything, self._first_ns or 0),
        ]
        if not self._turns:
            return found
        turns = Turns(*(np.array(column) for column in zip(*self._turns, strict=True)))
        late = turns.rate[turns.end_ns > self._readings.last_ns - int(RECENT_S * 1e9)]
        rate = np.sqrt(np.square(late).mean(0)) if len(late) else np.zeros(3)
        found += [*stuck_findings(recent, rate, now_s), *held_findings(recent, rate, now_s)]
        fit = align(turns, everything)
        return found + (turning_findings(fit, now_s) if fit is not None else [])


def without_consequences(findings: Sequence[Finding]) -> list[Finding]:
    """The first finding of each code, without those that only follow from another one."""
    hidden = set[str]().union(*(HIDES.get(finding.code, set()) for finding in findings))
    apart_s = min((finding.since_s for finding in findings if finding.code == "imu_contradicted"), default=0.0)
    if any(one.code in EXPLAINING and one.since_s <= apart_s + EXPLAIN_S for one in findings):
        hidden.add("imu_contradicted")
    first = {finding.code: finding for finding in reversed(findings) if finding.code not in hidden}
    return [finding for finding in findings if first.get(finding.code) is finding]
