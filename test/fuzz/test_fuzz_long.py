# SPDX-License-Identifier: Apache-2.0
"""Round after round through the same hall, with loops, and standing there: for `make fuzz`, 20 minutes and an hour.

Processor time is compared, as the clock also counts what other programs do.
"""

import os
import sys
import time
from collections.abc import Iterator, Sequence
from functools import cache

import numpy as np
import pytest

from letvins_ros.config import Config
from letvins_ros.datasets import ReadReport
from letvins_ros.evaluation.run_metrics import compare, run_metrics
from letvins_ros.pipeline import RunOptions, run_dataset
from letvins_ros.selftest.recording import SMALL_RIG
from letvins_ros.simulation import Equipment, Simulation
from letvins_ros.simulation.motion import MotionProfile
from letvins_ros.simulation.trajectory import SplineTrajectory, control_times
from letvins_ros.types import ImageFrame, ImuSamples, Trajectory

from ..processes import children, resident_mb
from ..rounds import ROUND_S, one_round
from ..some import some
from .survival_check import FILES

ROUNDS, STANDING_ROUNDS = 50, 150
EVERY = 200  # frames between looks at memory and processor time
MORE_MB, SLOWER = 20.0, 1.2  # what the last quarter may take more than the second one


def standing(motion: MotionProfile, room: np.ndarray, duration_s: float, rng: np.random.Generator) -> SplineTrajectory:
    """In one place of the hall."""
    place = np.array([1.0, 0.5, 1.5, 0.3, 0.02, 0.01])
    return SplineTrajectory.from_control(np.tile(place, (len(control_times(duration_s)), 1)), duration_s)


class Rounds:
    """A Dataset: the same round again and again, rendered once."""

    gnss = None

    def __init__(self, rounds: int) -> None:
        flight = Simulation("hall", ROUND_S, 0, Equipment(SMALL_RIG))
        self.name, self.rig, self.report = "rounds", flight.rig, ReadReport()
        self._image = cache(flight.image)
        starts = (np.arange(rounds) * round(ROUND_S * 1e9))[:, None]
        self.stamps_ns = (flight.stamps_ns[:-1] + starts).ravel()
        self._frames = len(flight) - 1
        stamps, imu = (flight.imu.stamps_ns[:-1] + starts).ravel(), flight.imu
        self.imu = ImuSamples(stamps, np.tile(imu.gyro[:-1], (rounds, 1)), np.tile(imu.accel[:-1], (rounds, 1)))
        truth = flight.truth
        again = (np.tile(truth.positions[:-1], (rounds, 1)), np.tile(truth.quaternions[:-1], (rounds, 1)))
        self.truth = Trajectory(stamps, *again)

    def __len__(self) -> int:
        return len(self.stamps_ns)

    def frames(self, start_s: float = 0.0, duration_s: float | None = None) -> Iterator[ImageFrame]:
        for i, stamp_ns in enumerate(self.stamps_ns.tolist()):
            yield ImageFrame(stamp_ns, tuple(self._image(i % self._frames, camera) for camera in range(2)))


class Taken:
    """What a run has taken: by quarters MB of it and of its loops, CPU ms a frame, ms of a keyframe's loops."""

    def __init__(self, flight: Rounds) -> None:
        me = os.getpid()
        taken = [[resident_mb(me), 0.0, time.process_time()]]

        def note(done: int, total: int) -> None:
            if done % EVERY == 0:
                taken.append([resident_mb(me), sum(map(resident_mb, children(me))), time.process_time()])

        run = run_dataset(flight, Config(), RunOptions(), note)
        self.metrics = run_metrics(run.record, flight.truth, compare(run.record, flight.truth))
        loop_ms = np.array([frame.loop_ms for frame in run.record.frames if frame.loop_ms])
        of_run, of_loops, cpu_s = np.array(taken).T
        self.mb, self.loops_mb = quarters(of_run), quarters(of_loops)
        self.ms, self.loops_ms = quarters(np.diff(cpu_s) / EVERY * 1e3), quarters(loop_ms) if len(loop_ms) else None
        told = {key: self.metrics[key] for key in ("duration_s", "loops", "resets", "ate_rmse_m", "ate_map_rmse_m")} | {
            "loops_ms": self.loops_ms
        }
        sys.stdout.write(f"{told}\nMB: run {self.mb}, loops {self.loops_mb}\nCPU ms a frame {self.ms}\n")

    def check(self) -> None:
        """Nothing grows from the second quarter on."""
        assert self.metrics["resets"] == 0 and not self.metrics["missing"]
        assert self.mb[3] - self.mb[1] < MORE_MB and self.loops_mb[3] - self.loops_mb[1] < MORE_MB
        assert self.ms[3] < SLOWER * self.ms[1]


@pytest.mark.skipif(FILES < 1000, reason="20 minutes of flight, for make fuzz")
def test_in_twenty_minutes_neither_memory_nor_latency_grows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("letvins_ros.simulation.sequence.make_trajectory", one_round)
    taken = Taken(Rounds(ROUNDS))
    taken.check()
    assert taken.metrics["loops"] > 0
    assert taken.metrics["ate_map_rmse_m"] < 0.05
    assert some(taken.loops_ms)[3] < SLOWER * some(taken.loops_ms)[1]


@pytest.mark.skipif(FILES < 1000, reason="an hour of standing, for make fuzz")
def test_in_an_hour_of_standing_nothing_moves_or_grows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("letvins_ros.simulation.sequence.make_trajectory", standing)
    taken = Taken(Rounds(STANDING_ROUNDS))
    taken.check()
    assert taken.metrics["ate_rmse_m"] < 0.005


def quarters(values: Sequence[float] | np.ndarray) -> list[float]:
    """Medians of four parts."""
    return [round(float(np.median(part)), 1) for part in np.array_split(values, 4)]
