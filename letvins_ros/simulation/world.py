# SPDX-License-Identifier: Apache-2.0
"""Worlds of flat rectangles: a room, boxes, pillars, pipes."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Quads:
    """Rectangles origin + a * u + b * v with 0 <= a, b <= size, seen from the side of u x v."""

    origin: np.ndarray  # (Q, 3) m, world
    u: np.ndarray  # (Q, 3) unit
    v: np.ndarray  # (Q, 3) unit, across u
    size: np.ndarray  # (Q, 2) m

    @property
    def normal(self) -> np.ndarray:
        """Unit normals (Q, 3)."""
        return np.cross(self.u, self.v)

    def corners(self) -> np.ndarray:
        """Corners (Q, 4, 3) in order around each rectangle."""
        along, across = self.u * self.size[:, :1], self.v * self.size[:, 1:]
        return np.stack([self.origin, self.origin + along, self.origin + along + across, self.origin + across], axis=1)


def quad(corner: np.ndarray, along: np.ndarray, across: np.ndarray) -> Quads:
    """One rectangle from a corner (3,) and its two sides (3,)."""
    size = np.array([np.linalg.norm(along), np.linalg.norm(across)])
    return Quads(corner[None], along[None] / size[0], across[None] / size[1], size[None])


def join(parts: list[Quads]) -> Quads:
    """All rectangles in one."""
    stacked = {name: np.concatenate([getattr(part, name) for part in parts]) for name in ("origin", "u", "v", "size")}
    return Quads(**stacked)


def prism(base: np.ndarray, axis: np.ndarray) -> list[Quads]:
    """Sides of a column over a polygon (N, 3), which runs anticlockwise seen against the axis (3,)."""
    return [quad(a, b - a, axis) for a, b in zip(base, np.roll(base, -1, axis=0), strict=True)]


def box(centre: np.ndarray, size: np.ndarray, yaw: float) -> list[Quads]:
    """Sides and top of an upright box; centre (3,) is that of its bottom."""
    c, s = np.cos(yaw), np.sin(yaw)
    x, y, z = np.array([c, s, 0]) * size[0], np.array([-s, c, 0]) * size[1], np.array([0, 0, size[2]])
    low = centre - (x + y) / 2
    return [*prism(np.stack([low, low + x, low + x + y, low + y]), z), quad(low + z, x, y)]


def pipe(start: np.ndarray, end: np.ndarray, radius: float, sides: int = 7) -> list[Quads]:
    """A many-sided pipe between two points (3,), without caps."""
    axis = end - start
    across = np.cross(axis, [0.0, 0.0, 1.0] if abs(axis[2]) < 0.5 * np.linalg.norm(axis) else [1.0, 0.0, 0.0])
    across /= np.linalg.norm(across)
    up = np.cross(axis / np.linalg.norm(axis), across)
    angle = 2 * np.pi * (np.arange(sides)[:, None] + 0.5) / sides
    return prism(start + radius * (np.cos(angle) * across + np.sin(angle) * up), axis)


def room_shell(room: np.ndarray) -> list[Quads]:
    """Floor, ceiling and walls of a room of size (3,), seen from inside; the floor's centre is the origin."""
    x, y, z = np.diag(room)
    low = np.array([-room[0] / 2, -room[1] / 2, 0.0])
    ring = [low, low + y, low + x + y, low + x]  # clockwise from above: the walls face inwards
    walls = prism(np.array(ring), z)
    return [quad(low, x, y), quad(low + z, y, x), *walls]


@dataclass(frozen=True)
class Furniture:
    """How much stands in a room."""

    boxes: int = 0
    pillars: int = 0
    pipes: int = 0
    clearance_m: float = 0.8  # of everything from the body's path


def furnish(room: np.ndarray, furniture: Furniture, path: np.ndarray, rng: np.random.Generator) -> list[Quads]:
    """Boxes, pillars and pipes that keep clear of the path (N, 3); fewer where there is no place."""
    parts: list[Quads] = []
    for _ in range(furniture.boxes):
        size = rng.uniform([0.4, 0.4, 0.4], [1.1, 1.1, room[2] * 0.55])
        spot = _free_spot(room, float(np.hypot(*size[:2])) / 2, path[path[:, 2] < size[2] + 0.6], furniture, rng)
        if spot is not None:
            parts += box(spot, size, rng.uniform(0, np.pi))
    for _ in range(furniture.pillars):
        radius = rng.uniform(0.12, 0.25)
        spot = _free_spot(room, radius, path, furniture, rng)
        if spot is not None:
            parts += pipe(spot, spot + np.array([0, 0, room[2]]), radius)
    for i in range(furniture.pipes):
        parts += _wall_pipe(room, i, rng)
    return parts


def _free_spot(
    room: np.ndarray, radius: float, path: np.ndarray, furniture: Furniture, rng: np.random.Generator
) -> np.ndarray | None:
    """A place on the floor that keeps its distance from the path, None where a few dozen tries find none."""
    half = room[:2] / 2 - radius - 0.05
    for _ in range(40):
        spot = rng.uniform(-half, half)
        if len(path) == 0 or np.linalg.norm(path[:, :2] - spot, axis=1).min() > radius + furniture.clearance_m:
            return np.array([spot[0], spot[1], 0.0])
    return None


def _wall_pipe(room: np.ndarray, index: int, rng: np.random.Generator) -> list[Quads]:
    """A pipe along a wall, from end to end."""
    radius, height = rng.uniform(0.06, 0.14), rng.uniform(0.3, 0.92) * room[2]
    axis = index % 2
    gap = radius + rng.uniform(0.05, 0.35)
    start = np.array([-room[0] / 2, -room[1] / 2, height])
    start[1 - axis] += gap if index % 4 < 2 else room[1 - axis] - gap
    return pipe(start, start + np.eye(3)[axis] * room[axis], radius, 5)
