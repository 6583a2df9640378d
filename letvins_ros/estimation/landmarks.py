# SPDX-License-Identifier: Apache-2.0
"""Landmarks from rays: which frames saw which, where the rays meet, and how a landmark is stepped."""

from dataclasses import dataclass

import numpy as np

from letvins_ros.estimation.frame import Frame

MIN_INVERSE_DISTANCE = 1e-3  # 1/m
MAX_INVERSE_DISTANCE = 10.0


@dataclass(frozen=True, eq=False)
class Observations:
    """K sightings of L landmarks by F frames with C cameras."""

    frame: np.ndarray  # (K,) int64, position of the frame in the window
    camera: np.ndarray  # (K,) int64
    landmark: np.ndarray  # (K,) int64, row of the landmark
    bearing: np.ndarray  # (K, 3) unit direction in the camera
    M: np.ndarray  # (K, 2, 3) px per unit of direction

    def counts(self, landmarks: int) -> np.ndarray:
        """Sightings (L,) of each landmark."""
        return np.bincount(self.landmark, minlength=landmarks)

    def matched(self) -> int:
        """How often two cameras saw a landmark at one time."""
        _, cameras = np.unique(np.stack([self.frame, self.landmark]), axis=1, return_counts=True)
        return int((cameras > 1).sum())

    def select(self, keep: np.ndarray, row_of: np.ndarray) -> "Observations":
        """Those of mask (K,), with landmarks renumbered by row_of (L,)."""
        return Observations(
            self.frame[keep], self.camera[keep], row_of[self.landmark[keep]], self.bearing[keep], self.M[keep]
        )


def sightings(ids: np.ndarray, frames: list[Frame]) -> Observations:
    """What these frames saw of these landmarks (sorted ids, not empty)."""
    every = np.concatenate([frame.ids for frame in frames])
    row = np.minimum(np.searchsorted(ids, every), len(ids) - 1)
    camera, column = np.nonzero(np.concatenate([frame.seen for frame in frames], axis=1) & (ids[row] == every))
    of_frame = np.repeat(np.arange(len(frames)), [len(frame.ids) for frame in frames])
    bearings = np.concatenate([frame.bearings for frame in frames], axis=1)
    M = np.concatenate([frame.M for frame in frames], axis=1)
    camera = np.ascontiguousarray(camera)  # else numba would compile its loops once more, for arrays with strides
    return Observations(of_frame[column], camera, row[column], bearings[camera, column], M[camera, column])


class CameraMounts:
    """Where the cameras sit on the body, stacked."""

    def __init__(self, T_body_cams: list[np.ndarray]) -> None:
        T = np.stack(T_body_cams)
        self.R_cam_body = np.ascontiguousarray(np.swapaxes(T[:, :3, :3], 1, 2))  # (C, 3, 3)
        self.p_body_cam = np.ascontiguousarray(T[:, :3, 3])  # (C, 3)

    @property
    def arrays(self) -> tuple[np.ndarray, np.ndarray]:
        """Both."""
        return self.R_cam_body, self.p_body_cam


@dataclass(frozen=True, eq=False)
class Poses:
    """Body poses in odom."""

    R: np.ndarray  # (F, 3, 3) R_odom_body
    p: np.ndarray  # (F, 3) m


def step_landmarks(landmarks: np.ndarray, steps: np.ndarray, origin: np.ndarray) -> np.ndarray:
    """Landmarks (L, 3) moved by steps (L, 3) in direction and inverse distance from an origin (L, 3).

    Inverse distance is close to linear in the pixels where distance is not (Civera 2008), so that far landmarks
    neither overshoot nor fall behind the cameras.
    """
    ray = landmarks - origin
    distance = np.linalg.norm(ray, axis=1, keepdims=True)
    u = ray / distance
    along = (steps * u).sum(1, keepdims=True)
    inverse = np.clip(1 / distance - along / distance**2, MIN_INVERSE_DISTANCE, MAX_INVERSE_DISTANCE)
    u = u + (steps - along * u) / distance
    return np.asarray(origin + u / (np.linalg.norm(u, axis=1, keepdims=True) * inverse))


@dataclass(frozen=True, eq=False)
class Triangulated:
    """Points where rays meet best."""

    points: np.ndarray  # (L, 3) m, odom
    information: np.ndarray  # (L,) least eigenvalue of the rays' spread, small where they are parallel
    ahead: np.ndarray  # (L,) bool, in front of every camera that saw it
    miss_rad: np.ndarray  # (L,) largest angle between a ray and the point


def triangulate(poses: Poses, seen: Observations, landmarks: int, mounts: CameraMounts) -> Triangulated:
    """Least-squares points of L landmarks from the rays of their sightings (Hartley and Sturm 1997, mid-point)."""
    R, p = poses.R, poses.p
    R_odom_cam = R[seen.frame] @ np.swapaxes(mounts.R_cam_body, 1, 2)[seen.camera]
    direction = (R_odom_cam @ seen.bearing[..., None])[..., 0]
    centre = p[seen.frame] + (R[seen.frame] @ mounts.p_body_cam[seen.camera][..., None])[..., 0]
    across = np.eye(3) - direction[:, :, None] * direction[:, None, :]
    H, b = np.zeros((landmarks, 3, 3)), np.zeros((landmarks, 3))
    np.add.at(H, seen.landmark, across)
    np.add.at(b, seen.landmark, (across @ centre[..., None])[..., 0])
    points = np.linalg.solve(H + 1e-12 * np.eye(3), b[..., None])[..., 0]
    ray = points[seen.landmark] - centre
    along = (ray * direction).sum(1)
    miss = np.linalg.norm(ray - along[:, None] * direction, axis=1) / np.maximum(np.linalg.norm(ray, axis=1), 1e-3)
    ahead, worst = np.ones(landmarks, bool), np.zeros(landmarks)
    np.logical_and.at(ahead, seen.landmark, along > 0.05)
    np.maximum.at(worst, seen.landmark, miss)
    return Triangulated(points, np.linalg.eigvalsh(H)[:, 0], ahead, worst)
