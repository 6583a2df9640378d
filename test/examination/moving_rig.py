# SPDX-License-Identifier: Apache-2.0
"""A rig that moves among points: what its IMU reads and what a tracker matches, without rendering an image."""

from dataclasses import dataclass
from functools import cache

import numpy as np

from letvins_ros.calibration import ImuNoise, MountedCamera, Rig
from letvins_ros.camera import Camera
from letvins_ros.examination import Examiner
from letvins_ros.geometry import apply, exp_so3, inverse, log_so3, transform
from letvins_ros.types import ImuSamples, Matches

from ..some import some

RATE_HZ, FRAME_RATE_HZ = 200, 20
START_NS = 1_600_000_000_000_000_000
PIXEL_NOISE = 0.1

View = tuple[np.ndarray, np.ndarray]


def make_rig() -> Rig:
    camera = Camera("pinhole-radtan", 376, 240, (229.0, 229.0, 183.0, 124.0))
    R_body_cam = np.array([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]])  # looks along the body's x
    mounts = [transform(R_body_cam, np.array([0.05, y, 0.0])) for y in (0.055, -0.055)]
    return Rig(tuple(MountedCamera(camera, T) for T in mounts), ImuNoise(1.7e-4, 2e-3, 2e-5, 3e-3, RATE_HZ))


def poses(t: np.ndarray, speed: float) -> np.ndarray:
    """T_world_body (N, 4, 4) at times (N,) s."""
    phases = np.outer(t, speed * np.array([1.1, 0.8, 0.6])) + np.array([0.0, 1.0, 2.0])
    return transform(exp_so3(0.35 * np.sin(phases)), 0.6 * np.sin(0.7 * phases[:, [1, 2, 0]]))


@dataclass
class Recording:
    """What a rig recorded; tests spoil it."""

    rig: Rig
    imu: ImuSamples
    frames_ns: np.ndarray
    matches: list[Matches | None]  # None: the tracker refused the image

    def examined(self) -> Examiner:
        """The examiner after all of it, readings and frames in the order of time."""
        examiner, fed, stuck = Examiner(self.rig), 0, 0
        for stamp, matches in zip(self.frames_ns.tolist(), self.matches, strict=True):
            end = int(np.searchsorted(self.imu.stamps_ns, stamp)) + 1
            examiner.add_imu(ImuSamples(self.imu.stamps_ns[fed:end], self.imu.gyro[fed:end], self.imu.accel[fed:end]))
            fed = max(end, fed)
            stuck += matches is None
            examiner.add_frame(matches, stamp, stuck)
        return examiner

    def codes(self) -> list[str]:
        """Codes of all findings."""
        return [finding.code for finding in self.examined().findings()]


@cache
def record(seed: int = 0, seconds: float = 10.0, speed: float = 2.0, true_rig: Rig | None = None) -> Recording:
    """A recording of a rig whose calibration is right, or of true_rig with the calibration of make_rig."""
    rng, rig = np.random.default_rng(seed), make_rig()
    points = rng.uniform([-12, -12, -6], [12, 12, 6], (900, 3))
    times = np.arange(0, seconds, 1 / FRAME_RATE_HZ)
    views = [_view(T, points, rig, true_rig or rig, rng) for T in poses(times, speed)]
    matches: list[Matches | None] = [_matches(rig, views[max(i - 1, 0)], view) for i, view in enumerate(views)]
    frames_ns = START_NS + np.rint(times * 1e9).astype(np.int64)
    return Recording(rig, _imu(rng, seconds, speed, some(rig.imu)), frames_ns, matches)


def _imu(rng: np.random.Generator, seconds: float, speed: float, noise: ImuNoise) -> ImuSamples:
    t, dt = np.arange(0, seconds + 0.01, 1 / RATE_HZ), 1e-3
    before, now, after = (poses(t + d, speed) for d in (-dt, 0.0, dt))
    gyro = log_so3(np.swapaxes(before[:, :3, :3], 1, 2) @ after[:, :3, :3]) / (2 * dt) + [0.02, -0.03, 0.01]
    acceleration = (before[:, :3, 3] - 2 * now[:, :3, 3] + after[:, :3, 3]) / dt**2 + [0, 0, 9.81]
    accel = np.einsum("nji,nj->ni", now[:, :3, :3], acceleration)
    gyro += rng.normal(0, noise.gyro_noise * np.sqrt(RATE_HZ), gyro.shape)
    accel += rng.normal(0, noise.accel_noise * np.sqrt(RATE_HZ), accel.shape)
    return ImuSamples(START_NS + np.rint(t * 1e9).astype(np.int64), gyro, accel)


def _view(T_world_body: np.ndarray, points: np.ndarray, rig: Rig, true_rig: Rig, rng: np.random.Generator) -> View:
    """Which points (N,) both cameras see, and where (2, N, 2) px."""
    uv, seen = [], np.ones(len(points), bool)
    for mounted in true_rig.cameras:
        p_cam = apply(inverse(T_world_body @ mounted.T_body_cam), points)
        pixels, valid = mounted.camera.project(p_cam)
        uv.append(pixels + rng.normal(0, PIXEL_NOISE, pixels.shape))
        seen &= valid
    rows = np.flatnonzero(seen)[:100]
    return rows, np.stack(uv)[:, rows]


def _matches(rig: Rig, last: View, now: View) -> Matches:
    """Two views compared as a tracker that rejects nothing would; distances are known where stereo gives them."""
    _, i, j = np.intersect1d(last[0], now[0], return_indices=True)
    left, right = rig.cameras
    before, beside = left.camera.unproject(last[1][0, i]), right.camera.unproject(last[1][1, i])
    T = inverse(right.T_body_cam) @ left.T_body_cam
    along, across = np.cross(beside, before @ T[:3, :3].T), np.cross(beside, T[:3, 3])
    w = -(along * across).sum(1) / (across**2).sum(1)
    w = np.where(w > 0, w, np.nan)
    return Matches(before, left.camera.unproject(now[1][0, j]), w, now[1], len(now[0]), len(now[0]))
