# SPDX-License-Identifier: Apache-2.0
"""Data passed between the parts. `T_a_b` takes points of b to a; time is int ns; body is the IMU frame."""

from dataclasses import dataclass
from enum import Enum

import numpy as np


def _check(name: str, array: np.ndarray, shape: tuple[int | None, ...]) -> None:
    """Raise ValueError unless the array has this shape; None matches any length."""
    pairs = zip(shape, array.shape, strict=False)
    if array.ndim != len(shape) or any(want not in (None, got) for want, got in pairs):
        wanted = ", ".join("N" if want is None else str(want) for want in shape)
        raise ValueError(f"{name} must be ({wanted}), got {array.shape}")


@dataclass(frozen=True, eq=False)
class ImageFrame:
    """The images that the cameras of the rig took at one time."""

    stamp_ns: int  # of the first camera that gave an image, in the cameras' clock
    images: tuple[np.ndarray | None, ...]  # per camera (H, W) uint8 gray or (H, W, 3) uint8 RGB; None: missing

    def __post_init__(self) -> None:
        for i, image in enumerate(self.images):
            if image is not None and (image.dtype != np.uint8 or image.ndim not in (2, 3)):
                raise ValueError(f"images[{i}] must be uint8 (H, W) or (H, W, 3), got {image.dtype} {image.shape}")


@dataclass(frozen=True, eq=False)
class ImuSamples:
    """Consecutive IMU readings in the body frame, in time order."""

    stamps_ns: np.ndarray  # (N,) int64, strictly increasing
    gyro: np.ndarray  # (N, 3) float64, rad/s
    accel: np.ndarray  # (N, 3) float64, m/s^2, specific force (+9.81 up at rest)

    def __post_init__(self) -> None:
        n = len(self.stamps_ns)
        _check("stamps_ns", self.stamps_ns, (None,))
        _check("gyro", self.gyro, (n, 3))
        _check("accel", self.accel, (n, 3))

    def __len__(self) -> int:
        return len(self.stamps_ns)

    def __getitem__(self, rows: slice) -> "ImuSamples":
        return ImuSamples(self.stamps_ns[rows], self.gyro[rows], self.accel[rows])

    def needed_for(self, time_ns: int) -> int:
        """How many of the readings tell of the time up to this one: those before it and one more."""
        return int(np.searchsorted(self.stamps_ns, time_ns)) + 1


@dataclass(frozen=True, eq=False)
class GnssFixes:
    """Positions of a GNSS antenna, in time order."""

    stamps_ns: np.ndarray  # (N,) int64, strictly increasing, of the IMU's clock
    geodetic: np.ndarray  # (N, 3) latitude and longitude in degrees, height above the ellipsoid WGS84 in m
    std: np.ndarray  # (N, 3) m, east north up; NaN where the receiver does not say it

    def __post_init__(self) -> None:
        n = len(self.stamps_ns)
        _check("stamps_ns", self.stamps_ns, (None,))
        _check("geodetic", self.geodetic, (n, 3))
        _check("std", self.std, (n, 3))

    def __len__(self) -> int:
        return len(self.stamps_ns)

    @staticmethod
    def of_rows(stamps_ns: np.ndarray, rows: np.ndarray) -> "GnssFixes":
        """From rows (N, 6): the place, then standard deviations that are not positive where they are not known."""
        return GnssFixes(stamps_ns, rows[:, :3], np.where(rows[:, 3:] > 0, rows[:, 3:], np.nan))

    def between(self, first_ns: int, last_ns: int) -> "GnssFixes":
        """Those after the first time, up to the last one."""
        rows = slice(*np.searchsorted(self.stamps_ns, [first_ns, last_ns], side="right").tolist())
        return GnssFixes(self.stamps_ns[rows], self.geodetic[rows], self.std[rows])


@dataclass(frozen=True, eq=False)
class PlaceDescription:
    """What a network says of a left image, for its place to be recognised."""

    describer: str  # the network and its weights: what others say cannot be compared
    more_uv: np.ndarray  # (M, 2) float32 left px, its own best keypoints
    descriptors: np.ndarray  # (N + M, C) float16, unit, of the N features that the left camera sees, then of these
    place: np.ndarray  # (D,) float32, unit, of the whole image

    def __post_init__(self) -> None:
        _check("more_uv", self.more_uv, (None, 2))
        _check("descriptors", self.descriptors, (None, None))
        _check("place", self.place, (None,))

    def check(self, n: int) -> None:
        """Raise ValueError unless it describes n features of the tracks."""
        _check("descriptors", self.descriptors, (n + len(self.more_uv), None))


@dataclass(frozen=True, eq=False)
class FrameTracks:
    """Features seen in one frame of the rig, in that frame's own pixels."""

    stamp_ns: int
    ids: np.ndarray  # (N,) int64, an id never returns once lost
    uv: np.ndarray  # (C, N, 2) float32 px per camera, NaN where it did not see the feature; first pixel's centre (0, 0)
    ages: np.ndarray  # (N,) int32, frames since first seen, 0 when new
    description: PlaceDescription | None = None  # where the tracker's network describes places

    def __post_init__(self) -> None:
        n = len(self.ids)
        _check("ids", self.ids, (None,))
        _check("uv", self.uv, (None, n, 2))
        _check("ages", self.ages, (n,))
        if self.description is not None:
            self.description.check(int(self.by_left.sum()))

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def cameras(self) -> int:
        """How many cameras the rig has."""
        return len(self.uv)

    @property
    def by_left(self) -> np.ndarray:
        """Which features (N,) the left camera sees."""
        return np.isfinite(self.uv[0]).all(axis=1)


