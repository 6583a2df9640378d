# SPDX-License-Identifier: Apache-2.0
"""A tracker of your own: corners that dense optical flow (DIS) carries from frame to frame."""

import sys
from pathlib import Path

import cv2
import numpy as np

from letvins_ros import Config, Odometry, fit_to_data, open_dataset


class DenseFlow:
    """A Follower: four methods; ids, prediction, stereo pairs and outliers are the tracker's affair."""

    def __init__(self) -> None:
        self._flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)

    def prepare(self, images: list[np.ndarray]) -> list[np.ndarray]:
        """Give views, here gray images: what the other methods get of each image (H, W) uint8."""
        return images

    def appearance(self, view: np.ndarray) -> np.ndarray:
        """Give the image (H, W) uint8 in which a feature's first patch holds it; None for no such help."""
        return view

    def detect(self, view: np.ndarray, present_uv: np.ndarray, mask: np.ndarray | None, most: int) -> np.ndarray:
        """Find new features (M, 2) px, 20 px away from the present ones (N, 2), so that N + M <= most."""
        free = np.full(view.shape, 255, np.uint8) if mask is None else mask.copy()
        for u, v in present_uv.round().astype(int).tolist():
            cv2.circle(free, (u, v), 20, 0, -1)
        wanted = most - len(present_uv)
        found = cv2.goodFeaturesToTrack(view, wanted, 0.01, 20, mask=free) if wanted > 0 else None
        return np.zeros((0, 2), np.float32) if found is None else found[:, 0]

    def follow(
        self, a: np.ndarray, b: np.ndarray, uv_a: np.ndarray, guess_b: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Find features (N, 2) px of view a in view b, expected near guess_b; which were found is (N,) bool."""
        uv_b = uv_a + self._displacement(a, b, uv_a)
        back = uv_b + self._displacement(b, a, uv_b)
        inside = ((uv_b >= 0) & (uv_b <= [b.shape[1] - 1, b.shape[0] - 1])).all(axis=1)
        return uv_b.astype(np.float32), inside & (np.linalg.norm(back - uv_a, axis=1) < 1.0)

    def _displacement(self, a: np.ndarray, b: np.ndarray, uv: np.ndarray) -> np.ndarray:
        flow = self._flow.calc(a, b, np.zeros((*a.shape, 2), np.float32))
        columns, rows = np.clip(uv.round().astype(int), 0, [a.shape[1] - 1, a.shape[0] - 1]).T
        return np.asarray(flow[rows, columns])


recording = open_dataset(Path(sys.argv[1]))
config, rig = fit_to_data(Config(), recording)
odometry = Odometry(config, rig, follower=DenseFlow())
if recording.imu is not None:
    odometry.add_imu(recording.imu)
states = [odometry.process(frame).step.state for frame in recording.frames()]
print(f"{sum(state.status.value == 'tracking' for state in states)} of {len(states)} frames tracked")
print(f"last position {states[-1].T_odom_body[:3, 3].round(3)} m")
