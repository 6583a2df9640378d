# SPDX-License-Identifier: Apache-2.0
"""Synthetic shapes whose corners are known, drawn on the fly: what MagicPoint learns from (DeTone et al. 2018)."""

from collections.abc import Callable
from itertools import pairwise

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from training.data.homographies import SUPERPOINT, random_homography, transfer, warp
from training.data.photometric import MAGICPOINT, change

DRAWN = (480, 640)  # height, width before the picture is made small
Picture = np.ndarray  # (H, W) uint8
Draw = Callable[[Picture, np.random.Generator], np.ndarray]  # draws into the picture, returns corners (N, 2)


def background(rng: np.random.Generator, size: tuple[int, int] = DRAWN) -> Picture:
    """Blurred blobs of random grays."""
    height, width = size
    picture = np.full(size, rng.integers(30, 226), np.uint8)
    for _ in range(100):
        centre = (int(rng.integers(width)), int(rng.integers(height)))
        cv2.circle(picture, centre, int(rng.integers(min(size) // 30, min(size) // 8)), _gray(rng), -1)
    return cv2.blur(picture, (int(rng.integers(75, 200)),) * 2)


def lines(picture: Picture, rng: np.random.Generator) -> np.ndarray:
    """Segments that do not cross; their ends count."""
    drawn: list[np.ndarray] = []
    for _ in range(int(rng.integers(1, 9))):
        ends = _places(picture, rng, 2)
        if all(not _cross(ends, other) for other in drawn):
            drawn.append(ends)
            start, end = _ints(ends)
            cv2.line(picture, start, end, _far_gray(picture, ends, rng), int(rng.integers(3, 9)))
    return np.concatenate(drawn)


def polygon(picture: Picture, rng: np.random.Generator) -> np.ndarray:
    """One convex-angled polygon of 3 to 6 corners."""
    size = min(picture.shape)
    centre = rng.uniform([0.3, 0.3], [0.7, 0.7]) * picture.shape[::-1]
    return _polygon(picture, rng, centre, rng.uniform(size / 10, size / 2))


def polygons(picture: Picture, rng: np.random.Generator) -> np.ndarray:
    """Several polygons that do not touch."""
    circles: list[tuple[np.ndarray, float]] = []
    corners: list[np.ndarray] = []
    for _ in range(40):
        centre, radius = _places(picture, rng, 1)[0], rng.uniform(min(picture.shape) / 16, min(picture.shape) / 6)
        if all(np.linalg.norm(centre - c) > radius + r + 4 for c, r in circles):
            circles.append((centre, radius))
            corners.append(_polygon(picture, rng, centre, radius))
    return np.concatenate(corners)


def ellipses(picture: Picture, rng: np.random.Generator) -> np.ndarray:
    """Ellipses have no corners."""
    for _ in range(int(rng.integers(3, 20))):
        centre = _places(picture, rng, 1)
        axes = rng.uniform(8, min(picture.shape) / 8, 2)
        angle = rng.uniform(0, 180)
        cv2.ellipse(picture, _ints(centre)[0], _ints(axes[None])[0], angle, 0, 360, _far_gray(picture, centre, rng), -1)
    return np.zeros((0, 2))


def star(picture: Picture, rng: np.random.Generator) -> np.ndarray:
    """Rays from one point."""
    centre = rng.uniform([0.35, 0.35], [0.65, 0.65]) * picture.shape[::-1]
    angles = _spread_angles(rng, int(rng.integers(3, 7)))
    reach = rng.uniform(min(picture.shape) / 8, min(picture.shape) / 3, len(angles))
    ends = centre + np.stack([np.cos(angles), np.sin(angles)], axis=1) * reach[:, None]
    gray, width = _far_gray(picture, ends, rng), int(rng.integers(3, 9))
    for end in ends:
        cv2.line(picture, _ints(centre[None])[0], _ints(end[None])[0], gray, width)
    return np.concatenate([[centre], ends])


def checkerboard(picture: Picture, rng: np.random.Generator) -> np.ndarray:
    """A slanted board; every crossing counts."""
    columns, rows = (int(n) for n in rng.integers(3, 8, 2))
    H = _slant(picture, rng, columns, rows)
    last = int(rng.integers(256))
    for i in range(rows):
        for j in range(columns):
            square = np.array([[j, i], [j + 1, i], [j + 1, i + 1], [j, i + 1]], float)
            base = last if (i + j) % 2 else (last + 128) % 256
            gray = int(np.clip(base + rng.integers(-20, 21), 0, 255))
            cv2.fillConvexPoly(picture, np.rint(transfer(H, square)).astype(np.int32), gray)
    x, y = np.meshgrid(np.arange(columns + 1), np.arange(rows + 1))
    return transfer(H, np.stack([x.ravel(), y.ravel()], axis=1).astype(float))


def stripes(picture: Picture, rng: np.random.Generator) -> np.ndarray:
    """Slanted stripes of several widths; their ends count."""
    count = int(rng.integers(3, 9))
    edges = np.concatenate([[0], np.cumsum(rng.uniform(0.5, 1.5, count))])
    H = _slant(picture, rng, float(edges[-1]), float(rng.uniform(1, 3)), 1.0)
    gray = int(rng.integers(256))
    for k, (left, right) in enumerate(pairwise(edges)):
        stripe = np.array([[left, 0], [right, 0], [right, 1], [left, 1]])
        shade = int((gray + 128 * (k % 2) + rng.integers(0, 30)) % 256)
        cv2.fillConvexPoly(picture, np.rint(transfer(H, stripe)).astype(np.int32), shade)
    return transfer(H, np.array([[x, y] for x in edges for y in (0.0, 1.0)]))


def cube(picture: Picture, rng: np.random.Generator) -> np.ndarray:
    """A turned box with three faces seen; its seven visible corners count."""
    turn, tilt = rng.uniform(0.35, np.pi / 2 - 0.35), rng.uniform(0.35, 0.9)
    sides = rng.uniform(min(picture.shape) / 8, min(picture.shape) / 3, 3)
    axes = np.array(
        [
            [np.cos(turn), np.sin(turn) * np.sin(tilt)],
            [-np.sin(turn), np.cos(turn) * np.sin(tilt)],
            [0, -np.cos(tilt)],
        ]
    )
    x, y, z = axes * sides[:, None]
    centre = rng.uniform([0.4, 0.45], [0.6, 0.65]) * picture.shape[::-1]
    near = centre + (x + y + z) / 2  # the corner towards the viewer
    faces = [[near, near - x, near - x - y, near - y], [near, near - x, near - x - z, near - z]]
    faces.append([near, near - y, near - y - z, near - z])
    base = _far_gray(picture, near[None], rng)
    for k, face in enumerate(faces):
        cv2.fillConvexPoly(picture, np.rint(face).astype(np.int32), int((base + 60 * k) % 256))
    return np.array([near, near - x, near - y, near - z, near - x - y, near - x - z, near - y - z])


def noise(picture: Picture, rng: np.random.Generator) -> np.ndarray:
    """Noise has no corners."""
    picture[:] = rng.integers(0, 256, picture.shape, np.uint8)
    return np.zeros((0, 2))


PRIMITIVES: dict[str, Draw] = {
    "lines": lines,
    "polygon": polygon,
    "polygons": polygons,
    "ellipses": ellipses,
    "star": star,
    "checkerboard": checkerboard,
    "stripes": stripes,
    "cube": cube,
    "noise": noise,
}


def draw(name: str, rng: np.random.Generator, size: tuple[int, int]) -> tuple[Picture, np.ndarray]:
    """Picture (height, width) of a primitive and its corners (N, 2) px that lie within."""
    picture = background(rng)
    corners = PRIMITIVES[name](picture, rng)
    if name != "noise":
        picture = cv2.GaussianBlur(picture, (11, 11), 0)
    scale = np.array([size[1] / DRAWN[1], size[0] / DRAWN[0]])
    corners = (corners + 0.5) * scale - 0.5
    small = cv2.resize(picture, size[::-1], interpolation=cv2.INTER_AREA)
    return small, inside(corners, size)


def inside(uv: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Those of (N, 2) that lie in the picture."""
    return uv[((uv >= 0) & (uv <= np.array(size[::-1]) - 1)).all(axis=1)]


def point_map(uv: np.ndarray, size: tuple[int, int], sure: np.ndarray | float = 1.0) -> np.ndarray:
    """(H, W) float32: how sure (N,) the points (N, 2) px are, at the pixels nearest to those in the picture."""
    found = np.zeros(size, np.float32)
    seen = ((uv >= 0) & (uv <= np.array(size[::-1]) - 1)).all(axis=1)
    x, y = np.rint(uv[seen]).astype(int).T
    np.maximum.at(found, (y, x), np.broadcast_to(sure, len(uv))[seen].astype(np.float32))
    return found


class SyntheticShapes(Dataset[dict[str, Tensor]]):
    """Item i of a seed is always the same: image (1, H, W) 0..1 and points (H, W), 1 at corners."""

    def __init__(self, length: int, seed: int, size: tuple[int, int] = (120, 160), plain: bool = False) -> None:
        self._length, self._seed, self._size, self._plain = length, seed, size, plain

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        rng = np.random.default_rng([self._seed, index])
        name = list(PRIMITIVES)[rng.integers(len(PRIMITIVES))]
        picture, corners = draw(name, rng, self._size)
        if not self._plain:
            H = random_homography(rng, self._size, SUPERPOINT)
            picture, corners = warp(picture, H, self._size), inside(transfer(H, corners), self._size)
            picture = change(np.repeat(picture[..., None], 3, axis=2), MAGICPOINT, rng)[..., 0]
        image = torch.from_numpy(picture.astype(np.float32))[None] / 255
        return {"image": image, "points": torch.from_numpy(point_map(corners, self._size))}


def _polygon(picture: Picture, rng: np.random.Generator, centre: np.ndarray, radius: float) -> np.ndarray:
    angles = _spread_angles(rng, int(rng.integers(3, 7)))
    corners = centre + np.stack([np.cos(angles), np.sin(angles)], axis=1) * radius * rng.uniform(
        0.8, 1, (len(angles), 1)
    )
    cv2.fillPoly(picture, [np.rint(corners).astype(np.int32)], _far_gray(picture, corners, rng))
    return np.asarray(corners)


def _spread_angles(rng: np.random.Generator, count: int) -> np.ndarray:
    """Directions all round, none near its neighbours."""
    return rng.uniform(0, 2 * np.pi) + (np.arange(count) + rng.uniform(-0.25, 0.25, count)) * 2 * np.pi / count


def _slant(
    picture: Picture, rng: np.random.Generator, columns: float, rows: float, height: float | None = None
) -> np.ndarray:
    """Homography from a board of columns x rows units to a slanted part of the picture."""
    shape = np.array(picture.shape[::-1], float)
    corners = np.array([[-0.5, -0.5], [0.5, -0.5], [0.5, 0.5], [-0.5, 0.5]]) * [1, min(rows / columns, 1)]
    angle = rng.uniform(0, 2 * np.pi)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    seen = shape * rng.uniform(0.4, 0.6, 2) + (corners + rng.uniform(-0.1, 0.1, (4, 2))) @ turn.T * min(shape) * 0.9
    top = rows if height is None else height
    board = np.array([[0, 0], [columns, 0], [columns, top], [0, top]], np.float32)
    return np.asarray(cv2.getPerspectiveTransform(board, seen.astype(np.float32)))


def _places(picture: Picture, rng: np.random.Generator, count: int) -> np.ndarray:
    return rng.uniform([0, 0], picture.shape[::-1], (count, 2))


def _cross(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether two segments (2, 2) cross."""

    def side(p: np.ndarray, q: np.ndarray, r: np.ndarray) -> bool:
        return bool((r[1] - p[1]) * (q[0] - p[0]) > (q[1] - p[1]) * (r[0] - p[0]))

    return side(a[0], b[0], b[1]) != side(a[1], b[0], b[1]) and side(a[0], a[1], b[0]) != side(a[0], a[1], b[1])


def _gray(rng: np.random.Generator) -> int:
    return int(rng.integers(256))


def _far_gray(picture: Picture, at: np.ndarray, rng: np.random.Generator) -> int:
    """A gray that differs from what is there."""
    x, y = np.clip(at.mean(axis=0), 0, np.array(picture.shape[::-1]) - 1).astype(int)
    return int((int(picture[y, x]) + rng.integers(50, 206)) % 256)


def _ints(points: np.ndarray) -> list[tuple[int, int]]:
    return [(int(x), int(y)) for x, y in np.rint(points)]
