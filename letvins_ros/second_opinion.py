# SPDX-License-Identifier: Apache-2.0
"""Why IMU and images contradict each other: the first seconds are estimated once more, with more unknowns."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from letvins_ros.calibration import MountedCamera, Rig
from letvins_ros.config import Config
from letvins_ros.estimation import VioEstimator
from letvins_ros.examination import EXPLAIN_S, Finding
from letvins_ros.geometry import inverse, log_so3
from letvins_ros.repairs import EARLY_S
from letvins_ros.types import FrameTracks, ImuSamples, VioStatus

SUSPICIOUS = 10.0  # contradiction from which it is asked for; simulated rooms without fault seldom have as much
LEAST_S = 7.0  # of tracks: mounts show in turns and accelerations, of which a second may have none
EXPLAINED = 15.0  # contradiction below which the unknowns explain it: four times the IMU's noise
TRIED_SCALES, CLOSE_SCALE = (0.8, 1.2), 0.003  # of the accelerations, to find the best so closely
STILL_PX = 0.5  # from frame to frame, which is more than what tracks of a camera at rest do
LOST = 1e6  # instead of what is left over where the estimate is lost
LESS = 0.75  # of what is left without that scale
LEAST_SCALE = 0.015  # what is found in rooms without any error is within a third of these four
LEAST_BASELINE = 0.015
LEAST_TURN_RAD = np.radians(0.1)  # of the cameras against each other: 0.8 px at 460 px focal length
SETTLED = 0.3  # of a change, by which it may differ halfway: what the motion does not tell goes on and on

UNSETTLED = "imu_contradicted"  # code of what is explained but not measured yet

Cameras = tuple[MountedCamera, ...]


@dataclass(frozen=True)
class Opinion:
    """What a second opinion says."""

    finding: Finding | None = None
    later: bool = False  # whether more frames are needed: there is too little motion yet, or mounts have not settled

    @property
    def settled(self) -> bool:
        """Whether it can be acted upon."""
        return self.finding is not None and not self.later


class FirstSeconds:
    """Keeps the first seconds of tracks until second opinions about them are due, or no more."""

    def __init__(self, wanted: bool) -> None:
        """wanted: whether there may ever be one."""
        self._tracks: list[FrameTracks] | None = [] if wanted else None
        self.suspected_s = np.inf  # since when one is needed, s from the first frame
        self._next_s, self._asked = LEAST_S, False

    @property
    def wanted(self) -> bool:
        """Whether one may still become due."""
        return self._tracks is not None

    def add(self, tracks: FrameTracks, contradiction: float) -> list[FrameTracks]:
        """Take a frame and the contradiction after it; all frames so far when a second opinion is due.

        After it there is none until that one is `answered`.
        """
        kept = self._tracks
        if kept is None:
            return []
        kept.append(tracks)
        now_s = (tracks.stamp_ns - kept[0].stamp_ns) * 1e-9
        if contradiction > SUSPICIOUS:
            self.suspected_s = min(self.suspected_s, now_s)
        if now_s >= EARLY_S:
            self._tracks = None
            return []
        if self._asked or now_s < max(self.suspected_s + EXPLAIN_S, self._next_s):
            return []
        self._asked, self._next_s = True, now_s + EXPLAIN_S
        return kept.copy()

    def answered(self, opinion: Opinion) -> None:
        """Another one becomes due where more frames are needed."""
        self._asked = False
        if not opinion.later:
            self._tracks = None


def second_opinion(tracks: Sequence[FrameTracks], imu: ImuSamples, config: Config, rig: Rig, since_s: float) -> Opinion:
    """What of the set-up explains the contradiction, if anything does; tracks are those of the first frames."""
    if not _moving(tracks):
        return Opinion(later=True)
    config = replace(config, estimator=replace(config.estimator, estimate_extrinsics=True))
    given, halfway, cameras = _left_over(tracks, imu, config, rig)
    if not np.isfinite(given) or (given < EXPLAINED and not any(_moved(rig.cameras, cameras))):
        return Opinion()
    from scipy.optimize import minimize_scalar  # 20 MB that few runs need

    def left(scale: float) -> float:  # smaller accelerations leave less of whatever is wrong with them
        scaled = replace(imu, accel=imu.accel * scale)
        return min(_left_over(tracks, scaled, config, rig)[0], LOST) / scale**2

    best = minimize_scalar(left, bounds=TRIED_SCALES, options={"xatol": CLOSE_SCALE})
    scale, least = float(best.x), float(best.fun)
    if abs(scale - 1) > LEAST_SCALE and least < min(EXPLAINED, LESS * given):
        text = f"IMU and images agree with {scale:.3f} times the accelerations"
        return Opinion(Finding("accel_scale", text, since_s, {"scale": scale}))
    if given >= EXPLAINED:
        return Opinion()
    return _of_mounts(rig.cameras, halfway, cameras, since_s)


def _moving(tracks: Sequence[FrameTracks]) -> bool:
    """Whether the first camera's features move in half of the frames; in a lift at rest all may be explained by all."""
    moving = 0
    for before, now in pairwise(tracks):
        _, a, b = np.intersect1d(before.ids, now.ids, assume_unique=True, return_indices=True)
        step_px = np.linalg.norm(now.uv[0, b] - before.uv[0, a], axis=1)
        step_px = step_px[np.isfinite(step_px)]
        moving += bool(len(step_px) and np.median(step_px) > STILL_PX)
    return moving > len(tracks) / 2


