# SPDX-License-Identifier: Apache-2.0
"""Corners spread over the image."""

from dataclasses import dataclass

import cv2
import numpy as np

from letvins_ros.inference.keypoints import Keypoints

SUBPIXEL_STOP = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 10, 0.03)


@dataclass(frozen=True)
class GridDetector:
    """Shi-Tomasi corners (Shi 1994), found cell by cell where features are few."""

    min_distance_px: int = 20
    quality: float = 0.01  # of the best corner in the cell
    min_eigenvalue: float = 5e-5  # absolute floor, of the image in [0, 1]: below it is noise
    cells: tuple[int, int] = (8, 6)  # columns, rows

    def detect(self, gray: np.ndarray, present_uv: np.ndarray, mask: np.ndarray | None, most: int) -> np.ndarray:
        """New corners (M, 2) float32, away from the present ones (N, 2) and outside the mask's zeros; N + M <= most."""
        if _enough(present_uv, most):
            return np.zeros((0, 2), np.float32)
        free = self._free(gray.shape, present_uv, mask)
        uv, strength = self._peaks(gray, free)
        kept = self._spread(uv, strength, present_uv, free, most)
        if not len(kept):
            return kept
        return np.asarray(cv2.cornerSubPix(gray, kept[:, None].copy(), (3, 3), (-1, -1), SUBPIXEL_STOP)[:, 0])

    def choose(
        self,
        keypoints: Keypoints,
        shape: tuple[int, ...],
        present_uv: np.ndarray,
        mask: np.ndarray | None,
        most: int,
    ) -> np.ndarray:
        """New ones (M, 2) float32 of keypoints in an image of this shape; as `detect`."""
        uv, strength = keypoints.uv, keypoints.scores
        if _enough(present_uv, most) or not len(uv):
            return np.zeros((0, 2), np.float32)
        free = self._free(shape, present_uv, mask)
        column, row = _cells(uv, free).T
        allowed = free[row, column] > 0
        return self._spread(uv[allowed], strength[allowed], present_uv, free, most)

    def _free(self, shape: tuple[int, ...], present_uv: np.ndarray, mask: np.ndarray | None) -> np.ndarray:
        """Where new corners may be (H/2, W/2)."""
        size = shape[1] // 2, shape[0] // 2
        free = np.full(size[::-1], 255, np.uint8) if mask is None else cv2.resize(mask, size, None, 0, 0, 0)
        for u, v in np.rint(present_uv / 2).astype(int).tolist():
            cv2.circle(free, (u, v), round(self.min_distance_px / 2), 0, -1)
        return free

    def _peaks(self, gray: np.ndarray, free: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Local maxima (M, 2), px, and their strength (M,), best first; found at half the size, four times as fast."""
        small = cv2.resize(gray, free.shape[::-1], interpolation=cv2.INTER_AREA)
        strength = cv2.cornerMinEigenVal(small, 3)
        peak = (strength == cv2.dilate(strength, np.ones((5, 5), np.uint8))) & (strength > self.min_eigenvalue)
        peak[:2], peak[-2:], peak[:, :2], peak[:, -2:] = False, False, False, False
        row, column = np.nonzero(peak & (free > 0))
        order = np.argsort(-strength[row, column], kind="stable")
        uv = np.stack([column, row], 1)[order] * 2 + 0.5
        return uv, strength[row, column][order]

    def _spread(
        self, uv: np.ndarray, strength: np.ndarray, present_uv: np.ndarray, free: np.ndarray, most: int
    ) -> np.ndarray:
        """At most as many (M, 2) float32 of the points uv (N, 2), best first, as are wanted."""
        shape = 2 * free.shape[0], 2 * free.shape[1]
        good = self._best_of_cells(shape, uv, strength, present_uv)
        return self._apart(uv[good], free, most - len(present_uv))

    def _best_of_cells(
        self, shape: tuple[int, int], uv: np.ndarray, strength: np.ndarray, present_uv: np.ndarray
    ) -> np.ndarray:
        """Indices of the corners that are good for their cell, those of the emptiest cells first."""
        columns, rows = self.cells
        size = np.array([shape[1] / columns, shape[0] / rows])
        cell, taken = (
            np.minimum((points / size).astype(int), [columns - 1, rows - 1]) @ [1, columns]
            for points in (uv, present_uv)
        )
        best = np.zeros(columns * rows)
        np.maximum.at(best, cell, strength)
        by_cell = np.argsort(cell, kind="stable")
        first = np.searchsorted(cell[by_cell], np.arange(columns * rows))
        rank = np.empty(len(cell), int)
        rank[by_cell] = np.arange(len(cell)) - first[cell[by_cell]]
        filled = rank + np.bincount(taken, minlength=columns * rows)[cell]  # features in the cell before this one
        good = np.flatnonzero(strength > self.quality * best[cell])
        return np.asarray(good[np.argsort(filled[good], kind="stable")])

    def _apart(self, uv: np.ndarray, free: np.ndarray, wanted: int) -> np.ndarray:
        """At most so many (M, 2) float32 of uv, best first, that keep the distance; free (H/2, W/2) is used up."""
        kept, radius = [], round(self.min_distance_px / 2)
        for point, (u, v) in zip(uv, _cells(uv, free).tolist(), strict=True):
            if free[v, u]:
                kept.append(point)
                if len(kept) == wanted:
                    break
                cv2.circle(free, (u, v), radius, 0, -1)
        return np.array(kept, np.float32).reshape(-1, 2)


def _enough(present_uv: np.ndarray, most: int) -> bool:
    """Whether so few more are wanted that they are not worth the search."""
    return most - len(present_uv) <= most // 20


def _cells(uv: np.ndarray, free: np.ndarray) -> np.ndarray:
    """Column and row (N, 2) of points (N, 2) px in an image of half the size, which drops the last of odd ones."""
    return np.asarray(np.minimum(uv // 2, np.array(free.shape[::-1]) - 1).astype(int))
