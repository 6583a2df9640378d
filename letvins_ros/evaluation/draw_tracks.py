# SPDX-License-Identifier: Apache-2.0
"""Feature tracks drawn over images."""

import cv2
import numpy as np

from letvins_ros.types import FrameTracks

TAIL = 12  # frames
_OUTLINE = (170, 170, 170)
OLD = 60  # frames, from which the colour stays
_COLOURS = cv2.applyColorMap(np.linspace(45, 240, OLD + 1).astype(np.uint8), cv2.COLORMAP_TURBO)[:, 0].tolist()
_FINE = 4  # drawing takes fixed-point positions: 1/16 px


class TrackDrawer:
    """Draws each frame's features, coloured by age, with tails to where they were before, and their first patches."""

    def __init__(self) -> None:
        self._tails: dict[int, list[np.ndarray]] = {}  # the last positions, by id

    def draw(self, image: np.ndarray, tracks: FrameTracks, outlines: np.ndarray | None = None) -> np.ndarray:
        """The image (H, W) gray with the tracks over it, (H, W, 3) BGR; frames must come in order.

        outlines (N, 4, 2): corners, px, that each feature's first patch has now; None for none.
        """
        self._tails = {
            name: [*self._tails.get(name, ())[-TAIL:], uv]
            for name, uv in zip(tracks.ids.tolist(), tracks.uv[0], strict=True)
        }
        canvas = cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)
        if outlines is not None:
            cv2.polylines(canvas, list(_fixed(outlines)), True, _OUTLINE, 1, cv2.LINE_AA, _FINE)
        for tail, age in zip(self._tails.values(), np.minimum(tracks.ages, OLD).tolist(), strict=True):
            points = _fixed(np.array(tail))
            cv2.polylines(canvas, [points[:, None]], False, _COLOURS[age], 1, cv2.LINE_AA, _FINE)
            cv2.circle(canvas, points[-1].tolist(), 3 << _FINE, _COLOURS[age], -1, cv2.LINE_AA, _FINE)
        return _with_key(canvas, len(tracks))


def _fixed(points: np.ndarray) -> np.ndarray:
    return np.rint(points * 2**_FINE).astype(np.int32)


def _with_key(canvas: np.ndarray, count: int) -> np.ndarray:
    """The canvas with the number of features and the colours' meaning in a corner, where there is room."""
    height, width = canvas.shape[:2]
    if width < 320 or height < 120:
        return canvas
    canvas[height - 22 :, :] //= 3
    text = (cv2.FONT_HERSHEY_SIMPLEX, 0.42, (255, 255, 255), 1, cv2.LINE_AA)
    cv2.putText(canvas, f"{count} features", (8, height - 7), *text)
    cv2.putText(canvas, f"age 0 to {OLD} frames", (width - 250, height - 7), *text)
    bar = np.repeat(np.array(_COLOURS, np.uint8)[None, : OLD + 1], 8, axis=0)
    canvas[height - 15 : height - 7, width - 75 : width - 75 + bar.shape[1]] = bar
    return canvas
