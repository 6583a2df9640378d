# SPDX-License-Identifier: Apache-2.0
"""Real nodes, one process each, over real DDS."""

import functools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from letvins_ros.msg import VioStatus
from nav_msgs.msg import Odometry
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image, Imu

from letvins_ros.config import Config
from letvins_ros.datasets import Dataset, open_dataset
from letvins_ros.evaluation.evaluate import evaluate
from letvins_ros.pipeline import RunOptions, run_offline
from letvins_ros.ros import convert
from letvins_ros.ros.system import environment
from letvins_ros.ros.up import Process
from letvins_ros.simulation import simulate

from ..command import ROOT, letvins_command
from ..domains import own_domain
from ..processes import children
from ..rounds import ROUND_S, one_round
from ..some import some
from .harness import START_S, Ear, Stack

NODES = ("feature_tracker", "vio", "loop_closure")
FUZZ = int(os.environ.get("FUZZ", "0"))
KILLS, BACK_S = 30, 3.0
LEFT_OVER_S = 0.3  # what is still on its way has come; longer than `letvins up` waits
RATE = 0.5  # of the sensors' pace, so that a busy machine keeps up


def test_nodes_over_dds_give_what_the_offline_run_gives(recording: Path, tmp_path: Path) -> None:
    offline = run_offline(recording, tmp_path / "offline", Config(), RunOptions(), lambda done, total: None)
    with Stack(tmp_path, dataset=str(recording), rate=RATE, use_sim_time=True) as stack, Ear(stack.domain) as ear:
        stack.start(*NODES, "dataset_player")
        ear.wait(lambda: ear.poses, START_S, "odometry")
        player = stack.running["dataset_player"]
        ear.wait(lambda: player.poll() is not None, START_S, "the end of the recording")
        dataset, status = open_dataset(recording), ear.statuses[-1][1]
        sent = np.searchsorted(some(dataset.imu).stamps_ns, dataset.stamps_ns[-1], side="right") + 1
        ate_m = evaluate(ear.write(tmp_path / "live.tum"), recording, None)["ate_rmse_m"]
        codes = stack.stop(signal.SIGINT)
    first_s, last_s = dataset.stamps_ns[[0, -1]] * 1e-9
    assert first_s - 1 < float(ear.diagnostics["vio"]["stamp"]) <= last_s + 1  # the time of /clock
    assert status.imu_received >= min(sent, len(some(dataset.imu)))
    assert status.resets == 0
    assert ear.coverage() >= 0.99
    assert abs(ate_m - offline["ate_rmse_m"]) < max(0.2 * offline["ate_rmse_m"], 0.005)
    assert ear.diagnostics["vio"]["resets"] == "0"
    assert codes == dict.fromkeys([*NODES, "dataset_player"], 0)


def test_odometry_comes_back_when_a_node_was_killed(recording: Path, tmp_path: Path) -> None:
    with (
        Stack(tmp_path, dataset=str(recording), rate=RATE, repeat=True) as stack,
        Ear(stack.domain, images=False) as ear,
    ):
        stack.start("feature_tracker", "vio", "dataset_player")
        ear.wait(lambda: len(ear.poses) > 10, START_S, "odometry")
        for name in ("vio", "feature_tracker"):
            session = ear.statuses[-1][1].session
            stack.kill(name)
            ear.diagnostics.pop(name)
            stack.start(name)
            ear.wait(lambda n=name: ear.diagnostics.get(n, {}).get("state") == "active", START_S, f"the new {name}")
            at = time.time()
            ear.wait(
                lambda at=at: sum(t > at + 1 for t, _ in list(ear.poses.values())) > 3,
                START_S,
                f"odometry after {name}",
            )
            assert (ear.statuses[-1][1].session != session) == (name == "vio")
        assert stack.stop(signal.SIGTERM) == {"feature_tracker": 0, "vio": 0, "dataset_player": 0}


