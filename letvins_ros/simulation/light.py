# SPDX-License-Identifier: Apache-2.0
"""Lamps of a room, baked into its surfaces with their shadows, and a lamp that the body carries."""

from dataclasses import dataclass

import cv2
import numpy as np

from letvins_ros.simulation.world import Quads

GRID_M = 0.2  # spacing of the light's samples on a surface


@dataclass(frozen=True)
class Lighting:
    """How a scenario is lit; brightness 1 shows a surface as it is painted."""

    ambient: float = 0.45
    lamps: int = 4
    lamp_power: float = 1.0
    wander: float = 0.0  # slow change of the exposure, share
    flicker: float = 0.0  # change from frame to frame, share
    relit: bool = False  # halfway through, other lamps take over
    headlamp: float = 0.0  # carried lamp's brightness in the middle of its spot at 1 m, times the room's brightest


def bake(quads: Quads, room: np.ndarray, lighting: Lighting, rng: np.random.Generator) -> list[np.ndarray]:
    """Brightness maps (h, w) float32 of every rectangle, sampled about each GRID_M, to be stretched over it."""
    spread = room * [0.4, 0.4, 0.02]
    lamps = rng.uniform(-spread, spread, (lighting.lamps, 3)) + np.array([0, 0, room[2] * 0.93])
    power = lighting.lamp_power * rng.uniform(0.6, 1.4, lighting.lamps) * room[2] ** 2 / 4
    maps = []
    for i, size in enumerate(quads.size):
        width, height = (int(side / GRID_M) + 2 for side in size)
        a, b = np.meshgrid(np.linspace(0.02, 0.98, width) * size[0], np.linspace(0.02, 0.98, height) * size[1])
        points = quads.origin[i] + a.reshape(-1, 1) * quads.u[i] + b.reshape(-1, 1) * quads.v[i]
        total = np.full(len(points), lighting.ambient)
        for lamp, strength in zip(lamps, power, strict=True):
            to_lamp = lamp - points
            distance = np.linalg.norm(to_lamp, axis=1)
            cosine = np.maximum(to_lamp @ quads.normal[i] / distance, 0) * 0.8 + 0.2  # some light comes off the walls
            total += strength * cosine / (distance**2 + 1) * np.where(_blocked(quads, points, lamp), 0.25, 1.0)
        maps.append(cv2.GaussianBlur(total.reshape(height, width).astype(np.float32), (3, 3), 0))
    return maps


def _blocked(quads: Quads, points: np.ndarray, lamp: np.ndarray) -> np.ndarray:
    """Whether any rectangle lies between each point (N, 3) and the lamp (3,): (N,) bool."""
    origins, normal = quads.origin, quads.normal

    def along(axes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Coordinates (N, Q) of the points and (Q,) of the lamp along one axis of each rectangle."""
        zero = np.einsum("qi,qi->q", origins, axes)
        return points @ axes.T - zero, axes @ lamp - zero

    height, lamp_height = along(normal)
    with np.errstate(divide="ignore", invalid="ignore"):
        share = height / (height - lamp_height)  # of the distance to the lamp, where the ray meets the plane
        within = (share > 1e-3) & (share < 1 - 1e-3)
        for axes, size in ((quads.u, quads.size[:, 0]), (quads.v, quads.size[:, 1])):
            place, lamp_place = along(axes)
            place += share * (lamp_place - place)
            within &= (place > 0) & (place < size)
    return np.asarray(within.any(axis=1))


def shade(surface: np.ndarray, brightness: np.ndarray) -> np.ndarray:
    """A surface (H, W[, 3]) uint8 under a brightness map."""
    light = cv2.resize(brightness, surface.shape[1::-1], interpolation=cv2.INTER_LINEAR)
    return cv2.multiply(surface, light if surface.ndim == 2 else cv2.merge([light] * 3), dtype=cv2.CV_8U)


def headlamp(rays: np.ndarray, inverse_depth: np.ndarray, lamp_cam: np.ndarray, axis_cam: np.ndarray) -> np.ndarray:
    """Brightness (H, W) float32 where rays (2, H, W) end, by a lamp at lamp_cam (3,) shining along axis_cam (3,)."""
    w = inverse_depth
    lamp, axis = lamp_cam.astype(np.float32), axis_cam.astype(np.float32)
    x, y, z = rays[0] - lamp[0] * w, rays[1] - lamp[1] * w, 1 - lamp[2] * w  # from the lamp, times w
    square = x * x + y * y + z * z
    cosine = (x * axis[0] + y * axis[1] + z * axis[2]) / np.sqrt(square)
    spot = np.float32(0.1) + np.exp((cosine - 1) / np.float32(0.06))
    return np.asarray(1.5 * spot * w * w / (square + np.float32(0.5) * w * w))  # 1.5 / (0.5 + distance^2)
