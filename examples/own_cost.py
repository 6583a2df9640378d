# SPDX-License-Identifier: Apache-2.0
"""A cost of your own: ranges to anchors at known places bound the drift while the cameras are covered.

The ranges are simulated from the recording's ground truth.
"""

import sys
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from letvins_ros import Config, ImageFrame, Odometry, Residual, ResidualCost, VioStatus, fit_to_data, open_dataset
from letvins_ros.estimation.costs.linear import Cost
from letvins_ros.estimation.frame import Frame
from letvins_ros.estimation.variables import Values
from letvins_ros.evaluation.trajectory import at_times
from letvins_ros.geometry import from_quaternion, inverse

STD_M = 0.01
PERIOD_NS = 100_000_000  # between ranges that are used
COVERED_S = (1.0, 5.0)  # since the first frame
ANCHORS_ODOM = np.array([[6.0, 0, 0], [0, 6.0, 0], [0, 0, 6.0]])  # m


@dataclass
class Ranges:
    """A Sensor: the estimator asks it for costs of each new frame."""

    distances_m: np.ndarray = field(default_factory=lambda: np.zeros(0))  # to the anchors, the newest; empty: none
    used_ns: int = 0

    def costs(self, before: Frame, frame: Frame) -> list[Cost]:
        """Give one cost for all anchors; the derivatives are found numerically."""
        if not len(self.distances_m) or frame.imu_ns < self.used_ns + PERIOD_NS:
            return []
        self.used_ns, measured = frame.imu_ns, self.distances_m

        def residual(values: Values) -> np.ndarray:
            return np.asarray(np.linalg.norm(values[frame.key].p - ANCHORS_ODOM, axis=1) - measured)

        return [ResidualCost([frame.key], Residual(residual, np.full(len(measured), STD_M)), cauchy=3.0)]


def largest_error_m(source: Path, ranges: Ranges, measure: bool) -> float:
    """Run over a recording; the largest distance of its poses to the truth, both beginning at the same pose."""
    recording = open_dataset(source)
    config, rig = fit_to_data(Config(), recording)
    assert recording.imu is not None and recording.truth is not None
    truth, rows = at_times(recording.truth, recording.stamps_ns)
    true = {int(recording.stamps_ns[row]): i for i, row in enumerate(rows)}
    T_world_body = [from_quaternion(p, q) for p, q in zip(truth.positions, truth.quaternions, strict=True)]
    odometry, noise = Odometry(config, rig, sensors=[ranges]), np.random.default_rng(0)
    odometry.add_imu(recording.imu)
    T_odom_world, errors = None, [0.0]
    for frame in recording.frames():
        if frame.stamp_ns not in true:
            continue
        T = T_world_body[true[frame.stamp_ns]]
        if T_odom_world is not None and measure:
            distances = np.linalg.norm((T_odom_world @ T)[:3, 3] - ANCHORS_ODOM, axis=1)
            ranges.distances_m = distances + noise.normal(0, STD_M, len(distances))
        covered = COVERED_S[0] < (frame.stamp_ns - recording.stamps_ns[0]) * 1e-9 < COVERED_S[1]
        dark = ImageFrame(frame.stamp_ns, (np.zeros_like(frame.images[0]),) * len(frame.images))
        state = odometry.process(dark if covered else frame).step.state
        if state.status is not VioStatus.INITIALISING:
            T_odom_world = state.T_odom_body @ inverse(T) if T_odom_world is None else T_odom_world
            errors.append(float(np.linalg.norm(state.T_odom_body[:3, 3] - (T_odom_world @ T)[:3, 3])))
    return max(errors)


for measure in (False, True):
    error = largest_error_m(Path(sys.argv[1]), Ranges(), measure)
    print(f"{'with' if measure else 'without'} ranges: off by {error:.3f} m at most")
