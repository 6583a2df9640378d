# SPDX-License-Identifier: Apache-2.0
"""The stereo-inertial estimator: tracks and IMU in, states with covariance out."""

from dataclasses import replace

import gtsam
import numpy as np

from letvins_ros.calibration import ImuNoise, Rig
from letvins_ros.config import Config
from letvins_ros.errors import Rejected
from letvins_ros.estimation.frame import STATE_SIZE as N
from letvins_ros.estimation.frame import Frame, State, frame_of
from letvins_ros.estimation.initialisation import initialise_at_rest, initialise_moving
from letvins_ros.estimation.quadratic import Quadratic, V, X
from letvins_ros.estimation.standstill import StandstillDetector
from letvins_ros.estimation.vision import RobustPixels
from letvins_ros.estimation.window import Window
from letvins_ros.imu import ImuBuffer, ImuSteps, preintegrate
from letvins_ros.types import FrameTracks, ImuSamples, VioState, VioStatus

OUTLIER_PX = 3.0
SHARED_FEATURES = 0.6  # of a frame's features with the last keyframe, below which it becomes one
REST_VELOCITY_STD = 0.01  # m/s
REST_TURN_STD, REST_MOVE_STD = 5e-4, 5e-4  # rad, m
START_TILT_STD, START_VELOCITY_STD, START_ACCEL_BIAS_STD, START_GYRO_BIAS_STD = 0.1, 1.0, 0.15, 0.05
FIXED_STD = 1e-3  # rad, m: the first pose's heading and place define odom


