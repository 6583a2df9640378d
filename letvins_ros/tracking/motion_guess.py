# SPDX-License-Identifier: Apache-2.0
"""Where features will be, by their distances and the camera's own motion, where no gyro tells of it."""

from typing import Protocol

import numpy as np

from letvins_ros.camera import Camera
from letvins_ros.geometry import inverse
from letvins_ros.pose_from_landmarks import pose_from_landmarks

LEAST_DISPARITY_PX = 6.0  # of a landmark for the pose: what is further has a distance known worse than to a tenth
AGREE = 2.0  # times the tracker's threshold: distances have errors too
ELSEWHERE_PX = 3.0  # flow that ends so far from where the motion leads has followed something else


class Seen(Protocol):
    """Features of the last image."""

    uv: np.ndarray  # (N, 2) px
    bearings: np.ndarray  # (N, 3)
    inverse_distance: np.ndarray  # (N,) 1/m, NaN unknown
    flow: np.ndarray  # (N, 2) px


class Follow(Protocol):
    """What looks for features at their guesses: their places and which were found, see Follower."""

    def __call__(self, uv: np.ndarray, guess: np.ndarray) -> tuple[np.ndarray, np.ndarray]: ...


class MotionGuess:
    """Follows features of known distance to where the camera's motion leads.

    Of a car's camera, near features move by many times the flow that they had a moment ago, in the first pair of images
    and at low rates most of all; flow from there is lost, or worse, ends somewhere else. Most features are far and are
    found; their landmarks give the motion (P3P), and with it the others are looked for again.
    """

    def __init__(self, camera: Camera, of_a_pixel: float) -> None:
        """of_a_pixel: the inverse distance, 1/m, that one pixel of disparity shows."""
        self._camera, self._least = camera, LEAST_DISPARITY_PX * of_a_pixel
        self._T_now_last: np.ndarray | None = None  # in the last step; the next is expected to be alike

    def forget(self) -> None:
        """Expect no motion: the next step does not follow the last one."""
        self._T_now_last = None

    def follow(self, last: Seen, follow: Follow, limit_px: float) -> tuple[np.ndarray, np.ndarray]:
        """Places (N, 2) px of the features now, and which were found (N,) bool.

        limit_px: how far from where a feature is expected others of the same motion may be seen.
        """
        uv, found = follow(last.uv, self._guess(last))
        self._T_now_last = self._seen_motion(last, uv, found, AGREE * limit_px)
        if self._T_now_last is None:
            return uv, found
        guess = self._guess(last)
        apart = np.linalg.norm(uv - guess, axis=1) > ELSEWHERE_PX
        again = np.isfinite(last.inverse_distance) & (apart | ~found)
        if again.any():
            uv[again], found[again] = follow(last.uv[again], guess[again])
        return uv, found

    def _guess(self, last: Seen) -> np.ndarray:
        """Where the motion leads; where the last flow leads, of features whose distance is unknown."""
        guess = last.uv + last.flow
        if self._T_now_last is None:
            return guess
        R, t = self._T_now_last[:3, :3], self._T_now_last[:3, 3]
        uv, ahead = self._camera.project(last.bearings @ R.T + last.inverse_distance[:, None] * t)
        return np.where((ahead & np.isfinite(last.inverse_distance))[:, None], uv, guess)

    def _seen_motion(self, last: Seen, uv: np.ndarray, found: np.ndarray, limit_px: float) -> np.ndarray | None:
        """T_now_last (4, 4) of the camera, None where too few landmarks agree."""
        now = self._camera.unproject(uv)
        near = found & np.isfinite(now).all(1) & (last.inverse_distance > self._least)  # not NaN
        points = last.bearings[near] / last.inverse_distance[near, None]
        T_last_now = pose_from_landmarks(points, now[near], limit_px / self._camera.focal_px)
        return None if T_last_now is None else inverse(T_last_now)
