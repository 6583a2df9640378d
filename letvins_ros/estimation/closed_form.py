# SPDX-License-Identifier: Apache-2.0
"""Gravity, velocity and gyro bias from a short stretch of frames and IMU, at rest or in motion.

In motion: with rotations from the gyro, features, velocity and gravity enter the bearings linearly (Dong-Si and
Mourikis 2012, Martinelli 2014). The features are eliminated, gravity's length is held, the accelerometer's bias has
a prior; the gyro's bias is found before, from rotations alone. Stereo gives the scale at once; one camera needs
acceleration for it.
"""

from collections.abc import Callable
from dataclasses import dataclass

import gtsam
import numpy as np

from letvins_ros.calibration import ImuNoise
from letvins_ros.errors import Rejected
from letvins_ros.estimation.frame import Frame
from letvins_ros.estimation.landmarks import CameraMounts, Observations
from letvins_ros.estimation.preintegration import Reading, integrate, preintegrate, readings
from letvins_ros.estimation.state import State
from letvins_ros.geometry import rotation_between, yaw_rotation
from letvins_ros.imu import GRAVITY, ImuSteps

MAX_RESIDUAL_RAD = 0.006  # median of the rays' misses; about 2.5 px for EuRoC's lenses
MAX_VELOCITY_STD = 0.15  # m/s
RAY_STD = 0.002  # rad
ACCEL_BIAS_STD = 0.1  # m/s^2
MAX_FORCE_ERROR = 2.0  # m/s^2, of the accelerometer at rest
MATCHED_NEEDED = 8  # features of a frame that two cameras see, from which these give the scale
NUDGE = 1e-5  # rad/s, for derivatives by the gyro's bias
MOST_TURNING = 0.1  # rad/s, of a step of the gyro's bias
STEPS, SETTLED = 15, 1e-3  # a thousandth is enough for what the window refines, and the first poses wait for this
UP = np.array([0.0, 0.0, 1.0])


@dataclass(frozen=True, eq=False)
class _ImuMotion:
    """What the IMU says of the frames' motion relative to the first, gravity and first velocity apart."""

    t: np.ndarray  # (F,) s
    R: np.ndarray  # (F, 3, 3) R_first_body
    dp: np.ndarray  # (F, 3) m
    dv: np.ndarray  # (F, 3) m/s
    dp_by_bias: np.ndarray  # (F, 3, 3) derivative by the accelerometer's bias
    dv_by_bias: np.ndarray  # (F, 3, 3)


@dataclass(frozen=True, eq=False)
class _Fit:
    velocity: np.ndarray  # (3,) m/s in the first body frame
    accel_bias: np.ndarray  # (3,) m/s^2
    gravity: np.ndarray  # (3,) m/s^2 in the first body frame
    misses: np.ndarray  # (K, 3) rad
    velocity_std: float


def initialise_at_rest(steps: ImuSteps) -> State | Rejected:
    """The state at rest: accelerometer up is up, what the gyro reads is its bias."""
    force = float(np.linalg.norm(steps.accel.mean(0)))
    if abs(force - GRAVITY) > MAX_FORCE_ERROR:
        return Rejected(f"at rest the accelerometer reads {force:.2f} m/s^2 instead of {GRAVITY}: wrong unit or sensor")
    R = rotation_between(steps.accel.mean(0), UP)
    return State(_without_yaw(R), np.zeros(3), gyro_bias=steps.gyro.mean(0))


def initialise_moving(
    frames: list[Frame], seen: Observations, mounts: CameraMounts, noise: ImuNoise
) -> list[State] | Rejected:
    """States of moving frames, with seen holding their common features, or why it is too early."""
    gyro_bias = _gyro_bias(frames, seen, mounts, noise)
    motion = _motion(frames, noise, gyro_bias)
    fit = _fit(motion, seen, mounts)
    miss = float(np.median(np.linalg.norm(fit.misses, axis=-1)))
    if miss > MAX_RESIDUAL_RAD:
        return Rejected(f"rays miss each other by {miss:.4f} rad, {MAX_RESIDUAL_RAD} allowed")
    if fit.velocity_std > MAX_VELOCITY_STD:
        return Rejected(f"velocity known to {fit.velocity_std:.2f} m/s, {MAX_VELOCITY_STD} needed: more motion or time")
    return _states(motion, fit, gyro_bias)


