# SPDX-License-Identifier: Apache-2.0
"""Node: images in, tracks out."""

import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import takewhile
from typing import Any, NamedTuple

import numpy as np
from sensor_msgs.msg import CameraInfo, Image, Imu
from std_srvs.srv import Trigger

from letvins_ros.config import Config
from letvins_ros.datasets.ros_image import ImageDecoder
from letvins_ros.errors import DataError
from letvins_ros.evaluation.draw_tracks import TrackDrawer
from letvins_ros.msg import FeatureTracks, VioStatus
from letvins_ros.ros import convert
from letvins_ros.ros.camera_info import difference
from letvins_ros.ros.checks import StampGate
from letvins_ros.ros.imu_inbox import ImuInbox
from letvins_ros.ros.joiner import Arrived, FrameJoiner, Joined
from letvins_ros.ros.node import LetvinsNode
from letvins_ros.ros.qos import IMU_DEPTH
from letvins_ros.ros.run import run_node
from letvins_ros.ros.self_examination import SelfExamination
from letvins_ros.ros.worker import DropQueue
from letvins_ros.sensors import calibrated_rig
from letvins_ros.tracking import FeatureTracker
from letvins_ros.types import FrameTracks, ImageFrame

COMPARE_S = 1.0  # how often camera_info is looked at
SILENT_S = 1.0
BLIND_S = 0.5
JUMP_FRAMES = 5


class Moment(NamedTuple):
    """The messages of one frame."""

    joined: Joined
    restarted: bool


