# SPDX-License-Identifier: Apache-2.0
"""Corners spread over the image."""

from dataclasses import dataclass

import cv2
import numpy as np

SUBPIXEL_STOP = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 10, 0.03)


@dataclass(frozen=True)
class GridDetector:
    """Shi-Tomasi corners (Shi 1994), found cell by cell where features are few."""

    max_features: int = 200
    min_distance_px: int = 20
    quality: float = 0.01  # of the best corner in the cell
    min_eigenvalue: float = 5e-5  # absolute floor, of the image in [0, 1]: below it is noise
    cells: tuple[int, int] = (8, 6)  # columns, rows
    cells_per_call: int = 16  # the emptiest cells only, so that the time is bounded

    def detect(self, gray: np.ndarray, present_uv: np.ndarray, mask: np.ndarray | None) -> np.ndarray:
        """New corners (M, 2) float32, away from the present ones (N, 2) and outside the mask's zeros."""
        wanted = self.max_features - len(present_uv)
        if wanted <= 0:
            return np.zeros((0, 2), np.float32)
        free = np.full(gray.shape, 255, np.uint8) if mask is None else mask.copy()
        for u, v in np.rint(present_uv).astype(int).tolist():
            cv2.circle(free, (u, v), self.min_distance_px, 0, -1)
        found = self._in_cells(gray, free, self._counts(gray, present_uv))
        if not len(found):
            return np.zeros((0, 2), np.float32)
        kept = found[np.argsort(-found[:, 2], kind="stable")]
        kept = self._apart(kept[:, :2])[:wanted].astype(np.float32)
        return np.asarray(cv2.cornerSubPix(gray, kept[:, None].copy(), (3, 3), (-1, -1), SUBPIXEL_STOP)[:, 0])

    def _counts(self, gray: np.ndarray, uv: np.ndarray) -> np.ndarray:
        columns, rows = self.cells
        height, width = gray.shape
        counts, _, _ = np.histogram2d(uv[:, 1], uv[:, 0], bins=(rows, columns), range=((0, height), (0, width)))
        return counts

    def _in_cells(self, gray: np.ndarray, free: np.ndarray, counts: np.ndarray) -> np.ndarray:
        """Corners (M, 3) of the emptiest cells: u, v, strength."""
        columns, rows = self.cells
        height, width = gray.shape
        per_cell = int(np.ceil(self.max_features / (columns * rows)))
        found = []
        for cell in np.argsort(counts, axis=None, kind="stable")[: self.cells_per_call]:
            row, column = divmod(int(cell), columns)
            room = per_cell + 1 - int(counts[row, column])
            if room <= 0:
                break
            top, bottom = row * height // rows, (row + 1) * height // rows
            left, right = column * width // columns, (column + 1) * width // columns
            inside = slice(top, bottom), slice(left, right)
            if not free[inside].any():
                continue
            corners, strength = cv2.goodFeaturesToTrackWithQuality(
                gray[inside], room, self.quality, self.min_distance_px, free[inside]
            )[:2]
            if corners is not None and strength is not None:
                strong = strength.ravel() > self.min_eigenvalue
                found.append(np.c_[corners[:, 0] + [left, top], strength.ravel()][strong])
        return np.concatenate(found) if found else np.zeros((0, 3))

    def _apart(self, uv: np.ndarray) -> np.ndarray:
        """Those of uv (M, 2), best first, that keep the distance: cells know nothing of their neighbours."""
        kept = np.ones(len(uv), bool)
        for i in range(len(uv)):
            if kept[i]:
                kept[i + 1 :] &= ((uv[i + 1 :] - uv[i]) ** 2).sum(1) >= self.min_distance_px**2
        return np.asarray(uv[kept])