def _gyro_bias(frames: list[Frame], seen: Observations, mounts: CameraMounts, noise: ImuNoise) -> np.ndarray:
    """The bias that makes two cameras' rays meet best.

    One camera's rays meet best where all motion vanishes, so there it is the bias with which the rays of neighbouring
    frames are coplanar (Kneip 2013), which needs no scale.
    """
    see_depth = seen.matched() >= MATCHED_NEEDED * len(frames)
    cameras = range(len(mounts.p_body_cam))
    pairs = [(f, *_common_rays(seen, f, c, mounts)) for f in range(len(frames) - 1) for c in cameras]

    def misfits(bias: np.ndarray) -> np.ndarray:
        motion = _motion(frames, noise, bias)
        if see_depth:
            return _fit(motion, seen, mounts).misses.ravel()
        R, out = motion.R, []
        for f, rays, later in pairs:
            normals = np.cross(rays, later @ (R[f].T @ R[f + 1]).T)  # across the way between the frames
            _, vectors = np.linalg.eigh(normals.T @ normals)
            out.append(normals @ vectors[:, 0] * np.sign(vectors[np.abs(vectors[:, 0]).argmax(), 0]))
        return np.concatenate(out)

    return _least(misfits)


def _least(misfits: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """The x (3,), from zero on, of the least misfits (M,), of which large ones count less (soft L1, Newton's steps)."""
    x = np.zeros(3)
    missed = misfits(x)
    for _ in range(STEPS):
        J = np.stack([(misfits(x + nudge) - missed) / NUDGE for nudge in NUDGE * np.eye(3)], axis=1)
        weights = 1 / np.sqrt(1 + (missed / RAY_STD) ** 2)
        step = -np.linalg.lstsq((J * weights[:, None] ** 3).T @ J, J.T @ (weights * missed))[0]
        step *= min(1.0, MOST_TURNING / max(float(np.linalg.norm(step)), 1e-12))
        enough = SETTLED * max(float(np.linalg.norm(x)), SETTLED)
        while (gain := _cost(missed) - _cost(moved := misfits(x + step))) < 0 and np.linalg.norm(step) > enough:
            step /= 4
        if gain > 0:
            x, missed = x + step, moved
        if gain < SETTLED * _cost(missed) or np.linalg.norm(step) < enough:
            break
    return x


def _cost(misfits: np.ndarray) -> float:
    return float((np.sqrt(1 + (misfits / RAY_STD) ** 2) - 1).sum())


def _common_rays(seen: Observations, f: int, camera: int, mounts: CameraMounts) -> tuple[np.ndarray, np.ndarray]:
    """Unit rays (n, 3), in the body, of a camera to the landmarks that it sees in both frames f and f + 1."""
    rows = [(seen.frame == i) & (seen.camera == camera) for i in (f, f + 1)]
    _, a, b = np.intersect1d(seen.landmark[rows[0]], seen.landmark[rows[1]], return_indices=True)
    R_cam_body = mounts.R_cam_body[camera]
    return seen.bearing[rows[0]][a] @ R_cam_body, seen.bearing[rows[1]][b] @ R_cam_body


def heading(R_odom_body: np.ndarray) -> float:
    """Yaw, rad: where body x points, or body z where x is vertical."""
    ahead = R_odom_body[:, 0] if abs(R_odom_body[2, 0]) < 0.9 else R_odom_body[:, 2]
    return float(np.arctan2(ahead[1], ahead[0]))


def _without_yaw(R_odom_body: np.ndarray) -> np.ndarray:
    return yaw_rotation(-heading(R_odom_body)) @ R_odom_body


def _states(motion: _ImuMotion, fit: _Fit, gyro_bias: np.ndarray) -> list[State]:
    R_odom_first = _without_yaw(rotation_between(-fit.gravity, UP))
    t = motion.t[:, None]
    p = t * fit.velocity + t**2 / 2 * fit.gravity + motion.dp + motion.dp_by_bias @ fit.accel_bias
    v = fit.velocity + t * fit.gravity + motion.dv + motion.dv_by_bias @ fit.accel_bias
    return [
        State(R_odom_first @ motion.R[i], R_odom_first @ p[i], R_odom_first @ v[i], fit.accel_bias, gyro_bias)
        for i in range(len(motion.t))
    ]


def _motion(frames: list[Frame], noise: ImuNoise, gyro_bias: np.ndarray) -> _ImuMotion:
    """Integrate the frames' readings once, and once more for each axis of the accelerometer's bias."""
    steps = [None if frame.steps is None else readings(frame.steps, gyro_bias) for frame in frames[1:]]
    nothing = ImuSteps(np.zeros(0), np.zeros((0, 3)), np.zeros((0, 3)))
    biases = np.zeros(3), *np.eye(3)  # linear in this bias
    (t, R, dp, dv), *nudged = (_integrated(steps, preintegrate(nothing, noise, bias, gyro_bias)) for bias in biases)
    dp_by_bias = np.stack([moved[2] - dp for moved in nudged], 2)
    dv_by_bias = np.stack([moved[3] - dv for moved in nudged], 2)
    return _ImuMotion(t, R, dp, dv, dp_by_bias, dv_by_bias)


def _integrated(
    steps: list[list[Reading] | None], pim: gtsam.PreintegratedCombinedMeasurements
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Time, rotation, and displacement and change of velocity without gravity, of each frame since the first."""
    t, R, dp, dv = [0.0], [np.eye(3)], [np.zeros(3)], [np.zeros(3)]
    for some in steps:
        integrate(pim, some or ())
        t.append(pim.deltaTij())
        R.append(pim.deltaRij().matrix())
        dp.append(pim.deltaPij())
        dv.append(pim.deltaVij())
    return np.array(t), np.stack(R), np.stack(dp), np.stack(dv)


def _fit(motion: _ImuMotion, seen: Observations, mounts: CameraMounts) -> _Fit:
    """Velocity, gravity of known length, and points that fit the rays best, weighted by inverse distance.

    Rays that miss count less (Cauchy): one wrong match that seems near would else outweigh all others.
    """
    order = np.argsort(seen.landmark, kind="stable")  # a landmark's rays one after the other
    first = np.searchsorted(seen.landmark[order], np.arange(seen.landmark.max() + 1))
    R = motion.R[seen.frame]
    d = (R @ (np.swapaxes(mounts.R_cam_body, 1, 2)[seen.camera] @ seen.bearing[..., None]))[..., 0]
    offset = motion.dp[seen.frame] + (R @ mounts.p_body_cam[seen.camera][..., None])[..., 0]
    across = np.eye(3) - d[:, :, None] * d[:, None, :]
    t = motion.t[seen.frame, None, None]
    by_bias = motion.dp_by_bias[seen.frame]
    basis = np.concatenate([t * np.eye(3), by_bias, t**2 / 2 * np.eye(3)], 2)  # (K, 3, 9): centre = basis x + offset
    distance, trust = np.full(len(first), 5.0), np.ones(len(d))
    for _ in range(4):
        weighted = across * (trust / distance[seen.landmark] ** 2)[:, None, None]
        x, points, information = _solve(weighted, offset, basis, (order, first))
        ray = points[seen.landmark] - basis @ x - offset
        length = np.maximum(np.linalg.norm(ray, axis=1), 0.1)
        distance = np.clip(np.bincount(seen.landmark, length) / np.bincount(seen.landmark), 0.3, 50.0)
        misses = (across @ (ray / length[:, None])[..., None])[..., 0]
        trust = 1 / (1 + (misses**2).sum(1) / (2 * RAY_STD) ** 2)
    up = x[6:] / GRAVITY
    information[6:, 6:] += np.outer(up, up) * 1e6  # gravity's strength is known
    covariance = np.linalg.pinv(information) * RAY_STD**2
    return _Fit(x[:3], x[3:6], x[6:], misses, float(np.sqrt(np.linalg.eigvalsh(covariance[:3, :3]).max())))


def _solve(
    across: np.ndarray, offset: np.ndarray, basis: np.ndarray, rays: tuple[np.ndarray, np.ndarray]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """X (6,), points (L, 3) and information: least sum of |across (point - basis x - offset)|^2 with |x[6:]| = g."""
    order, first = rays  # of each landmark
    pull, by_basis = (across @ offset[..., None])[..., 0], across @ basis
    H_points, H_cross, g_points = (np.add.reduceat(each[order], first) for each in (across, -by_basis, pull))
    inverse = np.linalg.inv(H_points + 1e-9 * np.eye(3))
    slope, flat, cross = inverse @ H_cross, basis.reshape(-1, 9), H_cross.reshape(-1, 9)
    H = flat.T @ by_basis.reshape(-1, 9) - cross.T @ slope.reshape(-1, 9)
    g = -flat.T @ pull.ravel() - slope.reshape(-1, 9).T @ g_points.ravel()
    H[3:6, 3:6] += np.eye(3) * (RAY_STD / ACCEL_BIAS_STD) ** 2
    x = _with_gravity(H, g)
    points = (inverse @ (g_points - H_cross @ x)[..., None])[..., 0]
    return x, points, H


def _with_gravity(H: np.ndarray, g: np.ndarray) -> np.ndarray:
    """Minimise x H x / 2 - g x with |x[6:]| = GRAVITY, by the secular equation of its Lagrange multiplier."""
    A = np.linalg.inv(H[:6, :6] + 1e-9 * np.eye(6))
    S, b = H[6:, 6:] - H[6:, :6] @ A @ H[:6, 6:], g[6:] - H[6:, :6] @ A @ g[:6]
    values, vectors = np.linalg.eigh((S + S.T) / 2)
    c = vectors.T @ b

    multiplier = -values[0] + 1e-12 + 1e-9 * values[2]
    for _ in range(50):  # Newton's steps to 1 / |c / (values + multiplier)| = 1 / GRAVITY, which is nearly straight
        along = c / (values + multiplier)
        excess = float(np.linalg.norm(along)) / GRAVITY - 1
        if excess < 1e-12:
            break
        multiplier += excess * (along @ along) / (along**2 / (values + multiplier)).sum()
    gravity = vectors @ (c / (values + multiplier))
    gravity *= GRAVITY / np.linalg.norm(gravity)
    return np.concatenate([A @ (g[:6] - H[:6, 6:] @ gravity), gravity])