@pytest.fixture
def endless(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A recording that goes on without a jump when it is repeated."""
    monkeypatch.setattr("letvins_ros.simulation.sequence.make_trajectory", one_round)
    simulate(tmp_path / "rounds", "hall", ROUND_S - 1 / 20, 0)
    return tmp_path / "rounds"


@pytest.mark.skipif(FUZZ < 1000, reason="takes ten minutes of an idle machine, for FUZZ=1500")
@pytest.mark.timeout(0)
def test_every_node_is_back_within_three_seconds_of_each_of_thirty_kills(
    endless: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "SUBNET")  # as users have it
    with (
        Stack(tmp_path, dataset=str(endless), repeat=True) as stack,
        Ear(stack.domain, images=False) as ear,
    ):
        placed: list[float] = []
        ear.node.create_subscription(Odometry, "letvins/map_odometry", lambda _: placed.append(time.time()), 100)
        stack.start(*NODES, "dataset_player")
        took: dict[str, list[float]] = {name: [] for name in (*NODES, "dataset_player")}
        for _ in range(KILLS):
            for name, back_s in took.items():
                now = time.time()
                ear.wait(lambda at=now: placed and placed[-1] > at + 1, START_S, "odometry in the map")
                killed_at, came = time.time(), placed if name == "loop_closure" else ear
                stack.kill(name)
                time.sleep(LEFT_OVER_S)
                started_at = time.time()
                stack.start(name)
                ear.wait(
                    lambda at=started_at, came=came: (came[-1] if came is placed else came.newest()) > at,
                    START_S,
                    f"odometry after {name}",
                )
                back_s.append(time.time() - killed_at)
        stack.stop()
    told = {name: f"median {np.median(back_s):.1f} s, longest {max(back_s):.1f} s" for name, back_s in took.items()}
    sys.stdout.write(f"{KILLS} kills of each: {told}\n")
    assert max(map(max, took.values())) < BACK_S


def held_ports(process: subprocess.Popen[bytes]) -> set[str]:
    """Those by which a process receives through shared memory."""
    files = [file.resolve() for file in Path(f"/proc/{process.pid}/fd").iterdir()]
    return {file.name for file in files if re.fullmatch(r"fastrtps_port\d+_el", file.name)}


def test_the_successor_of_a_killed_node_has_other_ports(recording: Path, tmp_path: Path) -> None:
    """Who sent to the killed one goes on writing into its memory for a while."""
    ports = []
    with Stack(tmp_path, dataset=str(recording)) as stack, Ear(stack.domain, images=False) as ear:
        for _ in range(2):
            stack.start("vio")
            ear.wait(lambda: ear.diagnostics.get("vio", {}).get("state") == "active", START_S, "vio")
            ports.append(held_ports(stack.running["vio"]))
            stack.kill("vio")
            ear.diagnostics.clear()
    killed, successor = ports
    assert killed and successor
    assert not killed & successor


def check_what_is_shown(ear: Ear, prefix: str) -> None:
    """RViz's displays and Foxglove's panels find what is published, in a namespace too."""
    settings = yaml.safe_load((ROOT / "config" / "letvins.rviz").read_text())["Visualization Manager"]
    shown = [display for display in settings["Displays"] if "Topic" in display]
    assert len(shown) >= 6
    for display in shown:
        topic, kind = display["Topic"], display["Class"].rpartition("/")[2]
        (publisher,) = ear.node.get_publishers_info_by_topic(f"{prefix}/{topic['Value']}")
        assert publisher.topic_type.rpartition("/")[2] == kind
        assert topic["Reliability Policy"] == "Best Effort" or publisher.qos_profile.reliability.name == "RELIABLE"
    (pose,) = [tool for tool in settings["Tools"] if "Topic" in tool]
    (taker,) = ear.node.get_subscriptions_info_by_topic(f"{prefix}/{pose['Topic']['Value']}")
    assert pose["Class"] == "rviz_default_plugins/SetInitialPose"
    assert taker.topic_type == "geometry_msgs/msg/PoseWithCovarianceStamped"
    layout = json.loads((ROOT / "config" / "foxglove.json").read_text())["configById"]
    names = dict(ear.node.get_topic_names_and_types())
    panels = [*layout["3D!letvins"]["topics"], layout["Image!letvins"]["imageMode"]["imageTopic"]]
    assert {f"{prefix}{topic}" for topic in panels} <= set(names)
    values = [path["value"] for panel in layout.values() for path in panel.get("paths", ())]
    assert len(values) >= 8
    for value in values:
        topic, *path = value.split(".")
        assert names[prefix + topic] == ["letvins_ros/msg/VioStatus"]
        assert functools.reduce(getattr, path, VioStatus()) == 0.0


def test_letvins_up_starts_records_restarts_and_ends_them_together(recording: Path, tmp_path: Path) -> None:
    asked = ("--repeat", "--rate", RATE, "--namespace", "drone", "--record", tmp_path / "bag")
    command = letvins_command("up", "--dataset", recording, *asked)
    domain = str(own_domain())
    env = os.environ | {"ROS_DOMAIN_ID": domain, "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"}
    with (tmp_path / "up.log").open("wb") as log, Ear(int(domain), "drone", images=False) as ear:
        up = subprocess.Popen(command, env=env, stdout=log, stderr=log)
        try:
            ear.wait(lambda: len(ear.poses) > 5, START_S, "odometry")
            check_what_is_shown(ear, "/drone")
            started = children(up.pid)
            vio = next(pid for pid in started if b"\0vio\0" in Path(f"/proc/{pid}/cmdline").read_bytes())
            os.kill(vio, signal.SIGKILL)
            at = time.time()
            ear.wait(
                lambda: sum(t > at + 1 for t, _ in list(ear.poses.values())) > 3, START_S, "odometry after a restart"
            )
        finally:
            up.send_signal(signal.SIGTERM)
            code = up.wait(timeout=30)
    text = (tmp_path / "up.log").read_text()
    assert code == 0, text
    assert "[vio] ended by SIGKILL, started again (1 of 10)" in text
    assert "Traceback" not in text
    assert not [pid for pid in started if Path(f"/proc/{pid}").exists()]
    from rosbags.highlevel import AnyReader

    with AnyReader([tmp_path / "bag"]) as bag:
        counts = {connection.topic: connection.msgcount for connection in bag.connections}
        connection = next(c for c in bag.connections if c.topic == "/drone/letvins/odometry")
        _, _, raw = next(bag.messages([connection]))
        odometry: Any = bag.deserialize(raw, connection.msgtype)
        assert odometry.header.frame_id == "drone/odom"
    assert counts["/drone/letvins/odometry"] > 5
    assert counts["/tf"] > 5


@pytest.mark.skipif(find_spec("rerun") is None, reason="rerun is not installed: pip install '.[view]'")
def test_letvins_up_records_for_rerun_what_the_nodes_publish(recording: Path, tmp_path: Path) -> None:
    import rerun

    file, env = tmp_path / "up.rrd", os.environ | {"ROS_DOMAIN_ID": str(own_domain())}
    command = letvins_command("up", "--dataset", recording, "--rate", RATE, "--view", file)
    up = subprocess.run(command, check=False, capture_output=True, text=True, env=env, timeout=120)
    assert up.returncode == 0, up.stdout
    rows: Counter[str] = Counter()
    for chunk in rerun.chunk.RrdReader(str(file)).stream().to_chunks():
        rows[chunk.entity_path] += chunk.to_record_batch().num_rows
    for name in ("odom/body", "odom/body/cam0/tracks", "odom/body/cam1/tracks", "plots/gyro_bias_radps"):
        assert rows[f"/{name}"] > 50, rows
    for name in ("odom/trajectory", "odom/landmarks", "map/trajectory"):
        assert rows[f"/{name}"] > 5, rows


def test_a_recording_played_twice_is_one_reset_and_no_wrong_rate(recording: Path, tmp_path: Path) -> None:
    with Stack(tmp_path, dataset=str(recording), rate=RATE, loop=False) as stack, Ear(stack.domain) as ear:
        stack.start("feature_tracker", "vio", "dataset_player")
        for turn in range(2):
            if turn:
                stack.start("dataset_player")
            player, before = stack.running["dataset_player"], len(ear.statuses)
            ear.wait(lambda p=player: p.poll() is not None, START_S, "the end of the recording")
            assert len(ear.statuses) > before + 50, turn
        resets = [status.resets for _, status in ear.statuses]
        stack.stop()
    log = stack.log("vio")
    assert resets[-1] == 1
    assert log.count("time has gone back") == 1
    assert "imu_rate" not in log
    assert "clocks" not in log


def test_status_says_within_three_seconds_that_no_images_come(recording: Path, tmp_path: Path) -> None:
    with Stack(tmp_path, dataset=str(recording), repeat=True, rate=RATE) as stack, Ear(stack.domain) as ear:
        stack.start("feature_tracker", "vio", "dataset_player")
        ear.wait(lambda: len(ear.poses) > 5, START_S, "odometry")
        stack.kill("dataset_player")
        at, last = time.time(), len(ear.statuses)
        ear.wait(lambda: any(m.quality == 0 for _, m in ear.statuses[last:]), START_S, "a status without frames")
        heard, status = next((t, m) for t, m in ear.statuses[last:] if m.quality == 0)
        assert heard - at < 3.5
        assert status.state == status.DEGRADED
        assert status.reason.startswith("no IMU readings on imu")
        assert status.warnings[0] == status.reason


class Driver:
    """A camera driver that can be made to send nonsense."""

    def __init__(self, ear: Ear, dataset: Dataset, reliable: bool) -> None:
        self.node = Node("driver", context=ear.context, use_global_arguments=False)
        kind = ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT
        qos = QoSProfile(depth=100, reliability=kind)
        self.images = [self.node.create_publisher(Image, f"cam{i}/image_raw", qos) for i in range(2)]
        self.imu = self.node.create_publisher(Imu, "imu", qos)
        self.frames, self.readings = list(dataset.frames(0, 1.5)), some(dataset.imu)
        self.step = 0
        self.scale, self.cameras, self.image_ns, self.imu_ns = 1.0, (0, 1), 0, 0
        self.change: Callable[[Image], None] = lambda message: None

    def send(self, frames: int) -> None:
        """So many frames with their readings; forth and back through the recording, so that nothing jumps."""
        there_and_back = [*range(len(self.frames)), *range(len(self.frames) - 2, 0, -1)]
        for _ in range(frames):
            frame = self.frames[there_and_back[self.step % len(there_and_back)]]
            stamp = 10**15 + self.step * 50_000_000
            for k in range(10):
                reading = convert.imu_to_message(
                    stamp - 45_000_000 + k * 5_000_000 + self.imu_ns,
                    self.readings.gyro[k],
                    self.readings.accel[k] * self.scale,
                )
                self.imu.publish(reading)
            for camera, publisher in zip(self.cameras, self.images, strict=True):
                ns = 0 if self.image_ns is None else stamp + self.image_ns
                message = convert.image_to_message(frame.images[camera], convert.header(ns, "cam"))
                self.change(message)
                publisher.publish(message)
            self.step += 1
            time.sleep(0.1)


def odd_encoding(message: Image) -> None:
    message.encoding = "planar64"


def crop(message: Image) -> None:
    message.height, message.data = 100, message.data[: 100 * message.step]


@pytest.mark.parametrize("reliable", [True, False], ids=["reliable", "best effort"])
def test_wrong_inputs_are_each_named_once_and_crash_nothing(recording: Path, tmp_path: Path, reliable: bool) -> None:
    dataset, file = open_dataset(recording), tmp_path / "as_it_is.yaml"
    file.write_text("/**:\n  ros__parameters:\n    ros:\n      mend: false\n")
    with (
        Stack(tmp_path, dataset=str(recording), config=str(file), loop=False) as stack,
        Ear(stack.domain, images=False) as ear,
    ):
        stack.start("feature_tracker", "vio")
        driver = Driver(ear, dataset, reliable)
        ear.wait(
            lambda: driver.imu.get_subscription_count() == 2 and driver.images[1].get_subscription_count(),
            START_S,
            "nodes",
        )
        driver.send(3)
        wrong: list[tuple[str, str, str, dict[str, Any], int]] = [
            ("feature_tracker", "cam0 encoding", "image encoding planar64 is not known", {"change": odd_encoding}, 4),
            ("feature_tracker", "cam0 size", "is 752x100, the calibration is for 752x480", {"change": crop}, 4),
            ("feature_tracker", "cam0 zero stamp", "header.stamp", {"image_ns": None}, 4),
            ("feature_tracker", "cam0 stamp back", "stamps jump by -2", {"image_ns": -3_000_000_000}, 3),
            ("feature_tracker", "cam0 stamp ahead", "stamps jump by +2", {"image_ns": 2_000_000_000}, 3),
            ("vio", "clocks", "image stamps are 2.0 s ahead of the IMU's", {"image_ns": 2_000_000_000}, 12),
            ("vio", "imu values", "NaN or infinite", {"scale": np.nan}, 3),
            ("feature_tracker", "accel_in_g", "look like g, m/s^2 are needed", {"scale": 1 / 9.81}, 80),
            ("vio", "imu stamp ahead", "stamps jump by +2", {"imu_ns": 2_000_000_000}, 2),
            ("feature_tracker", "cameras_exchanged", "the other way round", {"cameras": (1, 0)}, 80),
        ]  # fmt: skip
        usual = dict(vars(driver))
        for node, kind, text, faults, frames in wrong:
            vars(driver).update(faults)
            driver.send(frames)
            ear.wait(
                lambda n=node, k=kind, t=text: t in ear.diagnostics.get(n, {}).get(k, ""), START_S, f"{kind}: {text}"
            )
            vars(driver).update({key: usual[key] for key in faults})
            driver.send(6)
        alive = [process.poll() is None for process in stack.running.values()]
        count = len(ear.statuses)

        def told_more() -> bool:
            driver.send(2)
            return len(ear.statuses) > count + 5

        ear.wait(told_more, START_S, "status while the input is good")
        in_status = {warning for _, status in ear.statuses for warning in status.warnings}
        stack.stop()
    assert alive == [True, True]
    log = stack.log("feature_tracker") + stack.log("vio")
    for kind in {kind for _, kind, *_ in wrong}:
        # not per message; images ahead of time come twice in this test, which a slow machine may take half a minute for
        assert 1 <= log.count(f": {kind}: ") <= 1 + (kind == "cam0 stamp ahead"), f"{kind}\n{log}"
        assert any(warning.startswith(f"{kind}: ") for warning in in_status), f"{kind}: {in_status}"
    assert "Traceback" not in log


def test_a_node_that_cannot_start_says_why_in_one_line(recording: Path, tmp_path: Path) -> None:
    stack = Stack(tmp_path, dataset=str(recording), loop=False)
    stack.programs["vio"] = replace(stack.programs["vio"], parameters={"estimator.window_keyframe": 5})
    stack.start("vio")
    assert stack.running["vio"].wait(timeout=START_S) == 1
    assert stack.log("vio").startswith("error: unknown key estimator.window_keyframe; known: window_keyframes")
    assert len(stack.log("vio").splitlines()) == 1


@pytest.mark.parametrize("name", ["vio", "record"])
def test_ctrl_c_at_any_time_ends_a_node_with_code_0_and_no_traceback(
    recording: Path, tmp_path: Path, name: str
) -> None:
    arguments = {"vio": ["--ros-args", "-p", f"player.source:={recording}"], "record": [str(tmp_path / "bag"), ""]}[
        name
    ]
    env = environment(True) | {"ROS_DOMAIN_ID": str(own_domain())}
    for delay_s in (0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2):
        process = Process(name, arguments, env)
        time.sleep(delay_s)
        for _ in range(2):  # an impatient one
            process.popen.send_signal(signal.SIGINT)
        assert process.popen.wait(timeout=START_S) == 0, f"after {delay_s} s: {process.last_words()}"
        assert "Interrupt" not in process.last_words()
        shutil.rmtree(tmp_path / "bag", ignore_errors=True)


def test_letvins_up_ends_with_the_code_and_reason_of_a_node_that_fails(recording: Path) -> None:
    env = os.environ | {"ROS_DOMAIN_ID": str(own_domain()), "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"}
    asked = ("--no-loop", "--tracker", "letnet2", "--backend", "tensorrt")
    command = letvins_command("up", "--dataset", recording, *asked)
    up = subprocess.run(command, check=False, capture_output=True, text=True, env=env, timeout=120)
    assert up.returncode == 1
    last = up.stdout.splitlines()[-1]
    assert last.startswith("[feature_tracker] ended with exit code 1, the others are stopped; ")
    assert "tensorrt" in last
