# SPDX-License-Identifier: Apache-2.0
"""The recorder over real DDS, when it is killed and when its disk is full."""

import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from nav_msgs.msg import Odometry

from letvins_ros.datasets.bags.storage import Storage
from letvins_ros.ros.convert import header
from letvins_ros.ros.system import environment

from ..domains import own_domain
from ..processes import wait
from .harness import Ear

Recorder = tuple[Callable[[], subprocess.Popen[bytes]], Callable[..., None]]

ODOMETRY = "/drone/letvins/odometry"


@pytest.fixture
def recorder(tmp_path: Path) -> Iterator[Recorder]:
    """Starts recorders into one folder, with somebody who publishes odometry; what they say is in the files `log`."""
    domain, started = own_domain(), list[subprocess.Popen[bytes]]()
    with Ear(domain, "drone", images=False) as ear:
        publisher = ear.node.create_publisher(Odometry, "letvins/odometry", 100)

        def start() -> subprocess.Popen[bytes]:
            command = [sys.executable, "-m", "letvins_ros.ros.start", "record", str(tmp_path / "bag"), "drone"]
            env = environment(True) | {"ROS_DOMAIN_ID": str(domain)}
            log = tmp_path / f"log{len(started)}"
            with log.open("wb") as out:
                started.append(subprocess.Popen(command, env=env, stdout=out, stderr=out))
            ear.wait(lambda: "recording into" in log.read_text(), 60, "the recorder")
            ear.wait(lambda: publisher.get_subscription_count() > 1, 60, "its subscription")
            return started[-1]

        def publish(count: int, size: int = 0) -> None:
            for i in range(count):
                publisher.publish(Odometry(header=header(i, "x" * size)))
                time.sleep(0.002)

        yield start, publish
    for process in started:
        process.kill()
        process.wait()


def recorded(bag: Path) -> int:
    """How many messages of odometry can be read from a bag."""
    with Storage(bag).open() as files:
        return sum(raw.topic == ODOMETRY for file in files.files for raw in file.messages({ODOMETRY}))


def end(process: subprocess.Popen[bytes]) -> int:
    process.send_signal(signal.SIGTERM)
    return process.wait(timeout=20)


def test_a_recorder_that_starts_again_leaves_the_first_bag_as_it_is(recorder: Recorder, tmp_path: Path) -> None:
    start, publish = recorder
    first = start()
    publish(1500, 2000)  # more than what a bag keeps back
    first.kill()
    first.wait()
    before = (tmp_path / "bag" / "bag.mcap").read_bytes()
    second = start()
    for _ in range(20):  # those of before it was found are lost, and the killed one still counts as a subscriber
        publish(500, 2000)
        if sum(file.stat().st_size for file in (tmp_path / "bag-2").glob("*.mcap")) > 100_000:
            break
    assert end(second) == 0
    assert (tmp_path / "bag" / "bag.mcap").read_bytes() == before
    assert f"recording into {tmp_path / 'bag-2'}" in (tmp_path / "log1").read_text()
    assert 500 < recorded(tmp_path / "bag") <= 1500
    assert recorded(tmp_path / "bag-2") > 50


def test_a_disk_that_is_full_ends_the_bag_with_one_line_and_not_the_node(recorder: Recorder, tmp_path: Path) -> None:
    start, publish = recorder
    process = start()
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (2 << 20, 2 << 20))
    publish(1500, 4000)
    log = tmp_path / "log0"
    wait(lambda: "cannot write" in log.read_text())
    assert process.poll() is None
    assert end(process) == 0
    lines = [line for line in log.read_text().splitlines() if "recording into" not in line]
    assert len(lines) == 1, lines
    assert lines[0].endswith(f"cannot write {tmp_path / 'bag'}: File too large; it holds what was written before")
    assert os.path.getsize(tmp_path / "bag" / "bag.mcap") > 1 << 20  # noqa: PTH202
    assert recorded(tmp_path / "bag") > 200
