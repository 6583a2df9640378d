# SPDX-License-Identifier: Apache-2.0
"""Node: tracks and IMU in, odometry out."""

import time
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np
from nav_msgs.msg import Odometry, Path
from sensor_msgs.msg import Imu, PointCloud2
from std_srvs.srv import Trigger

from letvins_ros.calibration import ImuNoise
from letvins_ros.estimation import VioEstimator
from letvins_ros.geometry import apply
from letvins_ros.imu import ImuBuffer
from letvins_ros.msg import FeatureTracks, Keyframe, VioStatus
from letvins_ros.ros import convert
from letvins_ros.ros.checks import ImuCheck, StampGate
from letvins_ros.ros.imu_inbox import ImuInbox
from letvins_ros.ros.node import IMU_DEPTH, OUTPUT, LetvinsNode, run_node
from letvins_ros.ros.paths import ThinnedPath
from letvins_ros.ros.worker import DropQueue
from letvins_ros.sensors import TYPICAL_IMU, calibrated_rig
from letvins_ros.types import FrameTracks, VioState
from letvins_ros.types import VioStatus as Status

LATE_IMU_S = 0.15  # a frame waits so long for the readings up to its time
APART_S = 0.5  # images so far ahead of the IMU are of another clock
BEHIND_S, FAR_BEHIND_S = 1.5, 5.0  # so far behind too, which no queue explains; and so far, of no use
CATCH_UP_S = 2.0
QUEUE, START_QUEUE = 6, 30  # tracks that wait; the start takes as long as many frames, which are then caught up with
SILENT_S = 1.0
JUMP_READINGS, JUMP_FRAMES = 40, 5
IMU_PERIOD_S, WAIT_S = 0.005, 0.002  # how often to look for readings that are to be published, or waited for
RATE_WINDOW_NS = 10_000_000


class Waiting(NamedTuple):
    """Tracks of one frame on the way to the estimator."""

    tracks: FrameTracks
    arrival_ns: int  # of a clock that never jumps
    received_ns: int  # system time of the left image at the tracker
    restarted: bool


