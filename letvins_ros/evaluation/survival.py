# SPDX-License-Identifier: Apache-2.0
"""Lifetimes of features, and where in the image they survive."""

from collections import Counter, deque
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from letvins_ros.types import FrameTracks

AFTER = 15  # frames
ALIVE = f"alive_after_{AFTER}_frames"
CELLS = (16, 10)  # columns, rows


class Survival:
    """Collects the tracks of a sequence."""

    def __init__(self, width: int, height: int) -> None:
        self._size = width, height
        self._recent: deque[tuple[np.ndarray, np.ndarray]] = deque(maxlen=AFTER)  # ids and cells of the last frames
        self._lengths: Counter[int] = Counter()  # frames seen, by id
        self._counts: list[int] = []  # features, by frame
        self.seen, self.alive = np.zeros(CELLS[::-1], int), np.zeros(CELLS[::-1], int)  # by cell

    def add(self, tracks: FrameTracks) -> None:
        """Add the next frame."""
        if len(self._recent) == AFTER:
            ids, cells = self._recent[0]
            np.add.at(self.seen, tuple(cells), 1)
            np.add.at(self.alive, tuple(cells[:, np.isin(ids, tracks.ids)]), 1)
        self._recent.append((tracks.ids, self._cells(tracks.uv[0])))
        self._lengths.update(tracks.ids.tolist())
        self._counts.append(len(tracks))

    def _cells(self, uv: np.ndarray) -> np.ndarray:
        """Row and column (2, N) of the cells in which features (N, 2) lie."""
        cells = ((uv + 0.5) / self._size * CELLS).astype(int)
        return np.minimum(cells, np.array(CELLS) - 1).T[::-1]

    def figures(self) -> dict[str, Any]:
        """The figures of tracks.json; NaN where there was nothing to count."""
        lengths = np.array(list(self._lengths.values()))
        seen = int(self.seen.sum())
        return {
            "frames": len(self._counts),
            "features_per_frame": float(np.mean(self._counts)) if self._counts else np.nan,
            "tracks": len(lengths),
            "track_length_mean_frames": float(lengths.mean()) if len(lengths) else np.nan,
            "track_length_median_frames": float(np.median(lengths)) if len(lengths) else np.nan,
            ALIVE: self.alive.sum() / seen if seen else np.nan,
        }

    def figure(self, title: str = "") -> Figure:
        """A map of the image: the share of each cell's features that are alive some frames later."""
        width, height = self._size
        figure = Figure(figsize=(7, 6 * height / width + 0.4), layout="constrained")
        axes = figure.add_subplot()
        share = np.where(self.seen, self.alive / np.maximum(self.seen, 1), np.nan)
        shown = axes.imshow(share, vmin=0, vmax=1, cmap="viridis", extent=(-0.5, width - 0.5, height - 0.5, -0.5))
        axes.set(title=title, xlabel="u, px", ylabel="v, px", facecolor="0.85")
        figure.colorbar(shown, ax=axes, label=f"alive after {AFTER} frames", shrink=0.8)
        return figure
