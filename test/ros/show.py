# SPDX-License-Identifier: Apache-2.0
"""Measurements of the live system that take too long for the test suite; prints what it finds.

python -m test.ros.show live SOURCE      coverage, latency, lost IMU readings and ATE at the sensor's pace
python -m test.ros.show kill SOURCE      kill -9 and restart of each node: seconds until odometry is back
python -m test.ros.show pair SOURCE      two namespaces side by side
python -m test.ros.show soak SOURCE 30   minutes of repeated playing: memory, latency and CPU time per minute
"""

import os
import sys
import time
from pathlib import Path
from tempfile import mkdtemp

import numpy as np

from letvins_ros.datasets import open_dataset
from letvins_ros.evaluation.evaluate import evaluate

from ..processes import cpu_s, resident_mb
from .harness import Ear, Stack

NODES = ("feature_tracker", "vio", "loop_closure")


def load() -> str:
    return f"machine load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"


def percentiles(values: np.ndarray) -> str:
    return "median {:.1f} p95 {:.1f} p99 {:.1f} max {:.1f}".format(*np.percentile(values * 1e3, [50, 95, 99, 100]))


def live(source: Path, rate: float = 1.0) -> None:
    folder = Path(mkdtemp())
    with Stack(folder, dataset=str(source), rate=rate) as stack, Ear(stack.domain) as ear:
        stack.start(*NODES, "dataset_player")
        player, loads = stack.running["dataset_player"], []
        while player.poll() is None:
            loads.append(os.getloadavg()[0])
            used = {name: cpu_s(process.pid) for name, process in stack.running.items() if process.poll() is None}
            time.sleep(1)
        time.sleep(1)
        status, known = ear.statuses[-1][1], ear.diagnostics
        print(
            f"frames {len(ear.images)}, poses {len(ear.poses)}, coverage {ear.coverage():.4f}, resets {status.resets}"
        )
        print(f"latency ms, image to odometry as heard here: {percentiles(ear.latencies_s())}")
        inner = np.array([m.latency_s for _, m in ear.statuses if m.state])
        print(f"latency ms, tracker's input to vio's output: {percentiles(inner)}")
        sent = known["dataset_player"].get("imu in all")
        print(f"IMU readings received by vio {status.imu_received}; a second before the end {sent} were sent")
        each = {name: f"{s / len(ear.images) * 1e3:.1f}" for name, s in used.items()}
        print(f"CPU ms per frame, starting included: {each}")
        print(f"machine load from {min(loads):.1f} to {max(loads):.1f} on {os.cpu_count()} cores")
        if open_dataset(source).truth is not None:
            print(f"ATE {evaluate(ear.write(folder / 'live.tum'), source, None)['ate_rmse_m']:.4f} m")
        print({name: values["message"] for name, values in known.items()})
        print("exit codes", stack.stop())


def kill(source: Path) -> None:
    with Stack(Path(mkdtemp()), dataset=str(source), repeat=True) as stack, Ear(stack.domain, images=False) as ear:
        stack.start(*NODES, "dataset_player")
        ear.wait(lambda: len(ear.poses) > 40, 60, "odometry")
        for name in ("feature_tracker", "vio", "dataset_player"):
            time.sleep(5)
            stack.kill(name)
            time.sleep(1.0)  # the queues of the others are empty then
            at = time.time()
            stack.start(name)
            took = ear.wait(lambda at=at: sum(t > at for t, _ in list(ear.poses.values())) > 3, 30, f"{name}: odometry")
            resets = ear.statuses[-1][1].resets
            print(f"{name}: odometry {took:.2f} s after its new start; resets {resets}; {load()}", flush=True)


def pair(source: Path) -> None:
    one = Stack(Path(mkdtemp()), dataset=str(source), namespace="left")
    two = Stack(Path(mkdtemp()), domain=one.domain, dataset=str(source), namespace="right")
    with one, two, Ear(one.domain, "left") as ear1, Ear(one.domain, "right") as ear2:
        for stack in (one, two):
            stack.start("feature_tracker", "vio", "dataset_player")
        while any(stack.running["dataset_player"].poll() is None for stack in (one, two)):
            time.sleep(0.5)
        for ear in (ear1, ear2):
            print(f"poses {len(ear.poses)}, coverage {ear.coverage():.3f}; {percentiles(ear.latencies_s())}; {load()}")


def soak(source: Path, minutes: float) -> None:
    with Stack(Path(mkdtemp()), dataset=str(source), repeat=True) as stack, Ear(stack.domain) as ear:
        stack.start(*NODES, "dataset_player")
        ear.wait(lambda: ear.poses, 60, "odometry")
        began, used = time.time(), {name: cpu_s(process.pid) for name, process in stack.running.items()}
        while time.time() - began < minutes * 60:
            time.sleep(60)
            before, used = used, {name: cpu_s(process.pid) for name, process in stack.running.items()}
            each = {name: f"{(used[name] - before[name]) / len(ear.images) * 1e3:.1f}" for name in used}
            memory = {name: round(resident_mb(process.pid), 1) for name, process in stack.running.items()}
            late, status, passed = ear.latencies_s(), ear.statuses[-1][1], (time.time() - began) / 60
            print(f"{passed:.1f} min: MB {memory}, latency ms {percentiles(late)},")
            print(f"    CPU ms per frame {each},")
            print(f"    poses {len(ear.poses)} of {len(ear.images)}, resets {status.resets}, {load()}", flush=True)
            for heard in (ear.images, ear.poses, ear.statuses):
                heard.clear()


if __name__ == "__main__":
    what, recording, *rest = sys.argv[1:]
    {"live": live, "kill": kill, "pair": pair, "soak": soak}[what](Path(recording), *map(float, rest))  # type: ignore[operator]
