# SPDX-License-Identifier: Apache-2.0
"""The stereo-inertial estimator: tracks and IMU in, states with covariance out."""

from dataclasses import replace

import gtsam
import numpy as np

from letvins_ros.calibration import ImuNoise, MountedCamera, Rig
from letvins_ros.config import Config, EstimatorConfig
from letvins_ros.errors import CalibrationError, Rejected
from letvins_ros.estimation.calibration_state import INDEX, calibration_information, calibration_of
from letvins_ros.estimation.frame import STATE_SIZE as N
from letvins_ros.estimation.frame import Frame, State, frame_of
from letvins_ros.estimation.health import Health, weakness
from letvins_ros.estimation.prediction import in_output_order, of_motion, propagated
from letvins_ros.estimation.preintegration import preintegrate
from letvins_ros.estimation.quadratic import V, X
from letvins_ros.estimation.standstill import StandstillDetector
from letvins_ros.estimation.start import REST_VELOCITY_STD, Starter, first_prior, joined, upright
from letvins_ros.estimation.vision import RobustPixels, compile_kernels
from letvins_ros.estimation.window import Window
from letvins_ros.geometry import apply, inverse, orthonormal
from letvins_ros.imu import ImuBuffer, ImuSteps
from letvins_ros.types import FrameTracks, ImuSamples, Keyframe, VioState, VioStatus

OUTLIER_PX = 3.0
SHARED_FEATURES = 0.6  # of a frame's features with the last keyframe, below which it becomes one
REST_STD = np.repeat([5e-4, 5e-4], 3)  # rad, m: between frames of one rest
UNKNOWN_MOTION_STD = np.repeat([0.3, 0.5], 3)  # rad, m: between frames of cameras alone, before they are looked at


