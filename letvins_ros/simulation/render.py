# SPDX-License-Identifier: Apache-2.0
"""What a camera sees of a world: exact rays, the nearest rectangle, filtered texture, smooth edges."""

from dataclasses import dataclass

import cv2
import numpy as np

from letvins_ros.camera import Camera
from letvins_ros.simulation.atlas import LEVELS, Atlas
from letvins_ros.simulation.world import Quads

MIN_DEPTH = 0.02  # m
MAX_DEPTH = 1e6  # m, of rays that meet nothing
NOTHING = 255  # rectangles are numbered in a byte
# Where in an edge's pixel it is sampled anew: a rotated grid, so that four rays tell four grades of both axes.
EDGE_SAMPLES = np.array([[-0.125, -0.375], [0.375, -0.125], [0.125, 0.375], [-0.375, 0.125]], np.float32)
EDGE_ROW = 128


@dataclass(frozen=True, eq=False)
class View:
    """One rendered image before light and sensor."""

    surface: np.ndarray  # (H, W[, 3]) uint8, what the surfaces' texture shows
    inverse_depth: (
        np.ndarray
    )  # (H, W) float32, 1/m along the optical axis at the pixels' centres, 1 / MAX_DEPTH: nothing


@dataclass(frozen=True, eq=False)
class _Seen:
    """The rectangles that a camera may see from a pose."""

    maps: np.ndarray  # (V, 3, 3) take a ray (x, y, 1) to (a w, b w, w): w inverse depth; a, b from -1 to 1 over it
    boxes: np.ndarray  # (V, 4) left, right, top, bottom of the pixels that may see it, ends excluded
    half: np.ndarray  # (V, 2) texels, half sides
    middle: np.ndarray  # (V, 2) texel edge x y of the middle in the atlas


@dataclass(frozen=True, eq=False)
class _Hits:
    """What rays meet, each (h, w) float32: see _Seen.maps."""

    index: np.ndarray  # (h, w) uint8 in _Seen, NOTHING where there is none
    aw: np.ndarray
    bw: np.ndarray
    w: np.ndarray


