# SPDX-License-Identifier: Apache-2.0
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from letvins_ros import geometry
from letvins_ros.evaluation.record import Estimate, FrameResult, RunRecord
from letvins_ros.evaluation.results import write_results
from letvins_ros.evaluation.trajectory import from_poses
from letvins_ros.types import Trajectory, VioStatus

Written = tuple[Path, dict[str, Any]]  # the folder of a run, and its metrics
START_NS = 1_403_636_580_838_555_648


def wandering(stamps_ns: np.ndarray, seed: int) -> Trajectory:
    """A smooth random path that turns about all axes."""
    rng = np.random.default_rng(seed)
    t = (stamps_ns - stamps_ns[0])[:, None] / 1e9
    phases, rates = rng.uniform(0, 6, (2, 6)), rng.uniform(0.2, 1.0, (2, 6))
    waves = np.sin(rates[0] * t + phases[0]) + 0.3 * np.sin(3 * rates[1] * t + phases[1])
    return from_poses(stamps_ns.tolist(), geometry.transform(geometry.exp_so3(waves[:, 3:]), 2 * waves[:, :3]))


def disturbed(truth: Trajectory, seed: int) -> Trajectory:
    """The truth in another frame, with noise."""
    rng = np.random.default_rng(seed)
    n = len(truth)
    T = geometry.from_quaternion(truth.positions, truth.quaternions)
    noise = geometry.transform(geometry.exp_so3(rng.normal(0, 0.02, (n, 3))), rng.normal(0, 0.05, (n, 3)))
    T_odom_world = geometry.transform(geometry.exp_so3(np.array([0.3, -0.2, 2.0])), np.array([5.0, -3.0, 1.0]))
    return from_poses(truth.stamps_ns.tolist(), T_odom_world @ T @ noise)


@pytest.fixture(scope="session")
def truth() -> Trajectory:
    return wandering(START_NS + 5_000_000 * np.arange(6000), seed=1)


@pytest.fixture(scope="session")
def estimate(truth: Trajectory) -> Trajectory:
    """20 Hz, each stamp off by up to 1 ms from one of the truth's."""
    every = disturbed(Trajectory(truth.stamps_ns[::10], truth.positions[::10], truth.quaternions[::10]), seed=2)
    shift = np.random.default_rng(3).integers(-1_000_000, 1_000_000, len(every))
    return Trajectory(every.stamps_ns + shift, every.positions, every.quaternions)


def make_state(
    T: np.ndarray | None = None, status: VioStatus = VioStatus.TRACKING, reason: str = "", resets: int = 0
) -> Estimate:
    covariances = np.tile(1e-4 * np.eye(3), (3, 1, 1))
    return Estimate(status, reason, np.eye(4) if T is None else T, np.zeros(3), covariances, resets)


def make_frame(
    stamp_ns: int, state: Estimate | None = None, T_map_odom: np.ndarray | None = None, total_ms: float = 20.0
) -> FrameResult:
    return FrameResult(stamp_ns, state, T_map_odom, 10.0, 5.0, 0.0, total_ms, 150)


@pytest.fixture(scope="session")
def frame_at() -> Callable[..., FrameResult]:
    """A frame at a stamp, with a state of the given fields or none."""

    def make(stamp_ns: int, posed: bool = True, **fields: Any) -> FrameResult:
        return make_frame(stamp_ns, make_state(**fields) if posed else None)

    return make


@pytest.fixture(scope="session")
def record(truth: Trajectory) -> RunRecord:
    """100 frames at 20 Hz along the truth: 10 without pose, then 1 cm of noise, 4 of them degraded, one lost."""
    rng = np.random.default_rng(4)
    result = RunRecord(frames_total=101, source="<test>", frames_dropped=1, loops=2)
    result.report.add("images missing", "0001.png", 3)
    T_map_odom = geometry.transform(np.eye(3), np.array([1.0, 0.0, 0.0]))
    for i, T in enumerate(geometry.from_quaternion(truth.positions, truth.quaternions)[:1000:10]):
        stamp = int(truth.stamps_ns[10 * i])
        status = VioStatus.DEGRADED if 40 <= i < 44 else VioStatus.INITIALISING if i == 60 else VioStatus.TRACKING
        noisy = T @ geometry.transform(np.eye(3), rng.normal(0, 0.01, 3))
        state = make_state(noisy, status, "few tracks") if i >= 10 else None
        result.add(make_frame(stamp, state, T_map_odom, 20.0 + i))
    return result


@pytest.fixture(scope="session")
def written(tmp_path_factory: pytest.TempPathFactory, record: RunRecord, truth: Trajectory) -> Written:
    """The folder with the record's files, and its metrics."""
    out = tmp_path_factory.mktemp("results") / "new" / "run"
    return out, write_results(out, record, truth, "tracker: lk  # <b>&\n")
