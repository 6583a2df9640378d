# SPDX-License-Identifier: Apache-2.0
"""The stereo-inertial estimator: tracks and IMU in, states with covariance out."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from letvins_ros.calibration import MountedCamera, Rig
from letvins_ros.config import Config
from letvins_ros.errors import CalibrationError, Rejected
from letvins_ros.estimation.calibration_variables import TIME_OFFSET, Mount, calibration_prior, refined_keys
from letvins_ros.estimation.costs import rest
from letvins_ros.estimation.costs.vision import RobustPixels, mounts_of
from letvins_ros.estimation.covariance import in_output_order, motion_covariance, propagated
from letvins_ros.estimation.frame import Frame, frame_of
from letvins_ros.estimation.health import Health, weakness
from letvins_ros.estimation.imu_noise import CONTRADICTED, ShownNoise
from letvins_ros.estimation.initialiser import Initialiser, consecutive, first_prior, level_start
from letvins_ros.estimation.keyframes import is_keyframe
from letvins_ros.estimation.preintegration import preintegrate
from letvins_ros.estimation.sensor import Sensor
from letvins_ros.estimation.standstill import StandstillDetector
from letvins_ros.estimation.state import STATE_SIZE as N
from letvins_ros.estimation.state import State
from letvins_ros.estimation.variables import AnyKey
from letvins_ros.estimation.window import Solution, Window
from letvins_ros.geometry import apply, inverse, orthonormal
from letvins_ros.imu import BRIDGED_GAP_S, ImuBuffer, ImuSteps
from letvins_ros.types import FrameTracks, ImuSamples, Keyframe, VioState, VioStatus

OUTLIER_PX = 3.0
START_ROUNDS, START_STEPS = 6, 10  # of the first solution, which fixes where the prior is linearised
CLOCK_BACK_S = 1.0  # a frame so long before the last one is of a new time, a smaller step back is disorder
MAX_UNSPANNED_S = 0.5  # at 3 m/s^2 a third of a metre that nothing has seen
DOUBTFUL_SHARE = 0.1  # of landmarks beyond it: the solver may not have converged yet, and steps on so many times
CONVERGING_STEPS = 12
GUESSED = 3.0  # times as wide is the loss without IMU: at first errors are those of a guess, and must not be let go
APART = "IMU and images contradict each other"
RATE_WINDOW_NS = 10_000_000  # over which the angular rate is the mean of readings


@dataclass(frozen=True, eq=False)
class Step:
    """What the estimator made of a frame."""

    state: VioState
    keyframe: Keyframe | None = None  # what the frame became, if it did; a rest is one keyframe


class VioEstimator:
    """Estimates the body's motion from feature tracks and IMU readings."""

    def __init__(self, config: Config, rig: Rig, sensors: Sequence[Sensor] = ()) -> None:
        """sensors: what else measures the body. Unless `compile_kernels` was called, the first frame waits for it."""
        self._sensors = tuple(sensors)
        self._config = config.estimator
        self._given_cameras = rig.cameras[:1] if config.mode == "mono_imu" else rig.cameras
        if config.mode != "stereo" and rig.imu is None:
            raise CalibrationError(f"mode {config.mode} needs the IMU's noise in the calibration")
        self._given_noise = None if config.mode == "stereo" else rig.imu
        self._noise = self._given_noise  # as it shows up to the last frame
        self._refined = self._refined_keys()
        self._imu = ImuBuffer()
        self._resets = 0
        self._keyframes = 0
        self._frames = 0  # ever seen
        self._last: Frame | None = None
        self._T_last_now = np.eye(4)  # between the last two frames with a state
        self._good = State(np.eye(3), np.zeros(3))  # the last one that held
        self._output_state: VioState | None = None
        self._begin(np.eye(4))

    # -- what goes in and what comes out ------------------------------------------------------------------------------

    def add_imu(self, samples: ImuSamples) -> int:
        """IMU readings, up to at least the next frame's time; how many were refused: absurd, or out of order."""
        return self._imu.append(samples)

    def process(self, tracks: FrameTracks) -> Step:
        """The state at this frame; never raises on bad data: what cannot be used leads to a state that says why."""
        after_s = np.inf if self._last is None else (tracks.stamp_ns - self._last.stamp_ns) * 1e-9
        if -CLOCK_BACK_S < after_s <= 0:
            return self._left_out(tracks, f"the frame's stamp is {-after_s:.3f} s before or at the last one: left out")
        if after_s <= 0:
            self._begin_anew(f"the frames' clock has gone back {-after_s:.1f} s")
        frame = self._new_frame(tracks)
        gap_s = self._unspanned_s(frame, after_s)
        try:
            if self.initialised and gap_s:
                return self._reset(frame, f"neither images nor IMU for {gap_s:.1f} s")
            return self._advance(frame, tracks) if self.initialised else self._try_to_start(frame)
        except (RuntimeError, np.linalg.LinAlgError) as error:  # GTSAM, LAPACK
            return self._reset(frame, f"the solver failed: {str(error).splitlines()[0]}")

    def _left_out(self, tracks: FrameTracks, reason: str) -> Step:
        """What is known already, for a frame that cannot be used."""
        if self._output_state is None or not self.initialised:
            return _waiting(tracks.stamp_ns, reason, self._resets)
        return Step(replace(self._output_state, status=VioStatus.DEGRADED, reason=reason))

    def _begin_anew(self, reason: str) -> None:
        """Start a new segment: what has been seen and measured is of another time."""
        self.reset(reason)
        self.forget_imu()

    def _unspanned_s(self, frame: Frame, after_s: float) -> float:
        """How long neither sensor saw the motion up to this frame, s; 0 where one did."""
        if self._noise is None:
            silent = after_s > MAX_UNSPANNED_S and len(self._window.shared(frame)) < self._config.min_tracks
            return after_s if silent else 0.0
        gap_s = 0.0 if frame.steps is None else frame.steps.largest_gap_s
        return gap_s if gap_s > MAX_UNSPANNED_S else 0.0

    def forget_imu(self) -> None:
        """Drop the readings so far: those that come are of another time."""
        self._imu = ImuBuffer()

    def refine_mounts(self) -> None:
        """Refine the cameras' mounts from the next reset on."""
        self._config = replace(self._config, estimate_extrinsics=True)
        self._refined = self._refined_keys()

    def _refined_keys(self) -> tuple[AnyKey, ...]:
        return refined_keys(self._config, len(self._given_cameras), self._given_noise is not None)

    def reset(self, reason: str) -> int:
        """Start anew with the next frame, going on at the last pose; how many resets there have been."""
        if self._last is not None:
            self._reset(self._last, reason)
            self._last = None
        return self._resets

    @property
    def cameras(self) -> tuple[MountedCamera, ...]:
        """The cameras as they are known now; refined where the configuration asks for it."""
        return self._window.cameras

    @property
    def refines(self) -> tuple[AnyKey, ...]:
        """What of the calibration is estimated."""
        return self._refined

    @property
    def contradiction(self) -> float:
        """How many times the IMU's noise, as variance, would explain what is left between it and the images."""
        return 0.0 if self._shown_noise is None else self._shown_noise.contradiction

    def imu_time(self, stamp_ns: int) -> int:
        """A frame's stamp on the IMU's clock."""
        return stamp_ns + round(self._window.calibration[TIME_OFFSET].seconds * 1e9)

    def ahead_of_imu_s(self, stamp_ns: int) -> float | None:
        """How far a frame's stamp is ahead of the newest reading, s; None where there is none."""
        last = self._imu.last_ns
        return None if last is None else (self.imu_time(stamp_ns) - last) * 1e-9

    def mean_gyro(self, stamp_ns: int) -> np.ndarray | None:
        """Mean reading (3,) rad/s of the gyro just before an IMU time; None where there is none."""
        steps = self._imu.steps(stamp_ns - RATE_WINDOW_NS, stamp_ns)
        return steps.gyro.mean(0) if len(steps.gyro) else None

    def rotation_since_last(self, stamp_ns: int) -> np.ndarray | None:
        """R_last_now (3, 3) of the body from the last frame to this time by the gyro, None where it did not see it."""
        if self._last is None or self._noise is None:
            return None
        steps = self._steps_since(self._last, stamp_ns)
        return None if steps.largest_gap_s > BRIDGED_GAP_S else steps.rotation(self._last.state.gyro_bias)

    def predict(self, imu_ns: int) -> VioState | None:
        """The state at an IMU time after the last frame, by the IMU alone; None before there is a first state.

        Its stamp is on the cameras' clock, as that of every state.
        """
        last, good = self._last, self._output_state
        if good is None or last is None or self._noise is None or not self.initialised:
            return None
        steps = self._imu.steps(last.imu_ns, imu_ns)
        pim = preintegrate(steps, self._noise, good.accel_bias, good.gyro_bias)
        state = self._good.predicted(pim)
        covariance = propagated(good.covariance, state.R, steps, self._noise, good.accel_bias)
        stamp_ns = imu_ns - self.imu_time(0)
        return replace(
            good, stamp_ns=stamp_ns, T_odom_body=state.T_odom_body, velocity_odom=state.v, covariance=covariance
        )

    # -- the course of things -----------------------------------------------------------------------------------------

    def _begin(self, T_odom_start: np.ndarray) -> None:
        config = self._config
        factor = config.robust_factor * (GUESSED if self._noise is None else 1.0)
        pixels = RobustPixels(noise_scale=config.pixel_noise_scale, factor=factor, prior_scale=config.prior_noise_scale)
        self._window = Window(self._given_cameras, self._refined, pixels)
        mounts = mounts_of(self._window.calibration, len(self._given_cameras))
        self._initialiser = Initialiser(config, mounts)
        self._initialiser.T_odom_start = T_odom_start
        self._rest, self._health = StandstillDetector(), Health()
        follow = not any(key.kind is Mount for key in self._refined)  # else mounts may explain what is left
        self._shown_noise = None if self._given_noise is None else ShownNoise(self._given_noise, config, follow)
        self._keyframes_before_start, self.initialised = self._keyframes, False

    def _advance(self, frame: Frame, tracks: FrameTracks) -> Step:
        if self._shown_noise is not None and self._shown_noise.moved():
            self._window.reweigh(self._shown_noise.now())
        self._append(frame)
        if frame.steps is not None and frame.steps.largest_gap_s > BRIDGED_GAP_S:
            self._forget_chance(frame)
        self._window.add_landmarks()
        self._hold_still(frame)
        solution = self._converged(self._window.solve(self._config.iterations))
        self._window.forget_landmarks(self._window.ids[solution.errors > OUTLIER_PX])
        fault = self._health.fault(frame.state, solution.errors, OUTLIER_PX)
        if fault:
            return self._reset(frame, fault)
        if self._shown_noise is not None:
            self._shown_noise.solved(solution.contradiction)
        state = self._output(frame, solution.information, APART if self.contradiction > CONTRADICTED else "")
        return Step(state, self._consider_keyframe(frame, tracks, solution.information))

    def _forget_chance(self, frame: Frame) -> None:
        """After a gap that neither sensor saw, a few features are found again, most of them somewhere else."""
        shared = self._window.shared(frame)
        if len(shared) < self._config.min_tracks:
            self._window.forget_landmarks(shared)

    def _converged(self, solution: Solution) -> Solution:
        """The solution, after more steps where many landmarks disagree: near ones are the first to, and are right."""
        if solution.doubtful_share(OUTLIER_PX) < DOUBTFUL_SHARE:
            return solution
        if self._noise is None:
            self._window.place_newest(OUTLIER_PX)
        return self._window.solve(CONVERGING_STEPS)

    def _try_to_start(self, frame: Frame) -> Step:
        now = self.imu_time(frame.stamp_ns)
        if self._noise is not None and not self._imu.covers(now, now):
            return _waiting(frame.stamp_ns, "no IMU readings at this frame's time", self._resets)
        rest = self._rest.recent_steps() if frame.at_rest else None
        first = self._initialiser.frames_to_start(frame, rest, self._noise)
        if isinstance(first, Rejected):
            return _waiting(frame.stamp_ns, first.reason, self._resets)
        self._window.frames, self._last = first, first[-1]
        prior = first_prior(first[0], frame.at_rest)
        self._window.prior = prior.beside(calibration_prior(self._window.calibration, self._refined))
        for before, after in pairwise(first):
            self._measure(before, after)
        self._window.add_landmarks()
        for done in range(START_ROUNDS):
            solution = self._window.solve(START_STEPS)
            self._window.refix_prior()
            self._window.forget_landmarks(self._window.ids[solution.errors > OUTLIER_PX])
            if done and solution.steps < START_STEPS:  # settled, with the outliers of the first round left out
                break
        fault = self._health.fault(first[-1].state, solution.errors, OUTLIER_PX)
        if fault:
            return self._reset(frame, fault)
        self.initialised = True
        self._good = first[-1].state  # no motion is known across a start
        return Step(self._output(first[-1], solution.information))

    def _reset(self, frame: Frame, reason: str) -> Step:
        self._resets += 1
        self._given_cameras = self.cameras
        T = self._good.T_odom_body
        self._begin(T if self._noise is None else level_start(T))  # without IMU, odom is not upright
        return _waiting(frame.stamp_ns, reason, self._resets)

    # -- one frame ----------------------------------------------------------------------------------------------------

    def _steps_since(self, frame: Frame, stamp_ns: int) -> ImuSteps:
        return self._imu.steps(frame.imu_ns, self.imu_time(stamp_ns))

    def _new_frame(self, tracks: FrameTracks) -> Frame:
        state = self._last.state if self._last else State(np.eye(3), np.zeros(3))
        frame = frame_of(self._frames, tracks, self._given_cameras, state)
        frame.offset_s = self._window.calibration[TIME_OFFSET].seconds
        self._frames += 1
        if self._shown_noise is not None:
            self._shown_noise.read(self._imu.noise(frame.imu_ns), frame.stamp_ns)
            self._noise = self._shown_noise.now()
        if self._last is not None and self._noise is not None:
            frame.steps = self._steps_since(self._last, tracks.stamp_ns)
            if len(frame.steps.gyro):
                frame.gyro = frame.steps.gyro[-1]
            frame.at_rest = self._rest.add(frame, frame.steps)
        self._last = frame
        return frame

    def _append(self, frame: Frame) -> None:
        """Put the frame into the window in place of one that was no keyframe, with its predicted state."""
        newest = self._window.frames[-1]
        if not newest.keyframe:
            self._window.drop_newest()
            if frame.steps is not None:
                frame.steps = consecutive([newest.steps, frame.steps])
        before = self._window.frames[-1]
        if self._noise is not None and frame.steps is not None:
            frame.pim = preintegrate(frame.steps, self._noise, before.state.accel_bias, before.state.gyro_bias)
            frame.state = before.state.predicted(frame.pim)
        else:
            frame.state = self._extrapolated(newest)
            T_before_now = inverse(before.state.T_odom_body) @ frame.state.T_odom_body
            self._window.extra.append(rest.expected_motion(before, frame, T_before_now))
        self._window.frames.append(frame)
        self._measure(before, frame)

    def _measure(self, before: Frame, frame: Frame) -> None:
        """Add what other sensors say of a frame and its motion since the one before."""
        costs = [cost for sensor in self._sensors for cost in sensor.costs(before, frame)]
        frame.measured = any(len(cost.keys) == 1 for cost in costs)
        self._window.extra += costs

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
        depth_m = self._window.depth_m()
        self._window.extra.append(rest.no_velocity(frame, depth_m, self._rest.rest_s()))
        last = self._window.frames[-2]
        if last.at_rest and last.keyframe:
            self._window.extra.append(rest.same_pose(last, frame, depth_m))

    def _consider_keyframe(self, frame: Frame, tracks: FrameTracks, information: np.ndarray) -> Keyframe | None:
        last = next(f for f in reversed(self._window.frames[:-1]) if f.keyframe)
        with_imu = self._noise is not None
        frame.keyframe = frame.measured or is_keyframe(frame, last, self._given_cameras, self._config, with_imu)
        if not frame.keyframe:
            return None
        if frame.at_rest and last.at_rest:  # a rest is one keyframe: the newest stands for it
            self._window.marginalise(len(self._window.frames) - 2, repeats=True)
            return None
        keyframe = self._keyframe(frame, tracks, information)
        if len(self._window.frames) > self._config.window_keyframes:
            self._window.marginalise(0)
        return keyframe

    def _keyframe(self, frame: Frame, tracks: FrameTracks, information: np.ndarray) -> Keyframe:
        T_odom_body, ids, before = frame.state.T_odom_body, self._window.ids, self._window.frames[-2].state.T_odom_body
        points, by_left = np.full((len(tracks), 3), np.nan), tracks.by_left
        _, of_track, of_landmark = np.intersect1d(tracks.ids, ids, assume_unique=True, return_indices=True)
        points[of_track] = apply(inverse(T_odom_body), self._window.points[of_landmark])
        T_previous_this = inverse(before) @ T_odom_body
        poses = np.r_[:6, N : N + 6]
        joint = self._window.covariance(information, 2)
        keyframe = Keyframe(
            self._keyframes,
            frame.stamp_ns,
            T_odom_body,
            in_output_order(joint[N:, N:], frame.state.R)[:6, :6],
            self._poses_before(),
            motion_covariance(joint[np.ix_(poses, poses)], T_previous_this),
            tracks.ids[by_left],
            tracks.uv[0, by_left],
            points[by_left],
            self._resets,
            tracks.description,
        )
        self._keyframes += 1
        return keyframe

    def _poses_before(self) -> np.ndarray:
        """T_odom_body (W, 4, 4) of the published keyframes in the window; for a rest stands the newest frame of it."""
        T = np.stack([frame.state.T_odom_body for frame in self._window.frames[:-1]])
        published = self._keyframes - self._keyframes_before_start
        return T[max(len(T) - published, 0) :]

    def _output(self, frame: Frame, information: np.ndarray, doubt: str = "") -> VioState:
        state = frame.state
        covariance = in_output_order(self._window.covariance(information), state.R)
        if not np.isfinite(covariance).all():
            raise np.linalg.LinAlgError("the covariance is not finite")
        self._T_last_now = inverse(self._good.T_odom_body) @ state.T_odom_body
        self._good = state
        reason = weakness(frame.steps, len(self._window.shared(frame)), self._config.min_tracks) or doubt
        status = VioStatus.DEGRADED if reason else VioStatus.TRACKING
        pose = (state.T_odom_body, state.v, state.gyro_bias, state.accel_bias)
        self._output_state = VioState(frame.stamp_ns, status, reason, *pose, covariance, self._resets)
        return self._output_state


def _waiting(stamp_ns: int, reason: str, resets: int) -> Step:
    zero = np.zeros(3)
    nothing = (np.eye(4), zero, zero, zero, np.eye(N))
    return Step(VioState(stamp_ns, VioStatus.INITIALISING, reason, *nothing, resets))
