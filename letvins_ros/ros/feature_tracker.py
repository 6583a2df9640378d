# SPDX-License-Identifier: Apache-2.0
"""Node: images in, tracks out."""

import time
from collections.abc import Callable, Iterable, Sequence
from itertools import takewhile
from typing import Any, NamedTuple

import numpy as np
from sensor_msgs.msg import Image, Imu
from std_srvs.srv import Trigger

from letvins_ros.config import Config
from letvins_ros.evaluation.draw_tracks import TrackDrawer
from letvins_ros.msg import FeatureTracks, Keyframe, VioStatus
from letvins_ros.ros import convert
from letvins_ros.ros.camera_input import CameraInput
from letvins_ros.ros.imu_inbox import ImuInbox
from letvins_ros.ros.joiner import Arrived, FrameJoiner, Joined
from letvins_ros.ros.node import LetvinsNode
from letvins_ros.ros.qos import IMU_DEPTH
from letvins_ros.ros.run import run_node
from letvins_ros.ros.self_examination import SelfExamination
from letvins_ros.ros.worker import DropQueue
from letvins_ros.sensors import calibrated_rig
from letvins_ros.tracking import FeatureTracker
from letvins_ros.tracking.next_place import NextPlace
from letvins_ros.types import FrameTracks, ImageFrame

COMPARE_S = 1.0  # how often camera_info is looked at
BLIND_S = 0.5


class Moment(NamedTuple):
    """The messages of one frame."""

    joined: Joined
    restarted: bool