class FeatureTrackerNode(LetvinsNode):
    """Joins the cameras' images, tracks in a thread of its own, and says what is wrong with the images."""

    def __init__(self, **options: Any) -> None:
        super().__init__("feature_tracker", **options)
        self.reset_wanted, self.reconfigured = False, False  # the worker sees to both
        self.take_imu: Callable[[], Iterable[tuple[Imu, int]]] = tuple  # nothing, unless it is listened to

    def configure(self) -> None:
        self.rig = calibrated_rig(self.config)
        count = len(self.rig.cameras)
        # ids go on from the time, so that a restarted tracker never uses one again
        self.tracker = FeatureTracker(
            self.config.tracker, self.rig, seed=self.config.seed, first_id=time.time_ns() // 1000
        )
        self.gates = [StampGate(JUMP_FRAMES) for _ in range(count)]
        self.decoders = [ImageDecoder(live=True) for _ in range(count)]
        self.moments: DropQueue[Moment] = DropQueue(self.config.ros.image_queue)
        self.joiner = FrameJoiner(self.rig.groups, self.problems.note)
        self.leads = {lead for lead, *_ in self.rig.groups}
        self.inbox, self.drawer = ImuInbox(self.rig), TrackDrawer()
        self.compared_at, self.take_infos = 0.0, list[Callable[[], Iterable[CameraInfo]]]()
        self.examination = SelfExamination(self.config, self.rig, self.problems)
        self.seen_at = time.monotonic()  # when an image last served
        self.restarted, self.began, self.last_in = False, time.monotonic(), [0.0] * count
        self.frame_ids = [""] * count
        self.out = self.advertise(FeatureTracks, "letvins/tracks")
        self.out_image = self.advertise(Image, "letvins/image_track")
        self.serve(Trigger, "~/reset", self._reset)

    def activate(self) -> None:
        self.take_infos = []
        for camera in range(len(self.rig.cameras)):
            self.hear_images(camera, partial(self._on_image, camera))
            self.take_infos.append(self.poll(CameraInfo, self.camera_info_topic(camera), self.sensor_qos(1)))
        if self.config.mode != "stereo":
            self.take_imu = self.poll(Imu, "imu", self.sensor_qos(IMU_DEPTH))
            self.subscribe(VioStatus, "letvins/status", self.inbox.take_bias)

    def configured(self, config: Config) -> None:
        self.reconfigured = True

    # -- the executor's thread ----------------------------------------------------------------------------------------

    def _on_image(self, camera: int, message: Any) -> None:
        now = time.monotonic_ns()
        self.last_in[camera] = now * 1e-9
        self.stats.count(f"cam{camera} images")
        self.frame_ids[camera] = message.header.frame_id
        image = Arrived(convert.stamp_to_ns(message.header.stamp), now, time.time_ns(), message)
        verdict = self.gates[camera].check(image.stamp_ns, now)
        if verdict.kind:
            self.problems.note(f"cam{camera} {verdict.kind}", verdict.problem)
        if not verdict.passes:
            return
        if verdict.restarted:
            self.joiner.clear(camera)
            self.restarted |= camera in self.leads
        self.joiner.add(camera, image)
        self._join()

    def _join(self) -> None:
        """Queue the frames whose images have all come, or waited long enough."""
        while (joined := self.joiner.take(time.monotonic_ns())) is not None:
            before = self.moments.dropped
            self.moments.put(Moment(joined, self.restarted))
            if self.moments.dropped > before:
                self.problems.note("images", "dropped because the tracker is slower than the camera")
            self.restarted = False
            self.wake()

    def _reset(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        self.reset_wanted = True
        response.success, response.message = True, "all features are forgotten with the next frame"
        return response

    # -- the worker's thread ------------------------------------------------------------------------------------------

    def step(self) -> bool:
        moment = self.moments.pop()
        if moment is None:
            return False
        if self.reconfigured:
            self.reconfigured = False
            self.tracker.configure(self.config.tracker)
        if moment.restarted or self.reset_wanted:
            self.reset_wanted = False
            self.tracker.reset()
            self.inbox.clear()
            self.examination.begin_anew()
        images = [None if one is None else self._image(i, one) for i, one in enumerate(moment.joined)]
        first = next(one for one in moment.joined if one is not None)
        if all(images[lead] is None for lead, *_ in self.rig.groups):
            self._go_on_blind(first)
            return True
        self.seen_at = time.monotonic()
        repairs = self.examination.repairs
        frame = repairs.of_frame(ImageFrame(first.stamp_ns, tuple(images)))
        readings = self.inbox.add((message for message, _ in self.take_imu()), repairs)
        if readings is not None:
            self.examination.add_imu(readings)
        R_last_now, trusted = self.inbox.rotation_since_last(frame.stamp_ns)
        if not self.config.tracker.gyro_prediction:
            R_last_now, trusted = None, False
        stuck = self.tracker.stuck
        tracks = self.tracker.process(frame, R_last_now, trusted)
        for camera, times in self.tracker.stuck.items():
            if times > stuck[camera]:
                self.problems.note(f"cam{camera} stuck", "sends the same image again and again while the body turns")
        self._publish(tracks, first)
        if self.examination.add_frame(self.tracker, frame.stamp_ns):
            self.tracker.reset()
            self.inbox.clear()
        self._compare_infos()
        if images[0] is not None and self.out_image.get_subscription_count():
            drawn = self.drawer.draw(images[0], tracks)
            self.out_image.publish(convert.image_to_message(drawn, first.message.header))
        return True

    def _go_on_blind(self, first: Arrived) -> None:
        """Once no image has served for long, tell of no features, so that odometry goes on and says why."""
        if time.monotonic() - self.seen_at > BLIND_S:
            self.tracker.reset()  # no id of before returns
            self._publish(nothing_seen(first.stamp_ns, len(self.rig.cameras)), first)

    def _publish(self, tracks: FrameTracks, first: Arrived) -> None:
        frames = list(takewhile(bool, self.frame_ids))
        self.out.publish(self._message(tracks, frames, first.received_ns))
        self.stats.count("tracks")
        self.stats.latency((time.monotonic_ns() - first.arrival_ns) * 1e-9)

    def _message(self, tracks: FrameTracks, frames: Sequence[str], received_ns: int) -> FeatureTracks:
        """Tracks with what is wrong with the input, and what of it was mended."""
        message, repairs = convert.tracks_to_message(tracks, frames, received_ns), self.examination.repairs
        message.problems, message.doubtful = self.problems.current(), self.problems.may_spoil_motion()
        message.mended = [finding.code for finding in repairs.mended]
        message.gyro_scale, message.accel_scale = repairs.gyro_scale, repairs.accel_scale
        return message

    def _image(self, camera: int, arrived: Arrived) -> np.ndarray | None:
        """The pixels, or None after naming what is wrong with them."""
        what, expected = f"cam{camera}", self.rig.cameras[camera].camera
        try:
            image = convert.image_from(arrived.message, self.decoders[camera])
        except DataError as error:
            self.problems.note(f"{what} encoding", str(error))
            return None
        if image is None:
            self.problems.note(f"{what} data", "cannot be decoded: its data do not fit its height and step")
            return None
        height, width = image.shape[:2]
        if (width, height) != (expected.width, expected.height):
            text = f"is {width}x{height}, the calibration is for {expected.width}x{expected.height}"
            self.problems.note(f"{what} size", text)
            return None
        return image

    def _compare_infos(self) -> None:
        """Name a camera_info that does not fit the calibration, once a second."""
        if time.monotonic() - self.compared_at < COMPARE_S:
            return
        self.compared_at = time.monotonic()
        for i, take in enumerate(self.take_infos):
            for info, _ in take():
                if text := difference(self.rig.cameras[i].camera, info):
                    self.problems.note(f"cam{i} camera_info", text)

    def state_of(self) -> tuple[str, dict[str, str]]:
        now = time.monotonic()
        silent = [f"cam{i}" for i, last in enumerate(self.last_in) if now - max(last, self.began) > SILENT_S]
        reason = f"no images on {', '.join(f'{name}/image_raw' for name in silent)}" if silent else ""
        return reason, {"queue": str(len(self.moments)), "frames dropped": str(self.moments.dropped)}


def nothing_seen(stamp_ns: int, cameras: int) -> FrameTracks:
    """A frame without features."""
    return FrameTracks(stamp_ns, np.zeros(0, np.int64), np.zeros((cameras, 0, 2), np.float32), np.zeros(0, np.int32))


def main() -> None:
    """Run the node."""
    run_node(FeatureTrackerNode)