class VioEstimator:
    """Estimates the body's motion from feature tracks and IMU readings."""

    def __init__(self, config: Config, rig: Rig) -> None:
        compile_kernels()
        self._config = config.estimator
        self._cameras = rig.cameras[:1] if config.mode == "mono_imu" else rig.cameras[:2]
        self._noise = None
        if config.mode != "stereo":
            if rig.imu is None:
                raise CalibrationError(f"mode {config.mode} needs the IMU's noise in the calibration")
            self._noise = _inflated(rig.imu, self._config)
        self._refines = self._config.estimate_extrinsics or self._config.estimate_time_offset
        self.imu = ImuBuffer()
        self.resets = 0
        self.keyframe: Keyframe | None = None  # what the newest frame became, if it did; a rest is one keyframe
        self._keyframes = 0
        self._frames = 0  # ever seen
        self._last: Frame | None = None
        self._T_last_now = np.eye(4)  # between the last two frames with a state
        self._good = State(np.eye(3), np.zeros(3))  # the last one that held
        self._output_state: VioState | None = None
        self._begin(np.eye(4))

    def add_imu(self, samples: ImuSamples) -> None:
        """IMU readings, up to at least the next frame's time."""
        self.imu.append(samples)

    def process(self, tracks: FrameTracks) -> VioState:
        """The state at this frame; never raises on bad data: what cannot be used leads to a state that says why."""
        self.keyframe = None
        frame = self._new_frame(tracks)
        try:
            return self._advance(frame, tracks) if self.initialised else self._try_to_start(frame)
        except (RuntimeError, np.linalg.LinAlgError) as error:  # GTSAM, LAPACK
            return self._reset(frame, f"the solver failed: {str(error).splitlines()[0]}")

    def reset(self, reason: str) -> None:
        """Start anew with the next frame, going on at the last pose."""
        if self._last is not None:
            self._reset(self._last, reason)

    def _begin(self, T_odom_start: np.ndarray) -> None:
        pixels = RobustPixels(self._config.pixel_sigma, self._config.huber_px)
        self._window = Window(calibration_of(self._cameras), self._refines, pixels)
        self._starter = Starter(self._config, self._window.calibration.mounts(), self._noise)
        self._starter.T_odom_start = T_odom_start
        self._rest, self._health = StandstillDetector(), Health()
        self._keyframes_before_start, self.initialised = self._keyframes, False

    def _advance(self, frame: Frame, tracks: FrameTracks) -> VioState:
        self._append(frame)
        self._window.add_landmarks()
        self._hold_still(frame)
        solution = self._window.solve(self._config.iterations)
        self._window.forget_landmarks(self._window.ids[solution.errors > OUTLIER_PX])
        fault = self._health.fault(frame.state, solution.errors, OUTLIER_PX)
        if fault:
            return self._reset(frame, fault)
        state = self._output(frame, solution.information)
        self._consider_keyframe(frame, tracks, solution.information)
        return state

    def _try_to_start(self, frame: Frame) -> VioState:
        now = self.imu_time(frame.stamp_ns)
        if self._noise is not None and not self.imu.covers(now, now):
            return _waiting(frame, "no IMU readings at this frame's time", self.resets)
        first = self._starter.frames_to_start(frame, self._rest.recent_steps() if frame.at_rest else None)
        if isinstance(first, Rejected):
            return _waiting(frame, first.reason, self.resets)
        self._window.frames, self._last = first, first[-1]
        self._window.prior = first_prior(first[0], frame.at_rest)
        if self._refines:
            held = calibration_information(self._config, len(self._cameras))
            self._window.prior = self._window.prior.joined(INDEX, self._window.calibration, held)
        self._window.add_landmarks()
        for _ in range(2):
            solution = self._window.solve(10)
            self._window.refix_prior()
            self._window.forget_landmarks(self._window.ids[solution.errors > OUTLIER_PX])
        self.initialised = True
        self._good = first[-1].state  # no motion is known across a start
        return self._output(first[-1], solution.information)

    def _reset(self, frame: Frame, reason: str) -> VioState:
        self.resets += 1
        self._cameras = self.cameras
        T = self._good.T_odom_body
        self._begin(T if self._noise is None else upright(T))  # without IMU, odom is not upright
        return _waiting(frame, reason, self.resets)

    def rotation_since_last(self, stamp_ns: int) -> np.ndarray | None:
        """R_last_now (3, 3) of the body from the last frame to this time by the gyro, None without one."""
        if self._last is None or self._noise is None:
            return None
        return self._steps_since(self._last, stamp_ns).rotation(self._last.state.gyro_bias)

    def predict(self, stamp_ns: int) -> VioState | None:
        """The state at an IMU time after the last frame, by the IMU alone; None before there is a first state."""
        last, good = self._last, self._output_state
        if good is None or last is None or self._noise is None or not self.initialised:
            return None
        steps = self._steps_since(last, stamp_ns)
        pim = preintegrate(steps, self._noise, good.accel_bias, good.gyro_bias)
        state = self._good.predicted(pim)
        covariance = propagated(good.covariance, state.R, steps, self._noise, good.accel_bias)
        return replace(
            good, stamp_ns=stamp_ns, T_odom_body=state.T_odom_body, velocity_odom=state.v, covariance=covariance
        )

    # -- one frame ----------------------------------------------------------------------------------------------------

    def imu_time(self, stamp_ns: int) -> int:
        """A frame's stamp on the IMU's clock."""
        return stamp_ns + round(self._window.calibration.time_offset_s * 1e9)

    @property
    def cameras(self) -> tuple[MountedCamera, ...]:
        """The cameras as they are known now; refined where the configuration asks for it."""
        return self._window.calibration.on(self._cameras)

    def _steps_since(self, frame: Frame, stamp_ns: int) -> ImuSteps:
        return self.imu.steps(self.imu_time(frame.stamp_ns), self.imu_time(stamp_ns))

    def _new_frame(self, tracks: FrameTracks) -> Frame:
        state = self._last.state if self._last else State(np.eye(3), np.zeros(3))
        frame = frame_of(self._frames, tracks, self._cameras, state)
        self._frames += 1
        if self._last is not None and self._noise is not None:
            frame.offset_s = self._window.calibration.time_offset_s
            frame.steps = self._steps_since(self._last, tracks.stamp_ns)
            if len(frame.steps.gyro):
                frame.turn = frame.steps.gyro[-1]
            frame.at_rest = self._rest.add(frame, frame.steps)
        self._last = frame
        return frame

    def _append(self, frame: Frame) -> None:
        """Put the frame into the window in place of one that was no keyframe, with its predicted state."""
        newest = self._window.frames[-1]
        if not newest.keyframe:
            self._window.drop_newest()
            if frame.steps is not None:
                frame.steps = joined([newest.steps, frame.steps])
        before = self._window.frames[-1]
        if self._noise is not None and frame.steps is not None:
            frame.pim = preintegrate(frame.steps, self._noise, before.state.accel_bias, before.state.gyro_bias)
            frame.state = before.state.predicted(frame.pim)
        else:
            frame.state = self._extrapolated(newest)
            self._bind(before, frame, inverse(before.state.T_odom_body) @ frame.state.T_odom_body, UNKNOWN_MOTION_STD)
        self._window.frames.append(frame)

    def _bind(self, a: Frame, b: Frame, T_a_b: np.ndarray, sigmas: np.ndarray) -> None:
        model = gtsam.noiseModel.Diagonal.Sigmas(sigmas)
        self._window.extra.append(gtsam.BetweenFactorPose3(X(a.index), X(b.index), gtsam.Pose3(T_a_b), model))

    def _extrapolated(self, newest: Frame) -> State:
        """The next state when the motion between the last two frames goes on, or rests where nothing was seen."""
        T = newest.state.T_odom_body
        if len(newest.ids) >= self._config.min_tracks:
            T = T @ self._T_last_now
        # products of products drift off the rotations, and extrapolation feeds that back
        return State(orthonormal(T[:3, :3]), T[:3, 3])

    def _hold_still(self, frame: Frame) -> None:
        """Bind a frame at rest to zero velocity, and to the keyframe that began the rest."""
        if not (self._config.zero_motion and frame.at_rest):
            return
        sigma = gtsam.noiseModel.Isotropic.Sigma(3, REST_VELOCITY_STD)
        self._window.extra.append(gtsam.PriorFactorVector(V(frame.index), np.zeros(3), sigma))
        last = self._window.frames[-2]
        if last.at_rest and last.keyframe:
            self._bind(last, frame, np.eye(4), REST_STD)

    def _consider_keyframe(self, frame: Frame, tracks: FrameTracks, information: np.ndarray) -> None:
        last = next(f for f in reversed(self._window.frames[:-1]) if f.keyframe)
        resting = frame.at_rest and last.at_rest
        gap_s = (frame.stamp_ns - last.stamp_ns) * 1e-9
        frame.keyframe = gap_s > self._config.keyframe_max_gap_s if resting else self._is_far(frame, last, gap_s)
        if not frame.keyframe:
            return
        if resting:  # a rest is one keyframe: the newest stands for it
            self._window.marginalise(len(self._window.frames) - 2)
            return
        self._publish_keyframe(frame, tracks, information)
        if len(self._window.frames) > self._config.window_keyframes:
            self._window.marginalise(0)

    def _publish_keyframe(self, frame: Frame, tracks: FrameTracks, information: np.ndarray) -> None:
        T_odom_body, ids, before = frame.state.T_odom_body, self._window.ids, self._window.frames[-2].state.T_odom_body
        points = np.full((len(tracks), 3), np.nan)
        _, of_track, of_landmark = np.intersect1d(tracks.ids, ids, assume_unique=True, return_indices=True)
        points[of_track] = apply(inverse(T_odom_body), self._window.points[of_landmark])
        T_previous_this = inverse(before) @ T_odom_body
        poses = np.r_[:6, N : N + 6]
        joint = self._window.covariance(information, 2)
        self.keyframe = Keyframe(
            self._keyframes,
            frame.stamp_ns,
            T_odom_body,
            in_output_order(joint[N:, N:], frame.state.R)[:6, :6],
            self._poses_before(),
            of_motion(joint[np.ix_(poses, poses)], T_previous_this),
            tracks.ids,
            tracks.uv[0],
            points,
            self.resets,
        )
        self._keyframes += 1

    def _poses_before(self) -> np.ndarray:
        """T_odom_body (W, 4, 4) of the published keyframes in the window; for a rest stands the newest frame of it."""
        T = np.stack([frame.state.T_odom_body for frame in self._window.frames[:-1]])
        published = self._keyframes - self._keyframes_before_start
        return T[max(len(T) - published, 0) :]

    def _is_far(self, frame: Frame, last: Frame, gap_s: float) -> bool:
        """Whether few features are shared with the last keyframe, or their parallax or the time between is large."""
        _, a, b = np.intersect1d(last.ids, frame.ids, assume_unique=True, return_indices=True)
        if not len(a):  # nothing to compare: a keyframe where there is something new
            return len(frame.ids) > 0 or gap_s > self._config.keyframe_max_gap_s
        if len(a) < SHARED_FEATURES * len(frame.ids) or (frame.at_rest and not last.at_rest):
            return True
        R_body_cam = self._cameras[0].T_body_cam[:3, :3]
        R_now_last = R_body_cam.T @ frame.state.R.T @ last.state.R @ R_body_cam
        turned = last.bearings[0][a] @ R_now_last.T
        parallax_px = np.mean(np.linalg.norm(turned - frame.bearings[0][b], axis=1)) * self._cameras[0].camera.focal_px
        # cameras alone gain nothing from a keyframe without parallax; the IMU needs short intervals
        is_late = gap_s > self._config.keyframe_max_gap_s and (self._noise is not None or parallax_px > 1)
        return bool(is_late or parallax_px > self._config.keyframe_parallax_px)

    def _output(self, frame: Frame, information: np.ndarray) -> VioState:
        state = frame.state
        self._T_last_now = inverse(self._good.T_odom_body) @ state.T_odom_body
        self._good = state
        tracked = int(np.isin(frame.ids, self._window.ids, assume_unique=True, kind="sort").sum())
        reason = weakness(frame.steps, tracked, self._config.min_tracks)
        status = VioStatus.DEGRADED if reason else VioStatus.TRACKING
        covariance = in_output_order(self._window.covariance(information), state.R)
        pose = (state.T_odom_body, state.v, state.gyro_bias, state.accel_bias)
        self._output_state = VioState(frame.stamp_ns, status, reason, *pose, covariance, self.resets)
        return self._output_state


def _inflated(noise: ImuNoise, config: EstimatorConfig) -> ImuNoise:
    gyro, accel = noise.gyro_noise * config.gyro_noise_scale, noise.accel_noise * config.accel_noise_scale
    return replace(noise, gyro_noise=gyro, accel_noise=accel)


def _waiting(frame: Frame, reason: str, resets: int) -> VioState:
    zero = np.zeros(3)
    return VioState(frame.stamp_ns, VioStatus.INITIALISING, reason, np.eye(4), zero, zero, zero, np.eye(N), resets)
