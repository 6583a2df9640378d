# SPDX-License-Identifier: Apache-2.0
"""Node: a recording of any known format as live topics."""

import argparse
import sys
import time
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile
from rclpy.utilities import remove_ros_args
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import Image, Imu, NavSatFix

from letvins_ros.datasets import Dataset, open_dataset
from letvins_ros.errors import DataError
from letvins_ros.ros import convert
from letvins_ros.ros.gnss import fix_message
from letvins_ros.ros.node import LetvinsNode
from letvins_ros.ros.qos import IMU_DEPTH
from letvins_ros.ros.run import run_node
from letvins_ros.types import GnssFixes, ImageFrame

END_S = 1.0  # what was sent last has so long to arrive
SETTLE_S = 1.0  # a subscriber learns of its publisher up to 0.5 s after that of it; what comes before is lost
Event = tuple[int, ImageFrame | GnssFixes | slice]  # stamp, and a frame, some fixes or some IMU readings


class DatasetPlayerNode(LetvinsNode):
    """Publishes frames and IMU readings when they are due."""

    needs_rig = False

    def __init__(self, **options: Any) -> None:
        super().__init__("dataset_player", **options)

    def configure(self) -> None:
        player = self.config.player
        if not player.source:
            raise DataError("player.source names no recording; for example -p player.source:=/data/MH_01_easy")
        self._dataset: Dataset = open_dataset(Path(player.source), self.config.rig, inputs=self.config.input)
        cameras = 2 if self._dataset.rig is None else len(self._dataset.rig.cameras)
        self._images = [self.advertise(Image, f"cam{i}/image_raw") for i in range(cameras)]
        self._readings = self.advertise(Imu, "imu", QoSProfile(depth=IMU_DEPTH))
        self._fixes = self.advertise(NavSatFix, "gnss") if self._dataset.gnss is not None else None
        self._prefix = f"{self.get_namespace().strip('/')}/".lstrip("/")  # of the frames, as the other nodes have it
        self._clock_out = self.advertise(Clock, "/clock")
        turns = self.config.tracker.gyro_prediction and self.config.mode != "stereo"  # the tracker takes the IMU too
        self._listeners, self._waits = player.listeners or 1 + turns, ""

    def activate(self) -> None:
        self._messages = self._play()
        self.wake()

    def silence(self) -> None:
        super().silence()
        if hasattr(self, "_messages"):
            self._messages.close()  # with it the thread that reads ahead

    def step(self) -> bool:
        """Send what is due next; the end of the recording ends the process."""
        try:
            next(self._messages)
        except StopIteration:
            if not self.finished.is_set():
                self.get_logger().info(f"{self._dataset.name}: played")
                self.finished.set()
            return False
        return True

    def _play(self) -> Generator[None, None, None]:
        """Yield after everything that was sent."""
        yield from self._wait_for_listeners()
        shift_ns, player = 0, self.config.player
        while True:
            first_ns, began = None, time.monotonic()
            stamp_ns = 0
            for stamp_ns, event in self._events():
                first_ns = stamp_ns if first_ns is None else first_ns
                due = began + (stamp_ns - first_ns) * 1e-9 / player.rate
                while (early_s := due - time.monotonic()) > 0:
                    time.sleep(min(early_s, 0.1))
                    if early_s > 0.1:
                        yield
                self._send(event, shift_ns)
                yield
            if not player.loop:
                break
            shift_ns += stamp_ns - (first_ns or 0) + round(1e9 / 20)
        time.sleep(END_S)

    def _wait_for_listeners(self) -> Iterator[None]:
        player = self.config.player
        until = time.monotonic() + player.wait_s
        while time.monotonic() < until and not self._has_subscribers():
            self._waits = f"waiting for a listener to cam0/image_raw and {self._listeners} to imu"
            time.sleep(0.02)
            yield
        time.sleep(SETTLE_S)
        self._waits = ""

    def _has_subscribers(self) -> bool:
        wanted = self._listeners if self._dataset.imu is not None else 0
        return bool(self._images[0].get_subscription_count() and self._readings.get_subscription_count() >= wanted)

    def _events(self) -> Iterator[Event]:
        """Frames and, in between, the readings one by one."""
        player, imu, gnss = self.config.player, self._dataset.imu, self._dataset.gnss
        stamps = np.zeros(0, np.int64) if imu is None else imu.stamps_ns
        start_ns = int(self._dataset.stamps_ns[0]) + round(player.start_s * 1e9)
        sent = int(np.searchsorted(stamps, start_ns - 100_000_000))
        for frame in self._dataset.frames(player.start_s, player.duration_s or None):
            end = int(np.searchsorted(stamps, frame.stamp_ns, side="right"))
            for i in range(sent, end):
                yield int(stamps[i]), slice(i, i + 1)
            sent = max(sent, end)
            if gnss is not None and len(fixes := gnss.between(start_ns - 1, frame.stamp_ns)):
                yield frame.stamp_ns, fixes
            start_ns = frame.stamp_ns + 1
            yield frame.stamp_ns, frame
        if sent < len(stamps):  # so that the last frame has readings on both sides
            yield int(stamps[sent]), slice(sent, sent + 1)

    def _send(self, event: ImageFrame | GnssFixes | slice, shift_ns: int) -> None:
        if isinstance(event, slice):
            self._send_imu(event.start, shift_ns)
            return
        if isinstance(event, GnssFixes):
            self._send_fixes(event, shift_ns)
            return
        stamp_ns = event.stamp_ns + shift_ns
        if self.config.player.clock:
            self._clock_out.publish(Clock(clock=convert.ns_to_stamp(stamp_ns)))
        for i, (image, publisher) in enumerate(zip(event.images, self._images, strict=False)):
            if image is not None:
                publisher.publish(convert.image_to_message(image, convert.header(stamp_ns, f"{self._prefix}cam{i}")))
        self.stats.count("frames")

    def _send_imu(self, i: int, shift_ns: int) -> None:
        imu = self._dataset.imu
        if imu is not None:
            stamp_ns = int(imu.stamps_ns[i]) + shift_ns
            self._readings.publish(convert.imu_to_message(stamp_ns, imu.gyro[i], imu.accel[i], f"{self._prefix}imu"))
            self.stats.count("imu")

    def _send_fixes(self, fixes: GnssFixes, shift_ns: int) -> None:
        if self._fixes is not None:
            for stamp_ns, place, std in zip(fixes.stamps_ns.tolist(), fixes.geodetic, fixes.std, strict=True):
                self._fixes.publish(fix_message(stamp_ns + shift_ns, place, std, f"{self._prefix}gnss"))
                self.stats.count("gnss")

    def state_of(self) -> tuple[str, dict[str, str]]:
        return self._waits, {}


def _from_command_line() -> list[Parameter]:
    """SOURCE, --rate and --loop are short for the parameters player.*."""
    parser = argparse.ArgumentParser(
        description="Play a recording as topics: cam0/image_raw to cam3/image_raw, imu, gnss, /clock."
    )
    parser.add_argument("source", nargs="?", metavar="SOURCE", help="folder or bag, as for `letvins run`")
    parser.add_argument("--rate", type=float, help="speed, as a multiple of the sensors'")
    parser.add_argument("--loop", action="store_true", default=None, help="begin again at the end")
    given = vars(parser.parse_args(remove_ros_args(sys.argv)[1:]))
    return [Parameter(f"player.{name}", value=value) for name, value in given.items() if value is not None]


def main() -> None:
    """Run the node."""
    overrides = _from_command_line()
    run_node(lambda: DatasetPlayerNode(parameter_overrides=overrides))
