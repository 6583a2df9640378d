# SPDX-License-Identifier: Apache-2.0
"""Node: tracks and IMU in, odometry out."""

import time
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from geometry_msgs.msg import TwistWithCovarianceStamped
from nav_msgs.msg import Odometry
from sensor_msgs.msg import Imu
from std_srvs.srv import Trigger

from letvins_ros.calibration import TYPICAL_IMU
from letvins_ros.estimation import VioEstimator, compile_kernels
from letvins_ros.msg import FeatureTracks
from letvins_ros.ros import convert
from letvins_ros.ros.checks import MENDED, StampGate
from letvins_ros.ros.imu_inbox import ImuStream
from letvins_ros.ros.live_opinion import LiveRepairs
from letvins_ros.ros.node import LetvinsNode
from letvins_ros.ros.qos import IMU_DEPTH
from letvins_ros.ros.robot import RobotFrames
from letvins_ros.ros.run import run_node
from letvins_ros.ros.vio_output import VioOutput
from letvins_ros.ros.wheels import Wheels
from letvins_ros.ros.worker import DropQueue
from letvins_ros.sensors import calibrated_rig
from letvins_ros.types import FrameTracks, VioState
from letvins_ros.types import VioStatus as Status

LATE_IMU_S = 0.15  # a frame waits so long for the readings up to its time
APART_S = 0.5  # images so far ahead of the IMU are of another clock
BEHIND_S, FAR_BEHIND_S = 1.5, 5.0  # so far behind too, beside the tracker's time; and so far, of no use
CATCH_UP_S = 2.0
QUEUE, START_QUEUE = 6, 30  # tracks that wait; the start takes as long as many frames, which are then caught up with
SILENT_S = 1.0
WHEEL_DEPTH = 200
JUMP_FRAMES = 2  # that make a jump of the tracks' stamps the new time; the tracker has seen five images then
IMU_PERIOD_S, WAIT_S = 0.005, 0.002  # how often to look for readings that are to be published, or waited for


class Waiting(NamedTuple):
    """Tracks of one frame on the way to the estimator."""

    tracks: FrameTracks
    arrival_ns: int  # of a clock that never jumps
    received_ns: int  # system time of the left image at the tracker
    restarted: bool
    mended: tuple[str, ...]  # codes of findings, with what the readings are multiplied by therefore
    scales: tuple[float, float]  # gyro, accelerometer


