# SPDX-License-Identifier: Apache-2.0
"""The first states: frames are collected until gravity, velocity and biases are known."""

from collections.abc import Iterable
from dataclasses import replace
from itertools import pairwise

import numpy as np

from letvins_ros.calibration import ImuNoise
from letvins_ros.config import EstimatorConfig
from letvins_ros.errors import Rejected
from letvins_ros.estimation.closed_form import MATCHED_NEEDED, heading, initialise_at_rest, initialise_moving
from letvins_ros.estimation.costs.linear import LinearCost, Quadratic
from letvins_ros.estimation.costs.rest import REST_VELOCITY_STD
from letvins_ros.estimation.frame import Frame
from letvins_ros.estimation.landmarks import CameraMounts, sightings
from letvins_ros.estimation.preintegration import preintegrate
from letvins_ros.estimation.state import STATE_SIZE as N
from letvins_ros.estimation.state import State
from letvins_ros.estimation.variables import Values
from letvins_ros.geometry import transform, yaw_rotation
from letvins_ros.imu import ImuSteps

TILT_STD, VELOCITY_STD, ACCEL_BIAS_STD, GYRO_BIAS_STD = 0.1, 1.0, 0.15, 0.05  # rad, m/s, m/s^2, rad/s
ONE_CAMERA_S = 1.5  # least stretch from which cameras start in motion that see no depth
FIXED_STD = 1e-4  # rad, m: the first pose's heading and place define odom


class Initialiser:
    """Collects frames; `frames_to_start` gives those that the window begins with."""

    def __init__(self, config: EstimatorConfig, mounts: CameraMounts) -> None:
        self._config, self._mounts = config, mounts
        self._waiting: list[Frame] = []
        self.T_odom_start = np.eye(4)  # where the odom frame is entered; after a reset it goes on from there

    def frames_to_start(self, frame: Frame, rest: ImuSteps | None, noise: ImuNoise | None) -> list[Frame] | Rejected:
        """Frames with states, or why it is too early.

        rest: the readings while standing still, if it does. noise: the IMU's, None without one.
        """
        self._waiting.append(frame)
        while (frame.stamp_ns - self._waiting[0].stamp_ns) * 1e-9 > (3.0 if self._without_depth() else 1.0):
            del self._waiting[0]
        if noise is None:
            return self._start_with_cameras(frame)
        if rest is not None:
            state = initialise_at_rest(rest)
            return state if isinstance(state, Rejected) else self._placed([frame], [state])
        return self._start_moving(noise)

    def _without_depth(self) -> bool:
        """Whether the scale has to come from acceleration, which takes longer."""
        matched, features = np.mean([(frame.matched, len(frame.ids)) for frame in self._waiting], axis=0)
        return bool(matched < min(MATCHED_NEEDED, features / 2))

    def _start_with_cameras(self, frame: Frame) -> list[Frame] | Rejected:
        matched, needed = frame.matched, self._config.min_tracks
        if matched < needed:
            return Rejected(f"{matched} stereo features of {needed} needed")
        return self._placed([frame], [State(np.eye(3), np.zeros(3))])

    def _start_moving(self, noise: ImuNoise) -> list[Frame] | Rejected:
        waiting = self._waiting
        span_s = (waiting[-1].stamp_ns - waiting[0].stamp_ns) * 1e-9
        needed_s = max(self._config.init_window_s, ONE_CAMERA_S if self._without_depth() else 0.0)
        if span_s < needed_s:
            return Rejected(f"{span_s:.2f} s of {needed_s} s collected")
        chosen = sorted({round(i) for i in np.linspace(0, len(waiting) - 1, self._config.window_keyframes)})
        frames = [replace(waiting[chosen[0]])]
        for before, i in pairwise(chosen):
            frames.append(replace(waiting[i], steps=consecutive(f.steps for f in waiting[before + 1 : i + 1])))
        ids, counts = np.unique(np.concatenate([f.ids[f.seen.any(0)] for f in frames]), return_counts=True)
        common = ids[counts >= max(3, len(frames) // 2)]
        if len(common) < 15:
            return Rejected(f"{len(common)} features of 15 needed are common to the frames")
        states = initialise_moving(frames, sightings(common, frames), self._mounts, noise)
        if isinstance(states, Rejected):
            return states
        for frame, state in zip(frames[1:], states[1:], strict=True):
            frame.pim = preintegrate(consecutive([frame.steps]), noise, state.accel_bias, state.gyro_bias)
        return self._placed(frames, states)

    def _placed(self, frames: list[Frame], states: list[State]) -> list[Frame]:
        """The frames with their states, moved to where odom is entered."""
        R, p = self.T_odom_start[:3, :3], self.T_odom_start[:3, 3]
        for frame, s in zip(frames, states, strict=True):
            frame.state = State(R @ s.R, R @ s.p + p, R @ s.v, s.accel_bias, s.gyro_bias)
            frame.keyframe = True
        frames[-1].keyframe = len(frames) == 1
        return frames


def consecutive(steps: Iterable[ImuSteps | None]) -> ImuSteps:
    """Consecutive stretches of readings as one."""
    return ImuSteps.joined([one for one in steps if one is not None])


def first_prior(frame: Frame, at_rest: bool) -> LinearCost:
    """Place and heading are the odom frame's by definition; the rest is loosely known."""
    up = frame.state.R.T @ np.array([0.0, 0.0, 1.0])
    H = np.zeros((N, N))
    H[:3, :3] = (np.eye(3) - np.outer(up, up)) / TILT_STD**2 + np.outer(up, up) / FIXED_STD**2
    H[3:6, 3:6] = np.eye(3) / FIXED_STD**2
    H[6:9, 6:9] = np.eye(3) / (REST_VELOCITY_STD if at_rest else VELOCITY_STD) ** 2
    H[9:12, 9:12] = np.eye(3) / ACCEL_BIAS_STD**2
    H[12:, 12:] = np.eye(3) / GYRO_BIAS_STD**2
    key = frame.key
    return LinearCost((key,), Values({key: frame.state}), Quadratic(H, np.zeros(N)))


def level_start(T_odom_body: np.ndarray) -> np.ndarray:
    """T_odom_start (4, 4), turned about the vertical only, that lets a new start go on at a pose."""
    return transform(yaw_rotation(heading(T_odom_body[:3, :3])), T_odom_body[:3, 3])
