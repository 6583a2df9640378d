# SPDX-License-Identifier: Apache-2.0
"""Tracks and IMU of a simulated motion without any image: points projected, with pixel noise."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from letvins_ros import geometry
from letvins_ros.calibration import MountedCamera, Rig
from letvins_ros.config import Config, EstimatorConfig
from letvins_ros.estimation import VioEstimator
from letvins_ros.estimation.state import State
from letvins_ros.evaluation.metrics import absolute_error, rms
from letvins_ros.evaluation.trajectory import from_poses
from letvins_ros.simulation import SCENARIOS
from letvins_ros.simulation.imu import START_NS, exact_imu, seconds, simulate_imu, stamps
from letvins_ros.simulation.motion import make_trajectory
from letvins_ros.simulation.rigs import EUROC_IMU, EUROC_RIG
from letvins_ros.simulation.trajectory import SplineTrajectory
from letvins_ros.types import FrameTracks, ImuSamples, Trajectory, VioState, VioStatus

from ..some import some

ROOM = np.array([12.0, 9.0, 4.0])
FRAME_HZ = 10.0
SECOND = 1_000_000_000


@dataclass(frozen=True)
class Quality:
    """How good the simulated sensors are."""

    pixel_std: float = 0.3
    features: int = 60
    exact_imu: bool = False


@dataclass(frozen=True, eq=False)
class Recording:
    """Tracks of every frame, the IMU readings, and the truth."""

    trajectory: SplineTrajectory
    tracks: list[FrameTracks]
    imu: ImuSamples
    rig: Rig = field(default=EUROC_RIG)

    def truth(self, stamps_ns: np.ndarray) -> Trajectory:
        """T_world_body at these times."""
        return from_poses(list(stamps_ns), self.trajectory.T_world_body(seconds(np.asarray(stamps_ns))))

    def state(self, stamp_ns: int) -> State:
        """The true one, without biases."""
        t = seconds(np.array([stamp_ns]))
        T = self.trajectory.T_world_body(t)[0]
        return State(T[:3, :3], T[:3, 3], self.trajectory.velocity(t)[0])


def record(
    scenario: str, duration_s: float, seed: int, quality: Quality = Quality(), rig: Rig = EUROC_RIG
) -> Recording:
    """A recording of points on the walls of a room; the same arguments give the same bytes."""
    rng = np.random.default_rng([seed, 1])
    spline = make_trajectory(SCENARIOS[scenario].motion, ROOM, duration_s + 1, np.random.default_rng([seed, 0]))
    frame_stamps = stamps(duration_s, FRAME_HZ)
    if quality.exact_imu:
        imu = exact_imu(spline, stamps(duration_s + 0.1, 200.0))
    else:
        imu = simulate_imu(spline, EUROC_IMU, rng).samples
    points, T_world_body = wall_points(rng, 3000), spline.T_world_body(seconds(frame_stamps))
    tracks = follow(points, T_world_body, frame_stamps, quality, rng, rig)
    return Recording(spline, tracks, imu, rig)


def wall_points(rng: np.random.Generator, n: int) -> np.ndarray:
    """Points (n, 3) on the floor, ceiling and walls of the room."""
    p = rng.uniform(-0.5, 0.5, (n, 3))
    side = rng.integers(0, 6, n)
    p[np.arange(n), side // 2] = np.where(side % 2, 0.5, -0.5)
    return np.asarray(p * ROOM + [0, 0, ROOM[2] / 2])


def follow(
    points: np.ndarray,
    T_world_body: np.ndarray,
    stamps_ns: np.ndarray,
    quality: Quality,
    rng: np.random.Generator,
    rig: Rig = EUROC_RIG,
) -> list[FrameTracks]:
    """Tracks of some of the points by each group of cameras; a point that comes back has a new id."""
    tracks, next_id = [], 0
    for group in rig.groups:
        ids, first_seen, own = np.full(len(points), -1), np.zeros(len(points), int), []
        for i, (stamp, T) in enumerate(zip(stamps_ns, T_world_body, strict=True)):
            uv = np.full((len(rig.cameras), len(points), 2), np.nan)
            for camera in group:
                uv[camera] = see(points, T, rig.cameras[camera], quality.pixel_std, rng)
            ids[~np.isfinite(uv[group[0]]).all(1)] = -1
            free = rng.permutation(np.flatnonzero(np.isfinite(uv[group[0]]).all(1) & (ids < 0)))
            free = free[: max(0, quality.features - int((ids >= 0).sum()))]
            ids[free], first_seen[free] = np.arange(next_id, next_id + len(free)), i
            next_id += len(free)
            rows = np.flatnonzero(ids >= 0)
            pixels, ages = uv[:, rows].astype(np.float32), (i - first_seen[rows]).astype(np.int32)
            own.append(FrameTracks(int(stamp), ids[rows].copy(), pixels, ages))
        tracks.append(own)
    return [joined(groups) for groups in zip(*tracks, strict=True)]


def joined(groups: Sequence[FrameTracks]) -> FrameTracks:
    """What the groups of a rig see at one time."""
    ids, ages = (np.concatenate([getattr(one, name) for one in groups]) for name in ("ids", "ages"))
    return FrameTracks(groups[0].stamp_ns, ids, np.concatenate([one.uv for one in groups], axis=1), ages)


def see(
    points: np.ndarray, T_world_body: np.ndarray, mounted: MountedCamera, pixel_std: float, rng: np.random.Generator
) -> np.ndarray:
    """Pixels (N, 2) of world points, NaN where they are out of sight."""
    p_cam = geometry.apply(geometry.inverse(T_world_body @ mounted.T_body_cam), points)
    uv, valid = mounted.camera.project(p_cam)
    near = p_cam[:, 2] > 0.2
    return np.where((valid & near)[:, None], uv + rng.normal(0, pixel_std, uv.shape), np.nan)


def config_of(mode: str, **estimator: Any) -> Config:
    """The default configuration in a mode, with pixel noise as it is simulated: independent."""
    return Config(
        mode=mode, estimator=EstimatorConfig(**{"pixel_noise_scale": 1.0, "prior_noise_scale": 1.0, **estimator})
    )


def run(recording: Recording, config: Config, estimator: VioEstimator | None = None) -> list[VioState]:
    """States of all frames, with IMU readings passed on as a run does."""
    estimator = estimator or VioEstimator(config, recording.rig)
    return [step(estimator, recording, i, config.mode) for i in range(len(recording.tracks))]


def step(estimator: VioEstimator, recording: Recording, i: int, mode: str) -> VioState:
    """Frame i, after the readings since the frame before it."""
    if mode != "stereo":
        add_imu(estimator, recording, i)
    return estimator.process(recording.tracks[i]).state


def add_imu(estimator: VioEstimator, recording: Recording, i: int) -> None:
    """The readings up to the first one after frame i that have not been passed on before it."""
    imu, end = recording.imu, np.searchsorted(recording.imu.stamps_ns, recording.tracks[i].stamp_ns, "right") + 1
    begin = np.searchsorted(imu.stamps_ns, recording.tracks[i - 1].stamp_ns, "right") + 1 if i else 0
    estimator.add_imu(ImuSamples(imu.stamps_ns[begin:end], imu.gyro[begin:end], imu.accel[begin:end]))


def posed(states: list[VioState]) -> list[VioState]:
    return [state for state in states if state.status is not VioStatus.INITIALISING]


def estimate(states: list[VioState]) -> Trajectory:
    return from_poses([s.stamp_ns for s in states], np.stack([s.T_odom_body for s in states]))


def ate(recording: Recording, states: list[VioState]) -> float:
    """Position error (m) after alignment, over all states with a pose."""
    found = estimate(posed(states))
    return some(rms(np.linalg.norm(absolute_error(recording.truth(found.stamps_ns), found).position, axis=1)))


def without_tracks(recording: Recording, start_s: float, end_s: float) -> Recording:
    """The recording with no features from start_s to end_s."""

    def emptied(one: FrameTracks) -> FrameTracks:
        if not start_s <= (one.stamp_ns - START_NS) / SECOND < end_s:
            return one
        return FrameTracks(one.stamp_ns, one.ids[:0], one.uv[:, :0], one.ages[:0])

    return replace(recording, tracks=[emptied(one) for one in recording.tracks])


def with_cameras_dark(recording: Recording, cameras: Sequence[int], start_s: float, end_s: float) -> Recording:
    """The recording with no features in these cameras from start_s to end_s."""

    def darkened(one: FrameTracks) -> FrameTracks:
        if not start_s <= (one.stamp_ns - START_NS) / SECOND < end_s:
            return one
        uv = one.uv.copy()
        uv[list(cameras)] = np.nan
        left = np.isfinite(uv).any((0, 2))
        return FrameTracks(one.stamp_ns, one.ids[left], uv[:, left], one.ages[left])

    return replace(recording, tracks=[darkened(one) for one in recording.tracks])


def without_imu(recording: Recording, start_s: float, end_s: float) -> Recording:
    """The recording with no IMU readings from start_s to end_s."""
    t = (recording.imu.stamps_ns - START_NS) / SECOND
    keep = (t < start_s) | (t >= end_s)
    imu = recording.imu
    return replace(recording, imu=ImuSamples(imu.stamps_ns[keep], imu.gyro[keep], imu.accel[keep]))