class Renderer:
    """Renders one camera's views; safe to call from several threads."""

    def __init__(self, camera: Camera, quads: Quads, atlas: Atlas, texels_per_m: float) -> None:
        """Every ray of the camera must point forward, every rectangle have its surface in the atlas."""
        if len(quads.size) > NOTHING:
            raise ValueError(f"a world may have {NOTHING} rectangles, not {len(quads.size)}")
        self._quads, self._atlas, self._density = quads, atlas, texels_per_m
        u, v = np.meshgrid(np.arange(camera.width), np.arange(camera.height))
        bearings = camera.unproject(np.stack([u.ravel(), v.ravel()], axis=1).astype(float))
        rays = (bearings[:, :2] / bearings[:, 2:]).T.reshape(2, camera.height, camera.width)
        self.rays = np.ascontiguousarray(rays, np.float32)  # (2, H, W): x and y at depth 1
        self._by_u = np.gradient(self.rays, axis=2)  # (2, H, W): change from pixel to pixel
        self._by_v = np.gradient(self.rays, axis=1)
        self._column_range = rays[0].min(axis=0), rays[0].max(axis=0)
        self._row_range = rays[1].min(axis=1), rays[1].max(axis=1)
        area = np.abs(self._by_u[0] * self._by_v[1] - self._by_u[1] * self._by_v[0])
        # A 2x2 pattern of level offsets and the lens blur together blend neighbouring levels.
        pattern = np.array([[-0.5, 0.0], [0.25, -0.25]])[v % 2, u % 2]
        self._pixel_level = (0.5 * np.log2(area) + pattern).astype(np.float32)

    def render(self, T_world_cam: np.ndarray) -> View:
        """View from a pose (4, 4); where two surfaces lie on one ray the nearer one is seen."""
        seen = self._project(T_world_cam)
        hits = _trace(self.rays, seen, seen.boxes)
        surface = self._sample(hits, self._pixel_level, seen)
        self._smooth_edges(surface, hits.index, seen)
        return View(surface, hits.w)

    def _smooth_edges(self, surface: np.ndarray, index: np.ndarray, seen: _Seen) -> None:
        """Draw the pixels where rectangles meet anew, as the mean of several rays through each."""
        edge = np.zeros(index.shape, bool)
        for step in (np.s_[1:, :], np.s_[:-1, :]), (np.s_[:, 1:], np.s_[:, :-1]):
            differs = index[step[0]] != index[step[1]]
            edge[step[0]] |= differs
            edge[step[1]] |= differs
        pixels = np.flatnonzero(edge)
        if len(pixels) == 0:
            return
        blocks = np.pad(pixels, (0, -len(pixels) % EDGE_ROW), mode="edge").reshape(-1, 1, EDGE_ROW)
        rays, by_u, by_v = (plane.reshape(2, -1)[:, blocks] for plane in (self.rays, self._by_u, self._by_v))
        fine = rays + EDGE_SAMPLES[:, :1] * by_u + EDGE_SAMPLES[:, 1:] * by_v  # (2, rows, samples, EDGE_ROW)
        rows = blocks[:, 0, [0, -1]] // index.shape[1]  # the image's rows, which grow with the pixels
        boxes = np.zeros_like(seen.boxes)
        boxes[:, 1] = fine.shape[2] * EDGE_ROW
        boxes[:, 2] = np.searchsorted(rows[:, 1], seen.boxes[:, 2] - 1)
        boxes[:, 3] = np.searchsorted(rows[:, 0], seen.boxes[:, 3], side="right")
        level = np.broadcast_to(self._pixel_level.ravel()[blocks], fine.shape[1:])
        hits = _trace(fine.reshape(2, len(blocks), -1), seen, boxes)
        samples = self._sample(hits, level.reshape(len(blocks), -1), seen)
        mean = samples.reshape(*fine.shape[1:], -1).mean(axis=1, dtype=np.float32)
        surface.reshape(index.size, -1)[blocks[:, 0]] = (mean + 0.5).astype(np.uint8)

    def _project(self, T_world_cam: np.ndarray) -> _Seen:
        """Rectangles that face the camera and reach into its image."""
        quads, R, centre = self._quads, T_world_cam[:3, :3], T_world_cam[:3, 3]
        normal = quads.normal
        height = np.einsum("qi,qi->q", normal, centre - quads.origin)
        boxes = self._pixel_boxes((quads.corners() - centre) @ R)
        seen = np.flatnonzero((height > 1e-6) & (boxes[:, 1] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 2]))
        middle = quads.corners()[seen].mean(axis=1)
        w_row = -(normal[seen] @ R) / height[seen, None]
        rows = []
        for axis, size in ((quads.u, quads.size[:, 0]), (quads.v, quads.size[:, 1])):
            shift = np.einsum("qi,qi->q", axis[seen], centre - middle)
            rows.append((axis[seen] @ R + shift[:, None] * w_row) * 2 / size[seen, None])
        half = quads.size[seen] / 2 * self._density
        return _Seen(np.stack([*rows, w_row], axis=1), boxes[seen], half, self._atlas.offset[seen] + half)

    def _pixel_boxes(self, corners_cam: np.ndarray) -> np.ndarray:
        """Boxes (Q, 4) of the pixels whose rays may meet rectangles of corners (Q, 4, 3), cut where they come near."""
        ahead = np.roll(corners_cam, -1, axis=1)
        z, z_ahead = corners_cam[..., 2], ahead[..., 2]
        with np.errstate(divide="ignore", invalid="ignore"):
            cut = corners_cam + ((MIN_DEPTH - z) / (z_ahead - z))[..., None] * (ahead - corners_cam)
            points = np.concatenate([corners_cam, cut], axis=1)
            xy = points[..., :2] / points[..., 2:]
        valid = np.concatenate([z >= MIN_DEPTH, (z < MIN_DEPTH) != (z_ahead < MIN_DEPTH)], axis=1)[..., None]
        low, high = np.where(valid, xy, np.inf).min(axis=1), np.where(valid, xy, -np.inf).max(axis=1)
        ends = []
        for axis, (smallest, largest) in enumerate((self._column_range, self._row_range)):
            ends.append(np.searchsorted(largest, low[:, axis]))
            ends.append(np.searchsorted(smallest, high[:, axis], side="right"))
        return np.stack(ends, axis=1)

    def _sample(self, hits: _Hits, pixel_level: np.ndarray, seen: _Seen) -> np.ndarray:
        """Texture (h, w[, 3]) uint8 where the rays meet it, from the level that fits each ray's footprint."""
        # The footprint's area in texels: a homography's Jacobian determinant is det M / w^3.
        level = np.log2(hits.w)
        level *= np.float32(-1.5)
        level += pixel_level
        level += _look_up(0.5 * np.log2(np.abs(np.linalg.det(seen.maps)) * seen.half.prod(axis=1)), hits.index)
        level = np.clip(level, 0, LEVELS - 1).astype(np.uint8)
        scale = _look_up(0.5 ** np.arange(LEVELS), level)
        texels = []
        for axis, values in enumerate((hits.aw, hits.bw)):
            texel = values / hits.w
            texel *= _look_up(seen.half[:, axis], hits.index)
            texel += _look_up(seen.middle[:, axis], hits.index)
            texel *= scale
            texel += _look_up(self._atlas.level_offset[:, axis] - 0.5, level)
            texels.append(texel)
        return np.asarray(cv2.remap(self._atlas.image, texels[0], texels[1], cv2.INTER_LINEAR))


def _trace(rays: np.ndarray, seen: _Seen, boxes: np.ndarray) -> _Hits:
    """What rays (2, h, w) meet first; rectangle i can only lie in box i."""
    index = np.full(rays.shape[1:], NOTHING, np.uint8)
    w = np.full(rays.shape[1:], 1 / MAX_DEPTH, np.float32)
    aw, bw = np.zeros_like(w), np.zeros_like(w)
    for i, (M, (left, right, top, bottom)) in enumerate(zip(seen.maps, boxes, strict=True)):
        if top >= bottom:
            continue  # OpenCV has no arrays without rows
        spot = np.s_[top:bottom, left:right]
        x, y = rays[0][spot], rays[1][spot]
        quad_aw, quad_bw, quad_w = (cv2.addWeighted(x, row[0], y, row[1], row[2]) for row in M)
        bound = cv2.max(cv2.max(np.abs(quad_aw), np.abs(quad_bw)), w[spot])
        nearer: np.ndarray = cv2.compare(bound, quad_w, cv2.CMP_LE)  # within the sides, ahead, and not behind another
        for values, target in ((quad_aw, aw), (quad_bw, bw), (quad_w, w), (nearer & np.uint8(i), index)):
            cv2.copyTo(values, nearer, target[spot])
    return _Hits(index, aw, bw, w)


def _look_up(table: np.ndarray, index: np.ndarray) -> np.ndarray:
    """Entries (h, w) float32 of a table of up to 255 at an index (h, w) uint8."""
    full = np.zeros(256, np.float32)
    full[: len(table)] = table
    return np.asarray(cv2.LUT(index, full))