class VioNode(LetvinsNode):
    """Feeds the estimator in a thread of its own, and publishes what it finds."""

    def __init__(self, **options: Any) -> None:
        super().__init__("vio", **options)
        self.session_ns = time.time_ns()
        self.reset_wanted, self.imu_restarted = "", False
        self.take_imu: Callable[[], Iterable[Imu]] = tuple  # nothing, without IMU

    def configure(self) -> None:
        self.rig = calibrated_rig(self.config)
        self.noise: ImuNoise = self.rig.imu or TYPICAL_IMU  # calibrated_rig always gives one
        self.uses_imu = self.config.mode != "stereo"
        self.estimator = VioEstimator(self.config, self.rig)
        self.inbox, self.imu_gate, self.gate = (
            ImuInbox(self.config, self.rig),
            StampGate(JUMP_READINGS),
            StampGate(JUMP_FRAMES),
        )
        self.imu_check = ImuCheck(self.noise.rate_hz)
        self.queue: DropQueue[Waiting] = DropQueue(START_QUEUE)
        self.path = ThinnedPath(self.config.ros.path_poses)
        self.state: VioState | None = None
        self.began, self.imu_at, self.tracks_at, self.path_at = time.monotonic(), 0.0, 0.0, 0.0
        self.imu_sent_ns, self.resets_told = 0, 0
        self.catch_up_until = 0.0
        self.out = {
            "odometry": self.create_publisher(Odometry, "letvins/odometry", OUTPUT),
            "imu_odometry": self.create_publisher(Odometry, "letvins/imu_odometry", OUTPUT),
            "path": self.create_publisher(Path, "letvins/path", OUTPUT),
            "points": self.create_publisher(PointCloud2, "letvins/points", OUTPUT),
            "keyframe": self.create_publisher(Keyframe, "letvins/keyframe", OUTPUT),
            "status": self.create_publisher(VioStatus, "letvins/status", OUTPUT),
        }
        self.send_transform = convert.tf_broadcaster(self)
        self.create_service(Trigger, "~/reset", self._reset)

    def activate(self) -> None:
        if self.uses_imu:
            self.take_imu = self.poll(Imu, "imu", self.sensor_qos(IMU_DEPTH))
        self.hear(FeatureTracks, "letvins/tracks", self._on_tracks)

    # -- the executor's thread ----------------------------------------------------------------------------------------

    def _on_tracks(self, message: FeatureTracks) -> None:
        now = time.monotonic_ns()
        self.tracks_at = now * 1e-9
        self.stats.count("tracks")
        verdict = self.gate.check(convert.stamp_to_ns(message.header.stamp), now)
        if verdict.kind:
            self.problems.note(f"tracks {verdict.kind}", verdict.problem)
        if not verdict.passes:
            return
        before = self.queue.dropped
        received = convert.stamp_to_ns(message.received)
        self.queue.put(Waiting(convert.tracks_from(message), now, received, verdict.restarted))
        if self.queue.dropped > before:
            self.problems.note("tracks", "dropped because the estimator is slower than the camera")
        self.wake()

    def _reset(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        self.reset_wanted = "asked for by the reset service"
        response.success, response.message = True, "odometry starts anew with the next frame"
        return response

    def patience_s(self) -> float:
        if self._wanted("imu_odometry"):
            return IMU_PERIOD_S
        return WAIT_S if len(self.queue) else super().patience_s()

    # -- the worker's thread ------------------------------------------------------------------------------------------

    def step(self) -> bool:
        self._take_imu()
        waiting = self.queue.first()
        if waiting is None or not self._ready(waiting):
            return False
        waiting = self.queue.pop()
        if waiting is None:  # pushed out by a newer one
            return True
        if waiting.restarted:
            self._start_anew("the images' time has gone back")
        if self.reset_wanted:
            self._start_anew(self.reset_wanted)
            self.reset_wanted = ""
        if self._is_covered(waiting):
            self._publish(self.estimator.process(waiting.tracks), waiting)
        if not self.estimator.initialised:
            self.queue.depth, self.catch_up_until = START_QUEUE, time.monotonic() + CATCH_UP_S
        elif time.monotonic() > self.catch_up_until:
            self.queue.depth = QUEUE
        return True

    def _on_imu(self, message: Imu) -> None:
        row = convert.imu_from(message)
        now = time.monotonic_ns()
        self.imu_at = now * 1e-9
        self.stats.count("imu")
        verdict = self.imu_gate.check(row[0], now)
        if verdict.kind:
            self.problems.note(f"imu {verdict.kind}", verdict.problem)
        if not np.isfinite(row[1:]).all():
            self.problems.note("imu values", "NaN or infinite, dropped")
        elif verdict.passes:
            self.imu_restarted |= verdict.restarted
            self.inbox.add_row(row)

    def _take_imu(self) -> None:
        for message in self.take_imu():
            self._on_imu(message)
        if self.imu_restarted:
            self.imu_restarted = False
            self.estimator.imu = ImuBuffer()
            self._start_anew("the IMU's time has gone back")
        new = self.inbox.drain()
        if new is None:
            return
        dropped = self.estimator.imu.dropped
        self.estimator.add_imu(new)
        if self.estimator.imu.dropped > dropped:
            self.problems.note("imu values", "readings absurdly large or out of order, dropped")
        for kind, text in self.imu_check.add(new):
            self.problems.note(kind, text)
        if self._wanted("imu_odometry"):
            self._publish_between(new.stamps_ns)

    def _ready(self, waiting: Waiting) -> bool:
        """Whether the readings up to the frame are there, or need not be waited for any longer."""
        if not self.uses_imu:
            return True
        last = self.estimator.imu.last_ns
        ahead_s = np.inf if last is None else (self.estimator.imu_time(waiting.tracks.stamp_ns) - last) * 1e-9
        waited_s = (time.monotonic_ns() - waiting.arrival_ns) * 1e-9
        return bool(ahead_s <= 0 or waited_s > LATE_IMU_S or APART_S < ahead_s < np.inf)

    def _is_covered(self, waiting: Waiting) -> bool:
        """Whether frame and IMU are of one time; names it where their clocks differ."""
        last = self.estimator.imu.last_ns
        if not self.uses_imu or last is None or waiting.arrival_ns * 1e-9 - self.imu_at > APART_S:
            return True  # a silent IMU is another matter, which the estimator bridges and names
        ahead_s = (self.estimator.imu_time(waiting.tracks.stamp_ns) - last) * 1e-9
        if not -BEHIND_S < ahead_s < APART_S:
            where = "ahead of" if ahead_s > 0 else "behind"
            text = f"image stamps are {abs(ahead_s):.1f} s {where} the IMU's: two clocks?"
            self.problems.note("clocks", text)
        return -FAR_BEHIND_S < ahead_s < APART_S

    def _start_anew(self, reason: str) -> None:
        self.estimator.reset(reason)
        self._tell_reset(reason)

    def _tell_reset(self, reason: str) -> None:
        if self.estimator.resets > self.resets_told:
            self.resets_told = self.estimator.resets
            self.get_logger().warning(f"reset {self.resets_told}: {reason}; odom starts anew")

    # -- what comes out -----------------------------------------------------------------------------------------------

    def _wanted(self, topic: str) -> bool:
        return bool(self.out[topic].get_subscription_count())

    def _publish(self, state: VioState, waiting: Waiting) -> None:
        ros, self.state = self.config.ros, state
        self._tell_reset(state.reason)
        if state.status is not Status.INITIALISING:
            self._publish_pose(state)
            if ros.publish_odom_tf:
                T = convert.transform_to_message(state.T_odom_body, state.stamp_ns, ros.odom_frame, ros.base_frame)
                self.send_transform(T)
        if self.estimator.keyframe is not None:
            self._publish_keyframe()
        late_s = (time.time_ns() - waiting.received_ns) * 1e-9
        self.stats.latency(late_s)
        status = convert.status_to_message(state, ros.odom_frame, self.session_ns)
        status.features, status.imu_received = len(waiting.tracks), self.stats.total("imu")
        status.latency_s = late_s
        self.out["status"].publish(status)

    def _publish_pose(self, state: VioState) -> None:
        ros = self.config.ros
        self.out["odometry"].publish(self._odometry(state))
        self.stats.count("odometry")
        self.path.add(state.stamp_ns, state.T_odom_body)
        if ros.publish_path and time.monotonic() - self.path_at > 1.0 and self._wanted("path"):
            self.path_at = time.monotonic()
            self.out["path"].publish(self.path.message(ros.odom_frame, state.stamp_ns))

    def _odometry(self, state: VioState) -> Odometry:
        steps = self.estimator.imu.steps(state.stamp_ns - RATE_WINDOW_NS, state.stamp_ns)
        rate = steps.gyro.mean(0) - state.gyro_bias if len(steps.gyro) else np.zeros(3)
        std = self.noise.gyro_noise * np.sqrt(self.noise.rate_hz)
        return convert.odometry_to_message(state, rate, std, (self.config.ros.odom_frame, self.config.ros.base_frame))

    def _publish_between(self, stamps_ns: np.ndarray) -> None:
        """Odometry at the readings' times, by the IMU alone since the last frame; only the newest where frames wait."""
        for stamp in stamps_ns.tolist() if not len(self.queue) else stamps_ns[-1:].tolist():
            state = self.estimator.predict(stamp) if stamp > self.imu_sent_ns else None
            if state is not None:
                self.out["imu_odometry"].publish(self._odometry(state))
                self.imu_sent_ns = stamp

    def _publish_keyframe(self) -> None:
        keyframe, ros = self.estimator.keyframe, self.config.ros
        if keyframe is None:
            return
        self.out["keyframe"].publish(convert.keyframe_to_message(keyframe, ros.odom_frame, self.session_ns))
        if ros.publish_points and self._wanted("points"):
            known = keyframe.points_body[np.isfinite(keyframe.points_body[:, 0])]
            cloud = convert.cloud_to_message(
                apply(keyframe.T_odom_body, known), convert.header(keyframe.stamp_ns, ros.odom_frame)
            )
            self.out["points"].publish(cloud)

    def state_of(self) -> tuple[str, dict[str, str]]:
        now, state = time.monotonic(), self.state
        values = {"queue": str(len(self.queue)), "frames dropped": str(self.queue.dropped)}
        if state is not None:
            values |= {"estimator": state.status.value, "resets": str(state.resets), "reason": state.reason}
        if self.uses_imu and now - max(self.imu_at, self.began) > SILENT_S:
            return "no IMU readings on imu: is the topic remapped, does anything publish there?", values
        if now - max(self.tracks_at, self.began) > SILENT_S:
            return "no tracks on letvins/tracks: does feature_tracker run, does it hear images?", values
        if state is None:
            return "no frame processed yet", values
        return (f"{state.status.value}: {state.reason}" if state.status is not Status.TRACKING else ""), values


def main() -> None:
    """Run the node."""
    run_node(VioNode)