def _left_over(
    tracks: Sequence[FrameTracks], imu: ImuSamples, config: Config, rig: Rig
) -> tuple[float, Cameras, Cameras]:
    """What is left with refined mounts, mean of the second half, inf where lost; mounts halfway and at the end."""
    estimator, left, fed, halfway = VioEstimator(config, rig), [], 0, rig.cameras
    for i, one in enumerate(tracks):
        end = imu.needed_for(estimator.imu_time(one.stamp_ns))
        estimator.add_imu(imu[fed:end])
        fed = max(fed, end)
        state = estimator.process(one).state
        left.append(estimator.contradiction if state.status is not VioStatus.INITIALISING else np.inf)
        if i == len(tracks) // 2:
            halfway = estimator.cameras
    return float(np.mean(left[len(left) // 2 :])), halfway, estimator.cameras


def _moved(given: Cameras, found: Cameras) -> tuple[bool, bool]:
    """Whether the first two cameras stand nearer or farther than given, and whether they are turned."""
    longer, turn = _change(given, found)
    return abs(longer) > LEAST_BASELINE, bool(np.linalg.norm(turn) > LEAST_TURN_RAD)


def _of_mounts(given: Cameras, halfway: Cameras, found: Cameras, since_s: float) -> Opinion:
    """How the first two cameras stand against each other; only that they do so differently, while it goes on changing.

    Turns of both against the IMU are the examiner's.
    """
    (longer, turn), (longer_before, turn_before) = _change(given, found), _change(given, halfway)
    angle_rad = float(np.linalg.norm(turn))
    far, turned = _moved(given, found)
    far &= abs(longer - longer_before) < SETTLED * abs(longer)
    turned &= bool(np.linalg.norm(turn - turn_before) < SETTLED * angle_rad)
    about = ", ".join(f"{value:.2f}" for value in np.degrees(turn))
    text = (
        f"IMU and images agree with the cameras {abs(longer):.1%} {'farther from' if longer > 0 else 'nearer to'} each"
        f" other, and turned against each other by ({about}) degrees about x, y, z of the right one"
    )
    if far or turned:
        numbers = {"baseline": 1 + longer, "angle_deg": float(np.degrees(angle_rad))}
        return Opinion(Finding("stereo_mount", text, since_s, numbers))
    return Opinion(Finding(UNSETTLED, f"{text}, or so", since_s), later=True)


def _change(given: Cameras, found: Cameras) -> tuple[float, np.ndarray]:
    """By what share the baseline is longer than given, and the right camera's turn (3,) rad against the left."""
    if len(found) < 2:
        return 0.0, np.zeros(3)
    was, now = (inverse(pair[0].T_body_cam) @ pair[1].T_body_cam for pair in (given, found))
    longer = np.linalg.norm(now[:3, 3]) / np.linalg.norm(was[:3, 3]) - 1
    return float(longer), log_so3(was[:3, :3].T @ now[:3, :3])