@dataclass(frozen=True, eq=False)
class Matches:
    """Features of one frame found again by appearance, before geometry has rejected any of them."""

    before: np.ndarray  # (N, 3) float64 unit bearings in the leading camera at the frame before
    now: np.ndarray  # (N, 3) the same now
    inverse_distance: np.ndarray  # (N,) 1/m at the frame before, NaN unknown
    stereo_uv: np.ndarray  # (2, M, 2) px in the images of a pair, of this frame
    looked_for: int  # features that were looked for in the partner's image
    features: int  # of this frame, the new ones too

    def __post_init__(self) -> None:
        n = len(self.before)
        _check("before", self.before, (n, 3))
        _check("now", self.now, (n, 3))
        _check("inverse_distance", self.inverse_distance, (n,))
        _check("stereo_uv", self.stereo_uv, (2, None, 2))


class VioStatus(Enum):
    """Status of the estimator."""

    INITIALISING = "initialising"
    TRACKING = "tracking"
    DEGRADED = "degraded"  # running on IMU prediction or few tracks


@dataclass(frozen=True, eq=False)
class VioState:
    """The body's state at one frame or IMU sample, as estimated then (causal)."""

    stamp_ns: int
    status: VioStatus
    reason: str  # why initialising or degraded, empty when tracking
    T_odom_body: np.ndarray  # (4, 4) float64
    velocity_odom: np.ndarray  # (3,) float64, m/s
    gyro_bias: np.ndarray  # (3,) float64, rad/s
    accel_bias: np.ndarray  # (3,) float64, m/s^2
    covariance: np.ndarray  # (15, 15): position odom, rotation body, velocity odom, accel bias, gyro bias
    resets: int = 0  # the odom frame starts anew with each

    def __post_init__(self) -> None:
        _check("T_odom_body", self.T_odom_body, (4, 4))
        _check("velocity_odom", self.velocity_odom, (3,))
        _check("covariance", self.covariance, (15, 15))


@dataclass(frozen=True, eq=False)
class Keyframe:
    """A frame with what the loop closer needs to recognise its place."""

    index: int  # counts up, never reused
    stamp_ns: int
    T_odom_body: np.ndarray  # (4, 4)
    covariance: np.ndarray  # (6, 6): position odom, rotation body
    T_odom_before: np.ndarray  # (W, 4, 4) of the W keyframes before as known now, better than the T_odom_body of then
    motion_covariance: np.ndarray  # (6, 6) of the motion since the one before: position, rotation, both in this body
    ids: np.ndarray  # (N,) int64 feature ids
    uv: np.ndarray  # (N, 2) float32 left pixels
    points_body: np.ndarray  # (N, 3) float64, m, NaN where the depth is unknown
    resets: int = 0  # keyframes of different counts share no odom frame
    description: PlaceDescription | None = None  # by the tracker's network, where it describes places

    def __post_init__(self) -> None:
        n = len(self.ids)
        _check("T_odom_body", self.T_odom_body, (4, 4))
        _check("covariance", self.covariance, (6, 6))
        _check("T_odom_before", self.T_odom_before, (None, 4, 4))
        _check("motion_covariance", self.motion_covariance, (6, 6))
        _check("uv", self.uv, (n, 2))
        _check("points_body", self.points_body, (n, 3))
        if self.description is not None:
            self.description.check(n)

    def T_odom_of(self, index: int) -> np.ndarray | None:
        """An earlier keyframe's pose (4, 4) as estimated now; None where it has left the window."""
        back = self.index - index
        return self.T_odom_before[-back] if 1 <= back <= len(self.T_odom_before) else None


@dataclass(frozen=True, eq=False)
class LoopClosure:
    """A recognised place that was accepted as a loop."""

    stamp_ns: int  # of the keyframe that completed the agreement
    stamp_a_ns: int  # of the place's keyframe
    a: int  # node of the map that was recognised
    b: int | None  # node of the keyframe, None where it has become none
    T_a_b: np.ndarray  # (4, 4), from the body there to the body here
    covariance: np.ndarray  # (6, 6) of it: position, rotation, both in the body here
    inliers: int
    relocalised: bool  # it has localised the session in the map

    def __post_init__(self) -> None:
        _check("T_a_b", self.T_a_b, (4, 4))
        _check("covariance", self.covariance, (6, 6))


@dataclass(frozen=True, eq=False)
class Trajectory:
    """Poses over time of one frame in another, such as ground truth of body in world."""

    stamps_ns: np.ndarray  # (N,) int64, increasing
    positions: np.ndarray  # (N, 3) float64, m
    quaternions: np.ndarray  # (N, 4) float64, x y z w, unit

    def __post_init__(self) -> None:
        n = len(self.stamps_ns)
        _check("positions", self.positions, (n, 3))
        _check("quaternions", self.quaternions, (n, 4))

    def __len__(self) -> int:
        return len(self.stamps_ns)
