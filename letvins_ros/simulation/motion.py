# SPDX-License-Identifier: Apache-2.0
"""How the body moves: a loop of a drone, a walk around a block, or rest."""

from dataclasses import dataclass

import numpy as np

from letvins_ros.simulation.trajectory import SplineTrajectory, control_times

TAKE_OFF_S = 2.0
TRIAL_S = 60.0
CORRIDOR_M = 2.2  # width
CORNER_M = 0.9  # radius of a walker's turn


@dataclass(frozen=True)
class MotionProfile:
    """What kind of motion, and its limits."""

    kind: str  # flight, walk or rest
    max_speed: float = 0.0  # m/s
    max_turn: float = 0.0  # rad/s
    shake: float = 1.0  # size of the quick motions on top of the path
    rest_share: float = 0.5  # share of seeds that start at rest, the others start in motion


def make_trajectory(
    motion: MotionProfile, room: np.ndarray, duration_s: float, rng: np.random.Generator
) -> SplineTrajectory:
    """A motion inside a room of size (3,) m, whose floor's centre is the origin.

    The pace is set so that the fastest moment of a whole TRIAL_S just keeps the limits.
    """
    rest_s = rng.uniform(0.5, 1.5) if rng.random() < motion.rest_share else -TAKE_OFF_S
    seed = rng.integers(2**32)

    def follow(progress: np.ndarray, length_s: float) -> SplineTrajectory:
        points = _PATHS[motion.kind](motion, room, progress, np.random.default_rng(seed))
        return SplineTrajectory.from_control(points, length_s)

    pace = 0.0 if motion.kind == "rest" else _headroom(follow(control_times(TRIAL_S), TRIAL_S), motion)
    return follow(pace * _started(control_times(duration_s), rest_s), duration_s)


def _started(times: np.ndarray, rest_s: float) -> np.ndarray:
    """Time spent moving: 0 until rest_s, then picking up to the full pace."""
    s = np.clip((times - rest_s) / TAKE_OFF_S, 0, 1)
    ramp = TAKE_OFF_S * (s**3 - s**4 / 2)  # integral of the smooth step 3 s^2 - 2 s^3
    return np.asarray(ramp + np.maximum(times - rest_s - TAKE_OFF_S, 0))


def _headroom(trajectory: SplineTrajectory, motion: MotionProfile) -> float:
    """The pace, times that of the trajectory, which just reaches the limits."""
    t = np.arange(0, trajectory.duration_s, 0.05)
    speed = np.linalg.norm(trajectory.velocity(t), axis=1).max()
    turn = np.linalg.norm(trajectory.angular_velocity(t), axis=1).max()
    return float(min(motion.max_speed / speed, motion.max_turn / turn))


def _wander(rng: np.random.Generator, t: np.ndarray, amplitude: float, band_hz: tuple[float, float]) -> np.ndarray:
    """Sum of three sinusoids of random frequency in the band, at most about the amplitude."""
    frequency, phase = rng.uniform(*band_hz, 3), rng.uniform(0, 2 * np.pi, 3)
    return np.asarray(amplitude / 2 * np.sin(2 * np.pi * np.outer(t, frequency) + phase).sum(axis=1))


def _flight(motion: MotionProfile, room: np.ndarray, t: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Rounds in a room with all axes excited, mostly looking ahead: control points (N, 6)."""
    half = room[:2] / 2 - 1.5
    round_s, turn = rng.uniform(20, 28), rng.choice([-1, 1])
    angle = rng.uniform(0, 2 * np.pi) + turn * 2 * np.pi * t / round_s
    x, y = half[0] * 0.8 * np.cos(angle), half[1] * 0.8 * np.sin(angle)
    heading = np.unwrap(np.arctan2(turn * half[1] * np.cos(angle), -turn * half[0] * np.sin(angle)))
    slow, quick = (0.02, 0.08), (0.3, 0.8)
    shake = motion.shake
    z = room[2] * 0.42 + _wander(rng, t, room[2] * 0.16, slow) + _wander(rng, t, 0.06 * shake, quick)
    x = x + _wander(rng, t, 0.3, slow) + _wander(rng, t, 0.06 * shake, quick)
    y = y + _wander(rng, t, 0.3, slow) + _wander(rng, t, 0.06 * shake, quick)
    yaw = heading + _wander(rng, t, 0.7, slow) + _wander(rng, t, 0.14 * shake, quick)
    pitch = 0.08 + _wander(rng, t, 0.15, slow) + _wander(rng, t, 0.1 * shake, quick)
    roll = _wander(rng, t, 0.1, slow) + _wander(rng, t, 0.12 * shake, quick)
    return np.stack([x, y, z, yaw, pitch, roll], axis=1)


def corridor_centre(room: np.ndarray, width: float) -> np.ndarray:
    """Half sides (2,) of the middle line of a corridor along the walls of the room."""
    return np.asarray((room[:2] - width) / 2)


def _walk(motion: MotionProfile, room: np.ndarray, t: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Laps around the block in the middle of the room, with a walker's gait: control points (N, 6)."""
    half = corridor_centre(room, CORRIDOR_M)
    turn = rng.choice([-1, 1])
    xy, heading = _round_block(half, motion.max_speed * 0.8 * t)
    step = 2 * np.pi * 0.9 * t  # both feet, 1.8 steps per second
    side = 0.02 * np.sin(step) + _wander(rng, t, 0.15, (0.03, 0.1))
    xy = xy + side[:, None] * np.stack([-np.sin(heading), np.cos(heading)], axis=1)
    z = 1.5 + 0.02 * np.cos(2 * step) + _wander(rng, t, 0.08, (0.05, 0.2))
    yaw = heading + 0.03 * np.sin(step + 1) + _wander(rng, t, 0.2, (0.05, 0.2))
    pitch = 0.05 + 0.015 * np.sin(2 * step) + _wander(rng, t, 0.08, (0.1, 0.4))
    roll = 0.03 * np.sin(step) + _wander(rng, t, 0.05, (0.1, 0.4))
    points = np.stack([xy[:, 0], xy[:, 1], z, yaw, pitch, roll], axis=1)
    return points * [1, turn, 1, turn, 1, turn]  # mirrored for the other way round


def _round_block(half: np.ndarray, s: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Positions (N, 2) and headings (N,) at distances s (N,) m along a rectangle with round corners."""
    straight, arc = 2 * (half - CORNER_M), CORNER_M * np.pi / 2
    lap = 2 * straight.sum() + 4 * arc
    corners = np.cumsum([straight[0] / 2, arc, straight[1], arc, straight[0], arc, straight[1], arc, straight[0] / 2])
    fine = np.linspace(0, lap, 20_000)
    turned = np.repeat(np.arange(5), 2) * np.pi / 2
    heading = np.interp(fine, np.concatenate([[0], corners]), turned)
    step = np.stack([np.cos(heading), np.sin(heading)], axis=1) * fine[1]
    line = np.array([0, -half[1]]) + np.cumsum(step, axis=0) - step / 2
    laps, rest = np.divmod(s, lap)
    xy = np.stack([np.interp(rest, fine, line[:, i]) for i in range(2)], axis=1)
    return xy, np.interp(rest, fine, heading) + 2 * np.pi * laps


_PATHS = {"flight": _flight, "walk": _walk, "rest": _flight}
