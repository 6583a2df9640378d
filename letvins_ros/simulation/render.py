# SPDX-License-Identifier: Apache-2.0
"""What a camera sees of a world: exact rays through every pixel's centre, nearest rectangle, filtered texture."""

from dataclasses import dataclass

import cv2
import numpy as np

from letvins_ros.camera import Camera
from letvins_ros.simulation.atlas import LEVELS, Atlas
from letvins_ros.simulation.world import MAX_QUADS, Quads

NEAR = 0.02  # m
NOTHING = 255


@dataclass(frozen=True, eq=False)
class View:
    """One rendered image before light and sensor."""

    surface: np.ndarray  # (H, W[, 3]) uint8, what the surfaces' texture shows
    inverse_depth: np.ndarray  # (H, W) float32, 1/m along the optical axis, 0 where there is nothing


class Renderer:
    """Renders one camera's views; safe to call from several threads."""

    def __init__(self, camera: Camera, quads: Quads, atlas: Atlas, texels_per_m: float) -> None:
        """Every ray of the camera must point forward, every rectangle have its surface in the atlas."""
        self._quads, self._atlas, self._density = quads, atlas, texels_per_m
        u, v = np.meshgrid(np.arange(camera.width), np.arange(camera.height))
        bearings = camera.unproject(np.stack([u.ravel(), v.ravel()], axis=1).astype(float))
        rays = (bearings[:, :2] / bearings[:, 2:]).reshape(camera.height, camera.width, 2)
        self.rays = np.ascontiguousarray(rays.transpose(2, 0, 1), np.float32)  # (2, H, W): x and y at depth 1
        x, y = self.rays
        self._column_range = x.min(axis=0), x.max(axis=0)
        self._row_range = y.min(axis=1), y.max(axis=1)
        (x_v, x_u), (y_v, y_u) = np.gradient(x), np.gradient(y)
        # A 2x2 pattern of level offsets and the lens blur together blend neighbouring levels.
        pattern = np.tile(
            np.array([[0.0, 0.5], [0.75, 0.25]], np.float32), (camera.height // 2 + 1, camera.width // 2 + 1)
        )
        dither = pattern[: camera.height, : camera.width] - 0.5
        self._pixel_level = (0.5 * np.log2(np.abs(x_u * y_v - x_v * y_u)) + dither).astype(np.float32)

    def render(self, T_world_cam: np.ndarray) -> View:
        """View from a pose (4, 4); where two surfaces lie in one pixel the nearer one is seen."""
        maps, boxes, visible = self._project(T_world_cam)
        height, width = self.rays.shape[1:]
        index = np.full((height, width), NOTHING, np.uint8)
        w = np.full((height, width), 1e-6, np.float32)
        a, b = np.zeros((2, height, width), np.float32)
        for i, (M, (left, right, top, bottom)) in enumerate(zip(maps, boxes, strict=True)):
            spot = np.s_[top:bottom, left:right]
            x, y = self.rays[0][spot], self.rays[1][spot]
            qa, qb, qw = (cv2.addWeighted(x, row[0], y, row[1], row[2]) for row in M)
            bound = cv2.max(cv2.max(np.abs(qa), np.abs(qb)), w[spot])
            nearer = cv2.compare(bound, qw, cv2.CMP_LE)
            for target, values in ((a, qa), (b, qb), (w, qw)):
                cv2.copyTo(values, nearer, target[spot])
            index[spot][nearer > 0] = i
        return View(self._sample(index, a, b, w, visible, maps), np.where(index == NOTHING, np.float32(0), w))

    def _project(self, T_world_cam: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Maps (V, 3, 3) of the V rectangles that may be seen, their pixel boxes (V, 4) and their indices (V,).

        A map takes a ray (x, y, 1) to (a w, b w, w): w is the inverse depth, a and b run from -1 to 1 over the rectangle.
        """
        quads, R, centre = self._quads, T_world_cam[:3, :3], T_world_cam[:3, 3]
        middle = quads.origin + (quads.u * quads.size[:, :1] + quads.v * quads.size[:, 1:]) / 2
        normal = quads.normal
        height = np.einsum("qi,qi->q", normal, centre - middle)
        boxes = self._pixel_boxes((quads.corners() - centre) @ R)
        seen = np.flatnonzero((height > 1e-6) & (boxes[:, 1] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 2]))
        w_row = -(normal[seen] @ R) / height[seen, None]
        rows = []
        for axis, size in ((quads.u, quads.size[:, 0]), (quads.v, quads.size[:, 1])):
            shift = np.einsum("qi,qi->q", axis[seen], centre - middle[seen])
            rows.append((axis[seen] @ R + shift[:, None] * w_row) * 2 / size[seen, None])
        return np.stack([*rows, w_row], axis=1), boxes[seen], seen

    def _pixel_boxes(self, corners_cam: np.ndarray) -> np.ndarray:
        """Boxes (Q, 4) left, right, top, bottom (ends excluded) that hold all pixels whose rays may meet a rectangle."""
        ahead = np.roll(corners_cam, -1, axis=1)
        z, z_ahead = corners_cam[..., 2], ahead[..., 2]
        with np.errstate(divide="ignore", invalid="ignore"):
            cut = corners_cam + ((NEAR - z) / (z_ahead - z))[..., None] * (ahead - corners_cam)
        crosses = (z < NEAR) != (z_ahead < NEAR)
        points = np.concatenate([corners_cam, cut], axis=1)
        valid = np.concatenate([z >= NEAR, crosses], axis=1)[..., None]
        with np.errstate(divide="ignore", invalid="ignore"):
            xy = points[..., :2] / points[..., 2:]
        low, high = np.where(valid, xy, np.inf).min(axis=1), np.where(valid, xy, -np.inf).max(axis=1)
        ends = []
        for axis, (smallest, largest) in enumerate((self._column_range, self._row_range)):
            ends.append(np.searchsorted(largest, low[:, axis]))
            ends.append(np.searchsorted(smallest, high[:, axis], side="right"))
        return np.stack(ends, axis=1)

    def _sample(
        self, index: np.ndarray, a: np.ndarray, b: np.ndarray, w: np.ndarray, visible: np.ndarray, maps: np.ndarray
    ) -> np.ndarray:
        """Texture (H, W[, 3]) uint8 at rectangle coordinates a / w and b / w, from the level that fits the pixel's footprint."""
        half = self._quads.size[visible] / 2 * self._density
        middle = self._atlas.offset[visible] + half
        shrink = 0.5 * np.log2(np.abs(np.linalg.det(maps)) * half.prod(axis=1))
        # The footprint's area: a homography's Jacobian determinant is det M / w^3.
        level = self._pixel_level + _look_up(shrink, index)
        level -= np.float32(1.5) * np.log2(w)
        level = np.clip(level, 0, LEVELS - 1).astype(np.uint8)
        scale = _look_up(0.5 ** np.arange(LEVELS), level)
        coordinates = []
        for axis, values in enumerate((a, b)):
            texel = values / w * _look_up(half[:, axis], index) + _look_up(middle[:, axis], index)
            coordinates.append(texel * scale + _look_up(self._atlas.level_offset[:, axis] - 0.5, level))
        return cv2.remap(self._atlas.image, *coordinates, cv2.INTER_LINEAR)


def _look_up(table: np.ndarray, index: np.ndarray) -> np.ndarray:
    """Entries (H, W) float32 of a table of up to 255 at an index (H, W) uint8."""
    full = np.zeros(256, np.float32)
    full[: len(table)] = table
    return cv2.LUT(index, full)


assert MAX_QUADS < NOTHING