class FeatureTrackerNode(LetvinsNode):
    """Joins the cameras' images, tracks in a thread of its own, and says what is wrong with the images."""

    def __init__(self, **options: Any) -> None:
        super().__init__("feature_tracker", **options)
        self._reset_wanted, self._reconfigured = False, False  # the worker sees to both
        self._take_imu: Callable[[], Iterable[tuple[Imu, int]]] = tuple  # nothing, unless it is listened to

    def configure(self) -> None:
        self._rig = calibrated_rig(self.config)
        # ids go on from the time, so that a restarted tracker never uses one again
        first_id = time.time_ns() // 1000
        self._tracker = FeatureTracker(
            self.config.tracker, self._rig, None, self.config.seed, first_id, self.config.described
        )
        T_body_cam = None if self.config.mode == "stereo" else self._rig.cameras[0].T_body_cam
        self._next_place = NextPlace(self.config.loop, T_body_cam)
        self._cameras = [CameraInput(self, i, mounted.camera) for i, mounted in enumerate(self._rig.cameras)]
        self._moments: DropQueue[Moment] = DropQueue(self.config.ros.image_queue)
        self._joiner = FrameJoiner(self._rig.groups, self.problems.note)
        self._leads = {lead for lead, *_ in self._rig.groups}
        self._inbox, self._drawer = ImuInbox(self._rig), TrackDrawer()
        self._compared_at = 0.0  # when camera_info was looked at
        self._examination = SelfExamination(self.config, self._rig, self.problems)
        self._seen_at = time.monotonic()  # when an image last served
        self._restarted = False
        self._out = self.advertise(FeatureTracks, "letvins/tracks")
        self._out_image = self.advertise(Image, "letvins/image_track")
        self.serve(Trigger, "~/reset", self._reset)

    def activate(self) -> None:
        for camera in self._cameras:
            camera.listen(self._on_image)
        if self.config.mode != "stereo":
            self._take_imu = self.poll(Imu, "imu", self.sensor_qos(IMU_DEPTH))
            self.subscribe(VioStatus, "letvins/status", self._inbox.take_bias)
        if self.config.described:
            self.subscribe(Keyframe, "letvins/keyframe", self._on_keyframe)

    def configured(self, config: Config) -> None:
        self._reconfigured = True

    # -- the executor's thread ----------------------------------------------------------------------------------------

    def _on_image(self, camera: int, message: Any) -> None:
        image, verdict = self._cameras[camera].arrived(message)
        if not verdict.passes:
            return
        if verdict.restarted:
            self._joiner.clear(camera)
            self._restarted |= camera in self._leads
        self._joiner.add(camera, image)
        self._join()

    def _on_keyframe(self, message: Keyframe) -> None:
        self._next_place.add(convert.keyframe_from(message))

    def _join(self) -> None:
        """Queue the frames whose images have all come, or waited long enough."""
        while (joined := self._joiner.take(time.monotonic_ns())) is not None:
            before = self._moments.dropped
            self._moments.put(Moment(joined, self._restarted))
            if self._moments.dropped > before:
                self.problems.note("images", "dropped because the tracker is slower than the camera")
            self._restarted = False
            self.wake()

    def _reset(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        self._reset_wanted = True
        response.success, response.message = True, "all features are forgotten with the next frame"
        return response

    # -- the worker's thread ------------------------------------------------------------------------------------------

    def step(self) -> bool:
        moment = self._moments.pop()
        if moment is None:
            return False
        if self._reconfigured:
            self._reconfigured = False
            self._tracker.configure(self.config.tracker)
        if moment.restarted or self._reset_wanted:
            self._reset_wanted = False
            self._tracker.reset()
            self._inbox.clear()
            self._examination.begin_anew()
        arrived = zip(self._cameras, moment.joined, strict=True)
        images = [None if image is None else camera.pixels(image) for camera, image in arrived]
        first = next(one for one in moment.joined if one is not None)
        if all(images[lead] is None for lead, *_ in self._rig.groups):
            self._go_on_blind(first)
            return True
        self._seen_at = time.monotonic()
        repairs = self._examination.repairs
        frame = repairs.of_frame(ImageFrame(first.stamp_ns, tuple(images)))
        readings = self._inbox.add((message for message, _ in self._take_imu()), repairs)
        if readings is not None:
            self._examination.add_imu(readings)
        R_last_now, trusted = self._inbox.rotation_since_last(frame.stamp_ns)
        if not self.config.tracker.gyro_prediction:
            R_last_now, trusted = None, False
        self._tracker.describing = self._next_place.is_near(frame.stamp_ns)
        self._tracker.turns = self._next_place.turns
        stuck = self._tracker.stuck
        tracks = self._tracker.process(frame, R_last_now, trusted)
        for camera, times in self._tracker.stuck.items():
            if times > stuck[camera]:
                self.problems.note(f"cam{camera} stuck", "sends the same image again and again while the body turns")
        self._publish(tracks, first)
        if self._examination.add_frame(self._tracker, frame.stamp_ns):
            self._tracker.reset()
            self._inbox.clear()
        self._compare_infos()
        if images[0] is not None and self._out_image.get_subscription_count():
            drawn = self._drawer.draw(images[0], tracks)
            self._out_image.publish(convert.image_to_message(drawn, first.message.header))
        return True

    def _go_on_blind(self, first: Arrived) -> None:
        """Once no image has served for long, tell of no features, so that odometry goes on and says why."""
        if time.monotonic() - self._seen_at > BLIND_S:
            self._tracker.reset()  # no id of before returns
            self._publish(nothing_seen(first.stamp_ns, len(self._rig.cameras)), first)

    def _publish(self, tracks: FrameTracks, first: Arrived) -> None:
        frames = list(takewhile(bool, (camera.frame_id for camera in self._cameras)))
        self._out.publish(self._message(tracks, frames, first.received_ns))
        self.stats.count("tracks")
        self.stats.latency((time.monotonic_ns() - first.arrival_ns) * 1e-9)

    def _message(self, tracks: FrameTracks, frames: Sequence[str], received_ns: int) -> FeatureTracks:
        """Tracks with what is wrong with the input, and what of it was mended."""
        message, repairs = convert.tracks_to_message(tracks, frames, received_ns), self._examination.repairs
        message.problems, message.doubtful = self.problems.current(), self.problems.may_spoil_motion()
        message.mended = [finding.code for finding in repairs.mended]
        message.gyro_scale, message.accel_scale = repairs.gyro_scale, repairs.accel_scale
        return message

    def _compare_infos(self) -> None:
        """Name a camera_info that does not fit the calibration, once a second."""
        if time.monotonic() - self._compared_at < COMPARE_S:
            return
        self._compared_at = time.monotonic()
        for camera in self._cameras:
            camera.compare_info()

    def state_of(self) -> tuple[str, dict[str, str]]:
        silent = [f"{camera.name}/image_raw" for camera in self._cameras if camera.is_silent]
        reason = f"no images on {', '.join(silent)}" if silent else ""
        return reason, {"queue": str(len(self._moments)), "frames dropped": str(self._moments.dropped)}


def nothing_seen(stamp_ns: int, cameras: int) -> FrameTracks:
    """A frame without features."""
    return FrameTracks(stamp_ns, np.zeros(0, np.int64), np.zeros((cameras, 0, 2), np.float32), np.zeros(0, np.int32))


def main() -> None:
    """Run the node."""
    run_node(FeatureTrackerNode)