class VioNode(LetvinsNode):
    """Feeds the estimator in a thread of its own, and publishes what it finds."""

    def __init__(self, **options: Any) -> None:
        super().__init__("vio", **options)
        self._session_ns = time.time_ns()
        self._reset_wanted = ""  # why, set by the service

    def configure(self) -> None:
        rig = calibrated_rig(self.config)
        noise = rig.imu or TYPICAL_IMU  # calibrated_rig always gives one
        self._uses_imu = self.config.mode != "stereo"
        self._wheels = Wheels(self.config.ros.wheel_std) if self.config.ros.wheel != "none" else None
        self._estimator = VioEstimator(self.config, rig, [self._wheels] if self._wheels else [])
        self._imu, self._gate = ImuStream(self.stats, self.problems), StampGate(JUMP_FRAMES)
        self._take_wheels: Callable[[], Iterable[Any]] = tuple
        self._take_imu: Callable[[], Iterable[tuple[Imu, int]]] = tuple  # nothing, without IMU
        self._queue: DropQueue[Waiting] = DropQueue(START_QUEUE)
        self._state: VioState | None = None
        self._fresh = True  # nothing processed since the last reset
        self._began, self._tracks_at, self._processed_at = time.monotonic(), 0.0, 0.0
        self._resets_told, self._catch_up_until = 0, 0.0
        self._output, self._frames = VioOutput(self, noise, self._session_ns), RobotFrames(self, rig)
        self._camera_frames: list[str] = []
        self._tracker_problems, self._tracks_doubtful = list[str](), False
        self._repairs = LiveRepairs(self.config, rig)
        self.serve(Trigger, "~/reset", self._reset)

    def activate(self) -> None:
        self._frames.listen()
        if self._uses_imu:
            self._take_imu = self.poll(Imu, "imu", self.sensor_qos(IMU_DEPTH))
        if self._wheels is not None:
            kind = Odometry if self.config.ros.wheel == "odometry" else TwistWithCovarianceStamped
            self._take_wheels = self.poll(kind, "wheel", self.sensor_qos(WHEEL_DEPTH))
        self.subscribe(FeatureTracks, "letvins/tracks", self._on_tracks)
        compile_kernels()  # while the first data gather

    # -- the executor's thread ----------------------------------------------------------------------------------------

    def _on_tracks(self, message: FeatureTracks) -> None:
        now = time.monotonic_ns()
        self._tracks_at = now * 1e-9
        self.stats.count("tracks")
        verdict = self._gate.check(convert.stamp_to_ns(message.header.stamp), now)
        if verdict.kind:
            self.problems.note(f"tracks {verdict.kind}", verdict.problem)
        if not verdict.passes:
            return
        self._camera_frames = max(self._camera_frames, list(message.frames), key=len)
        self._tracker_problems, self._tracks_doubtful = list(message.problems), message.doubtful
        before = self._queue.dropped
        received = convert.stamp_to_ns(message.received)
        mended, scales = tuple(message.mended), (message.gyro_scale, message.accel_scale)
        self._queue.put(Waiting(convert.tracks_from(message), now, received, verdict.restarted, mended, scales))
        if self._queue.dropped > before:
            self.problems.note("tracks", "dropped because the estimator is slower than the camera")
        self.wake()

    def _reset(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        self._reset_wanted = "asked for by the reset service"
        response.success, response.message = True, "odometry starts anew with the next frame"
        return response

    def patience_s(self) -> float:
        if self._output.wants_imu_rate():
            return IMU_PERIOD_S
        return WAIT_S if len(self._queue) else super().patience_s()

    # -- the worker's thread ------------------------------------------------------------------------------------------

    def step(self) -> bool:
        was_assumed = self._frames.is_assumed
        self._frames.look(self._imu.frame_id, self._camera_frames)
        if was_assumed and not self._frames.is_assumed:
            if self._wheels is not None:
                self._wheels.unmount()
            if self._state is not None:
                self._start_anew("/tf_static has the IMU elsewhere than was assumed")
        self._feed_wheels()
        self._feed_imu()
        if self._repairs.opinion_says():
            self._begin_mended()
        waiting = self._queue.first()
        if waiting is None or not self._ready(waiting):
            return False
        waiting = self._queue.pop()
        if waiting is None:  # pushed out by a newer one
            return True
        if waiting.restarted and not self._fresh:
            self._start_anew("the images' time has gone back")
        if self._repairs.tracker_says(waiting.mended, *waiting.scales):
            self._begin_mended()
        if self._reset_wanted:
            self._start_anew(self._reset_wanted)
            self._reset_wanted = ""
        if self._is_covered(waiting):
            self._process(waiting)
        if not self._estimator.initialised:
            self._queue.depth, self._catch_up_until = START_QUEUE, time.monotonic() + CATCH_UP_S
        elif time.monotonic() > self._catch_up_until:
            self._queue.depth = QUEUE
        return True

    def _feed_imu(self) -> None:
        new, restarted = self._imu.take(self._take_imu())
        new = self._repairs.current.of_imu(new)
        if restarted:
            self._estimator.forget_imu()
            if not self._fresh:
                self._start_anew("the IMU's time has gone back")
        if new is None:
            return
        self._repairs.opinion.add_imu(new)
        if self._estimator.add_imu(new):
            self.problems.note("imu values", "readings absurdly large or out of order, dropped")
        mount = self._frames.mount
        if mount is not None and self._output.wants_imu_rate():  # only the newest where frames wait
            for stamp in new.stamps_ns.tolist() if not len(self._queue) else new.stamps_ns[-1:].tolist():
                self._output.between(self._estimator.predict(stamp), self._estimator.mean_gyro(stamp), mount)

    def _feed_wheels(self) -> None:
        messages = [message for message, _ in self._take_wheels()]
        if self._wheels is None or not messages or self._frames.mount is None:
            return
        self.stats.count("wheel", len(messages))
        if not self._wheels.mounted:
            frame = getattr(messages[-1], "child_frame_id", "") or messages[-1].header.frame_id
            T_imu_wheel = self._frames.T_imu(frame)
            if T_imu_wheel is None:
                text = f"not used: /tf_static does not join {self.config.ros.base_frame} and {frame}"
                self.problems.note("wheel", text)
                return
            self._wheels.mount(T_imu_wheel)
        if self._wheels.add(messages):
            self.problems.note("wheel", "readings that are not finite or no newer than the last, dropped")

    def _ready(self, waiting: Waiting) -> bool:
        """Whether mount and readings up to the frame are there, or need not be waited for any longer."""
        if self._frames.mount is None:
            return False
        if not self._uses_imu:
            return True
        ahead_s = self._estimator.ahead_of_imu_s(waiting.tracks.stamp_ns)
        waited_s = (time.monotonic_ns() - waiting.arrival_ns) * 1e-9
        return waited_s > LATE_IMU_S or (ahead_s is not None and not 0 < ahead_s <= APART_S)

    def _is_covered(self, waiting: Waiting) -> bool:
        """Whether frame and IMU are of one time; names it where their clocks differ."""
        ahead_s = self._estimator.ahead_of_imu_s(waiting.tracks.stamp_ns)
        if not self._uses_imu or ahead_s is None or waiting.arrival_ns * 1e-9 - self._imu.at_s > APART_S:
            return True  # a silent IMU is another matter, which the estimator bridges and names
        late_s = max(time.time_ns() - waiting.received_ns, 0) * 1e-9  # in tracker and queues, which readings pass by
        if not -BEHIND_S - late_s < ahead_s < APART_S:
            where = "ahead of" if ahead_s > 0 else "behind"
            text = f"image stamps are {abs(ahead_s):.1f} s {where} the IMU's: two clocks?"
            self.problems.note("clocks", text)
        elif ahead_s <= -FAR_BEHIND_S:
            self.problems.note("tracks", f"dropped because they come {late_s:.1f} s after their images")
        return -FAR_BEHIND_S < ahead_s < APART_S

    def _process(self, waiting: Waiting) -> None:
        self._fresh, self._processed_at = False, time.monotonic()
        step = self._estimator.process(waiting.tracks)
        self._repairs.opinion.add_frame(waiting.tracks, self._estimator.contradiction, self._tracker_problems)
        state = self._state = step.state
        self._tell_reset(state.resets, state.reason)
        mount, gyro = self._frames.mount, self._estimator.mean_gyro(self._estimator.imu_time(state.stamp_ns))
        self._output.doubt(state, gyro, self._tracks_doubtful or self.problems.may_spoil_motion())
        if state.status is not Status.INITIALISING and mount is not None:
            self._output.pose(state, gyro, mount)
        if step.keyframe is not None:
            self._output.keyframe(step.keyframe)
        self._output.status(state, len(waiting.tracks), waiting.received_ns, self._warnings())

    def _start_anew(self, reason: str) -> None:
        if self._wheels is not None and self._wheels.mounted:
            self._wheels.forget()
        self._repairs.opinion.begin_anew()
        self._fresh = True  # images and IMU both go back where a recording begins again: one reset
        self._tell_reset(self._estimator.reset(reason), reason)

    def _begin_mended(self) -> None:
        """Start anew with the set-up as it is mended now; what came before is of no use."""
        if self._repairs.current.refine_mounts:
            self._estimator.refine_mounts()
        self._estimator.forget_imu()
        codes = self._repairs.codes()
        self._start_anew(f"mended: {', '.join(codes)}" if codes else "a tracker that mends nothing")

    def _tell_reset(self, resets: int, reason: str) -> None:
        if resets > self._resets_told:
            self._resets_told = resets
            self.get_logger().warning(f"reset {self._resets_told}: {reason}; odom starts anew")

    def _warnings(self) -> list[str]:
        return [*self._tracker_problems, *self.problems.current()]

    def each_second(self, reason: str) -> None:
        """Say what a second opinion has found; publish the status where no frame does it, as none can be processed."""
        for finding in self._repairs.current.mended:
            self.problems.note(f"{finding.code}{MENDED}", finding.message)
        if (found := self._repairs.unmended) is not None:
            self.problems.note(found.code, found.message, sure=True)
        if time.monotonic() - self._processed_at > SILENT_S:
            self._output.silence(self._state, reason, [reason, *self.problems.current()])

    def state_of(self) -> tuple[str, dict[str, str]]:
        now, state = time.monotonic(), self._state
        values = {"queue": str(len(self._queue)), "frames dropped": str(self._queue.dropped)}
        if state is not None:
            values |= {"estimator": state.status.value, "resets": str(state.resets), "reason": state.reason}
        if self._uses_imu and now - max(self._imu.at_s, self._began) > SILENT_S:
            return "no IMU readings on imu: is the topic remapped, does anything publish there?", values
        if now - max(self._tracks_at, self._began) > SILENT_S:
            return "no tracks on letvins/tracks: does feature_tracker run, does it receive images?", values
        if state is None:
            return "no frame processed yet", values
        return (f"{state.status.value}: {state.reason}" if state.status is not Status.TRACKING else ""), values


def main() -> None:
    """Run the node."""
    run_node(VioNode)
