# SPDX-License-Identifier: Apache-2.0
"""Keyframes of a walk round a ring, without any image: landmarks on its walls, odometry that drifts."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from letvins_ros.calibration import MountedCamera
from letvins_ros.camera import Camera
from letvins_ros.config import LoopConfig
from letvins_ros.geometry import apply, exp_so3, inverse, transform
from letvins_ros.loop.closer import Answer, LoopCloser
from letvins_ros.loop.features import KeyframeFeatures
from letvins_ros.loop.map_file import MapInfo
from letvins_ros.loop.motion import exp, swap_blocks
from letvins_ros.loop.place_map import PlaceMap
from letvins_ros.types import Keyframe

SECOND = 1_000_000_000
BODY_LOOKING_AHEAD = np.array([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]])  # of a camera: z ahead, in a body with x ahead
CAMERA = MountedCamera(
    Camera("pinhole-radtan", 752, 480, (460.0, 460.0, 376.0, 240.0)),
    transform(BODY_LOOKING_AHEAD, np.array([0.1, 0.0, 0.0])),
)
STEP_STD = np.array([1e-4, 1e-4, 1e-3, 4e-3, 4e-3, 2e-3])  # rad, m: of odometry, per keyframe
BLANK = np.zeros((480, 752), np.uint8)


class LandmarkDescriber:
    """Describes a landmark by random bits that belong to its id, and a place by those of all that is seen."""

    name = "landmarks"
    place_size = 256

    def describe(self, image: np.ndarray, keyframe: Keyframe) -> KeyframeFeatures:
        bits = np.stack([np.random.default_rng(int(i)).integers(0, 256, 32, np.uint8) for i in keyframe.ids])
        place = (np.unpackbits(bits, axis=1) * 2.0 - 1).sum(axis=0).astype(np.float32)
        points = keyframe.points_body.astype(np.float32)
        return KeyframeFeatures(keyframe.uv, bits, points, keyframe.ids, place / np.linalg.norm(place))


@dataclass(frozen=True, eq=False)
class Ring:
    """A street in a circle, two walls full of landmarks."""

    radius: float
    seed: int = 0
    per_metre: int = 12

    def landmarks(self) -> np.ndarray:
        """(L, 3) m, ordered along the street."""
        rng = np.random.default_rng(self.seed)
        count = int(2 * np.pi * self.radius * self.per_metre)
        angle = np.linspace(0, 2 * np.pi, count, endpoint=False)
        radius = self.radius + np.where(rng.random(count) < 0.5, -2.0, 2.0)
        return np.stack([radius * np.cos(angle), radius * np.sin(angle), rng.uniform(-1.5, 1.5, count)], axis=1)

    def poses(self, distance: np.ndarray) -> np.ndarray:
        """T_world_body (N, 4, 4) after these metres."""
        angle = distance / self.radius
        R = exp_so3(np.stack([0 * angle, 0 * angle, angle + np.pi / 2], axis=1))
        return transform(R, np.stack([self.radius * np.cos(angle), self.radius * np.sin(angle), 0 * angle], axis=1))


def walk(ring: Ring, distance: np.ndarray, seed: int = 0, visible: int = 60, drift: float = 1.0) -> Iterator[Keyframe]:
    """A keyframe at each of these metres (N,) of path, one a second."""
    rng, landmarks, truth = np.random.default_rng(seed), ring.landmarks(), ring.poses(distance)
    T_odom_body, covariance = truth[0], np.diag((STEP_STD * max(drift, 0.1)) ** 2)
    id_base = ring.seed * 10_000_000
    for i, T in enumerate(truth):
        T_previous_this = inverse(truth[i - 1]) @ T @ exp(rng.normal(0, STEP_STD) * drift) if i else np.eye(4)
        T_before, T_odom_body = T_odom_body[None] if i else np.zeros((0, 4, 4)), T_odom_body @ T_previous_this
        first = int(distance[i] * ring.per_metre) + 2 * ring.per_metre
        near = np.arange(first, first + 3 * visible) % len(landmarks)
        points = apply(inverse(T), landmarks[near])
        uv, valid = CAMERA.camera.project(apply(inverse(CAMERA.T_body_cam), points))
        seen = np.flatnonzero(valid)[:visible]
        points = points[seen] * (1 + rng.normal(0, 0.01, (len(seen), 1)))
        pixels = (uv[seen] + rng.normal(0, 0.5, (len(seen), 2))).astype(np.float32)
        yield Keyframe(
            i, i * SECOND, T_odom_body, np.eye(6) * 1e-4, T_before, swap_blocks(covariance),
            id_base + near[seen].astype(np.int64), pixels, points,
        )  # fmt: skip


RING = Ring(8.0)
LAP = 2 * np.pi * RING.radius
INFO = replace(MapInfo.of(CAMERA, True), describer=LandmarkDescriber.name)
DEFAULT = LoopConfig()


def distances(first: float, last: float) -> np.ndarray:
    """From one metre to another, as far apart as keyframes are."""
    return np.arange(first, last, 0.4)


def closer(config: LoopConfig = DEFAULT, places: PlaceMap | None = None) -> LoopCloser:
    """One that knows the landmarks of a walk."""
    return LoopCloser(config, CAMERA, True, places, LandmarkDescriber())


def follow(it: LoopCloser, keyframes: Iterable[Keyframe]) -> list[Answer]:
    return [it.add(keyframe, BLANK) for keyframe in keyframes]