class VioEstimator:
    """Estimates the body's motion from feature tracks and IMU readings."""

    def __init__(self, config: Config, rig: Rig) -> None:
        self._config = config.estimator
        self._inertial = config.mode != "stereo"
        self._cameras = rig.cameras[:1] if config.mode == "mono_imu" else rig.cameras[:2]
        self._noise = _inflated(rig.imu, self._config.imu_noise_scale) if self._inertial else None
        self._window = Window(self._cameras, RobustPixels(self._config.pixel_sigma, self._config.huber_px))
        self._rest = StandstillDetector()
        self.imu = ImuBuffer()
        self._frames = 0
        self.initialised = False
        self._last: Frame | None = None
        self._before_last: Frame | None = None
        self._motion: np.ndarray | None = None  # T_before_now of the last two frames
        self._patience_s = 3.0 if len(self._cameras) == 1 else 1.0
        self._focal_px = self._cameras[0].camera.focal_px
        self.resets = 0

    def add_imu(self, samples: ImuSamples) -> None:
        """IMU readings, up to at least the next frame's time."""
        self.imu.append(samples)

    def process(self, tracks: FrameTracks) -> VioState:
        """The state at this frame."""
        frame = self._new_frame(tracks)
        if not self.initialised:
            return self._try_to_start(frame)
        self._append(frame)
        self._window.add_landmarks()
        self._hold_still(frame)
        solution = self._window.solve(self._config.iterations)
        self._drop_outliers(solution.errors)
        state = self._output(frame, solution.information)
        self._consider_keyframe(frame)
        return state

    def rotation_since_last(self, stamp_ns: int) -> np.ndarray | None:
        """R_last_now (3, 3) of the body from the last frame to this time by the gyro, None without one."""
        if self._last is None or not self._inertial:
            return None
        return self.imu.steps(self.imu_time(self._last.stamp_ns), self.imu_time(stamp_ns)).rotation(
            self._last.state.gyro_bias
        )

    # -- one frame ----------------------------------------------------------------------------------------------------

    def imu_time(self, stamp_ns: int) -> int:
        """A frame's stamp on the IMU's clock."""
        return stamp_ns + round(self._cameras[0].time_offset_s * 1e9)

    def _new_frame(self, tracks: FrameTracks) -> Frame:
        state = self._last.state if self._last else State(np.eye(3), np.zeros(3))
        frame = frame_of(self._frames, tracks, self._cameras, state)
        self._frames += 1
        if self._last is not None and self._inertial:
            frame.steps = self.imu.steps(self.imu_time(self._last.stamp_ns), self.imu_time(tracks.stamp_ns))
            frame.at_rest = self._rest.add(frame, frame.steps)
        self._before_last, self._last = self._last, frame
        return frame

    def _append(self, frame: Frame) -> None:
        """Put the frame into the window in place of one that was no keyframe, with its predicted state."""
        newest = self._window.frames[-1]
        if not newest.keyframe:
            self._window.drop_newest()
            if frame.steps is not None and newest.steps is not None:
                frame.steps = newest.steps.joined(frame.steps)
        before = self._window.frames[-1].state
        if self._noise is not None and frame.steps is not None:
            frame.pim = preintegrate(frame.steps, self._noise, before.accel_bias, before.gyro_bias)
            frame.state = before.predicted(frame.pim)
        else:
            frame.state = self._extrapolated(newest)
        self._window.frames.append(frame)

    def _extrapolated(self, newest: Frame) -> State:
        """The next state when the motion between the last two frames goes on."""
        T = newest.state.T_odom_body
        if self._motion is not None:
            T = T @ self._motion
        return State(T[:3, :3], T[:3, 3])

    def _hold_still(self, frame: Frame) -> None:
        """Bind a frame at rest to zero velocity, and to the keyframe that began the rest."""
        if not (self._config.zero_motion and frame.at_rest):
            return
        sigma = gtsam.noiseModel.Isotropic.Sigma(3, REST_VELOCITY_STD)
        self._window.extra.append(gtsam.PriorFactorVector(V(frame.index), np.zeros(3), sigma))
        last = self._window.frames[-2]
        if last.at_rest and last.keyframe:
            sigmas = gtsam.noiseModel.Diagonal.Sigmas(np.r_[[REST_TURN_STD] * 3, [REST_MOVE_STD] * 3])
            still = gtsam.BetweenFactorPose3(X(last.index), X(frame.index), gtsam.Pose3(), sigmas)
            self._window.extra.append(still)

    def _drop_outliers(self, errors: np.ndarray) -> None:
        """Landmarks that do not fit the poses leave; their tracks may start anew."""
        self._window.forget_landmarks(self._window.ids[errors > OUTLIER_PX])

    def _consider_keyframe(self, frame: Frame) -> None:
        last = next(f for f in reversed(self._window.frames[:-1]) if f.keyframe)
        resting = frame.at_rest and last.at_rest
        gap_s = (frame.stamp_ns - last.stamp_ns) * 1e-9
        frame.keyframe = gap_s > self._config.keyframe_max_gap_s if resting else self._is_far(frame, last, gap_s)
        if not frame.keyframe:
            return
        if resting:  # a rest is one keyframe: the newest stands for it
            self._window.marginalise(len(self._window.frames) - 2)
        elif len(self._window.frames) > self._config.window_keyframes:
            self._window.marginalise(0)

    def _is_far(self, frame: Frame, last: Frame, gap_s: float) -> bool:
        """Whether few features are shared with the last keyframe, or their parallax or the time between is large."""
        _, a, b = np.intersect1d(last.ids, frame.ids, assume_unique=True, return_indices=True)
        if len(a) < SHARED_FEATURES * len(frame.ids) or (frame.at_rest and not last.at_rest):
            return True
        R_body_cam = self._cameras[0].T_body_cam[:3, :3]
        R_now_last = R_body_cam.T @ frame.state.R.T @ last.state.R @ R_body_cam
        turned = last.bearings[0][a] @ R_now_last.T
        parallax_px = np.mean(np.linalg.norm(turned - frame.bearings[0][b], axis=1)) * self._focal_px
        # cameras alone gain nothing from a keyframe without parallax; the IMU needs short intervals
        is_late = gap_s > self._config.keyframe_max_gap_s and (self._inertial or parallax_px > 1)
        return bool(is_late or parallax_px > self._config.keyframe_parallax_px)

    def _output(self, frame: Frame, information: np.ndarray) -> VioState:
        state, previous = frame.state, self._before_last
        if previous is not None:
            self._motion = np.linalg.inv(previous.state.T_odom_body) @ state.T_odom_body
        tracked = int(np.isin(frame.ids, self._window.ids).sum())
        enough = tracked >= self._config.min_tracks
        return VioState(
            frame.stamp_ns,
            VioStatus.TRACKING if enough else VioStatus.DEGRADED,
            "" if enough else f"{tracked} tracks of {self._config.min_tracks} needed",
            state.T_odom_body,
            state.v,
            state.gyro_bias,
            state.accel_bias,
            _in_output_order(self._window.covariance(information), state.R),
            self.resets,
        )

    # -- the start ----------------------------------------------------------------------------------------------------

    def _try_to_start(self, frame: Frame) -> VioState:
        """Collect frames until gravity, velocity and biases are known."""
        waiting = self._window.frames
        waiting.append(frame)
        while len(waiting) > 1 and (frame.stamp_ns - waiting[0].stamp_ns) * 1e-9 > self._patience_s:
            del waiting[0]
        states = self._first_states()
        if isinstance(states, Rejected):
            return _waiting(frame, states.reason, self.resets)
        chosen = self._thin_out(states)
        self._window.prior = _first_prior(chosen[0], frame.at_rest)
        for one in chosen:
            one.keyframe = True
        chosen[-1].keyframe = len(chosen) == 1
        self._window.frames = chosen
        self._window.add_landmarks()
        solution = self._window.solve(10)
        self._drop_outliers(solution.errors)
        solution = self._window.solve(5)
        self.initialised = True
        return self._output(frame, solution.information)

    def _first_states(self) -> list[State] | Rejected:
        """States of all waiting frames."""
        waiting = self._window.frames
        newest = waiting[-1]
        if not self._inertial:
            if newest.seen.all(0).sum() < self._config.min_tracks:
                return Rejected(f"{newest.seen.all(0).sum()} stereo features of {self._config.min_tracks} needed")
            return [State(np.eye(3), np.zeros(3)) for _ in waiting]
        if newest.at_rest:
            return initialise_at_rest(waiting, self._rest.recent_steps())
        span_s = (newest.stamp_ns - waiting[0].stamp_ns) * 1e-9
        if span_s < self._config.init_window_s:
            return Rejected(f"{span_s:.2f} s of {self._config.init_window_s} s collected")
        ids, counts = np.unique(np.concatenate([f.ids[f.seen[0]] for f in waiting]), return_counts=True)
        seen = self._window.observations(ids[counts >= max(3, len(waiting) // 2)], waiting)
        assert self._noise is not None  # noqa: S101  inertial
        return initialise_moving(waiting, seen, self._window.mounts, self._noise)

    def _thin_out(self, states: list[State]) -> list[Frame]:
        """The waiting frames that go into the window, with their states and pre-integration."""
        waiting = self._window.frames
        if not self._inertial or waiting[-1].at_rest:
            chosen = [len(waiting) - 1]
        else:
            chosen = sorted({round(i) for i in np.linspace(0, len(waiting) - 1, self._config.window_keyframes)})
        out: list[Frame] = []
        for i in chosen:
            frame = waiting[i]
            frame.state = states[i]
            if out:
                steps = waiting[chosen[len(out) - 1] + 1].steps
                for j in range(chosen[len(out) - 1] + 2, i + 1):
                    steps = steps.joined(waiting[j].steps)
                frame.steps = steps
                frame.pim = preintegrate(steps, self._noise, states[i].accel_bias, states[i].gyro_bias)
            out.append(frame)
        return out


def _inflated(noise: ImuNoise, scale: float) -> ImuNoise:
    return replace(noise, gyro_noise=noise.gyro_noise * scale, accel_noise=noise.accel_noise * scale)


def _first_prior(frame: Frame, at_rest: bool) -> Quadratic:
    """Place and heading are the odom frame's by definition; the rest is loosely known."""
    up = frame.state.R.T @ np.array([0.0, 0.0, 1.0])
    H = np.zeros((N, N))
    H[:3, :3] = (np.eye(3) - np.outer(up, up)) / START_TILT_STD**2 + np.outer(up, up) / FIXED_STD**2
    H[3:6, 3:6] = np.eye(3) / FIXED_STD**2
    H[6:9, 6:9] = np.eye(3) / (REST_VELOCITY_STD if at_rest else START_VELOCITY_STD) ** 2
    H[9:12, 9:12] = np.eye(3) / START_ACCEL_BIAS_STD**2
    H[12:, 12:] = np.eye(3) / START_GYRO_BIAS_STD**2
    return Quadratic((frame.index,), (frame.state,), H, np.zeros(N))


def _in_output_order(P: np.ndarray, R: np.ndarray) -> np.ndarray:
    """From GTSAM's order (rotation, position in body) to VioState's (position in odom, rotation)."""
    swap = np.eye(N)
    swap[:6, :6] = 0
    swap[:3, 3:6], swap[3:6, :3] = R, np.eye(3)
    return np.asarray(swap @ P @ swap.T)


def _waiting(frame: Frame, reason: str, resets: int) -> VioState:
    zero = np.zeros(3)
    status = VioStatus.INITIALISING
    return VioState(frame.stamp_ns, status, reason, np.eye(4), zero, zero, zero, np.eye(N), resets)
