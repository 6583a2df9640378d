# SPDX-License-Identifier: Apache-2.0
"""GNSS fixes for the map: where odometry had the antenna at their times, and how a session lies east, north, up."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from letvins_ros.geometry import apply, transform, yaw_rotation
from letvins_ros.types import GnssFixes

HISTORY_S = 10.0  # of odometry that is kept for fixes that come late
MAX_GAP_S, MAX_GAP_M = 2.0, 1.0  # of odometry; over more, where the antenna was in between is not known
ACCELERATION = 2.0  # m/s^2, by which the path between two poses bends away from a line
CAUCHY = 4.0  # standard deviations: a reflection is further off, and pulls no more
ALIGNED_STD = 0.05  # rad, of the heading, from which a session can be aligned
ALIGNED_RESIDUAL = 3.0  # median of its residuals in standard deviations: more is no alignment
REWEIGHTED = 20  # times


@dataclass(frozen=True, eq=False)
class Fix:
    """A measured position of the antenna, carried by a keyframe of the graph."""

    node: int
    arm: np.ndarray  # (3,) m, from the keyframe's level frame to the antenna, in that frame
    p_map: np.ndarray  # (3,) m, as measured
    std: np.ndarray  # (3,) m

    def joined(self, other: "Fix", arm: np.ndarray) -> "Fix":
        """Both as one of this keyframe, from which `arm` (3,) leads to the other's antenna.

        A mean of fixes is the fix of the mean, wherever the keyframe is. Those of one keyframe err alike and count as
        one.
        """
        w, v = self.std**-2, other.std**-2
        share = float(v.sum() / (w + v).sum())
        arm, p_map = self.arm + share * (arm - self.arm), self.p_map + share * (other.p_map - self.p_map)
        std = np.maximum(self.std, other.std) if other.node == self.node else (w + v) ** -0.5
        return Fix(self.node, arm, p_map, std)

    def sigmas(self, T_map_level: np.ndarray) -> float:
        """Distance from where the keyframe's pose (4, 4) has the antenna, in standard deviations."""
        residual = T_map_level[:3, :3] @ self.arm + T_map_level[:3, 3] - self.p_map
        return float(np.linalg.norm(residual / self.std))

    def weighted_std(self, T_map_level: np.ndarray) -> np.ndarray:
        """Standard deviations (3,) with which a least-squares step is one of a Cauchy loss."""
        return np.asarray(self.std * np.hypot(1.0, self.sigmas(T_map_level) / CAUCHY))


def align(p: np.ndarray, p_map: np.ndarray, std: np.ndarray) -> np.ndarray | None:
    """T (4, 4), a rotation about z and a translation, that takes positions p (N, 3) to p_map (N, 3) with std (N, 3).

    Wrong ones count less. None where they do not tell the heading well enough, or do not fit.
    """
    weights, T = 1 / np.square(std).mean(1), np.eye(4)
    for _ in range(REWEIGHTED):
        T, heading_std = _aligned(p, p_map, weights)
        sigmas = np.linalg.norm((apply(T, p) - p_map) / std, axis=1)
        weights = 1 / np.square(std).mean(1) / (1 + (sigmas / CAUCHY) ** 2)
    return T if heading_std < ALIGNED_STD and np.median(sigmas) < ALIGNED_RESIDUAL else None


def _aligned(p: np.ndarray, p_map: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, float]:
    """The least-squares transform, and the standard deviation of its heading, rad."""
    share = weights / weights.sum()
    mean, mean_map = share @ p, share @ p_map
    d, m = p - mean, p_map - mean_map
    yaw = np.arctan2(weights @ (d[:, 0] * m[:, 1] - d[:, 1] * m[:, 0]), weights @ (d[:, :2] * m[:, :2]).sum(1))
    R = yaw_rotation(float(yaw))
    return transform(R, mean_map - R @ mean), float((weights @ np.square(d[:, :2]).sum(1) + 1e-12) ** -0.5)


@dataclass(frozen=True, eq=False)
class LocatedFix:
    """A fix whose place in the odometry chain is known."""

    stamp_ns: int
    p_chain: np.ndarray  # (3,) m, the antenna by odometry
    geodetic: np.ndarray  # (3,) see GnssFixes
    std: np.ndarray  # (3,) m


class FixQueue:
    """Fixes that wait until odometry has come to their time."""

    def __init__(self, antenna: np.ndarray, std: float) -> None:
        """Of an antenna (3,) in the body, m; std: of a fix that gives none, m."""
        self.antenna, self._std = antenna, std
        self._waiting: deque[tuple[int, np.ndarray, np.ndarray]] = deque()
        self._path: deque[tuple[int, np.ndarray]] = deque()  # of the antenna in the chain, with stamps
        self._last_ns = -1

    def add(self, fixes: GnssFixes) -> None:
        """Queue fixes; those that are not finite, or no later than the last, are left out."""
        stds = np.where(np.isfinite(fixes.std) & (fixes.std > 0), fixes.std, self._std)
        for stamp, geodetic, std in zip(fixes.stamps_ns.tolist(), fixes.geodetic, stds, strict=True):
            if stamp > self._last_ns and np.isfinite(geodetic).all():
                self._last_ns = stamp
                self._waiting.append((stamp, geodetic, std))

    def moved(self, stamp_ns: int, T_chain_body: np.ndarray) -> None:
        """Odometry has come to this pose (4, 4) of the body in the chain; earlier than before: time begins anew."""
        if self._path and stamp_ns <= self._path[-1][0]:
            self._path.clear()
            self._waiting.clear()
            self._last_ns = -1
        self._path.append((stamp_ns, T_chain_body[:3, :3] @ self.antenna + T_chain_body[:3, 3]))
        while len(self._path) > 2 and (stamp_ns - self._path[1][0]) * 1e-9 > HISTORY_S:
            self._path.popleft()

    def located(self) -> Iterator[LocatedFix]:
        """The fixes up to the newest pose, each once; none of times that odometry does not cover."""
        while self._waiting and self._path and self._waiting[0][0] <= self._path[-1][0]:
            stamp_ns, geodetic, std = self._waiting.popleft()
            located = self._position(stamp_ns)
            if located is not None:
                p_chain, off_m = located
                yield LocatedFix(stamp_ns, p_chain, geodetic, np.hypot(std, off_m))

    def _position(self, stamp_ns: int) -> tuple[np.ndarray, float] | None:
        """The antenna's position (3,) in the chain, on the line between the poses before and after; how far off, m."""
        if len(self._path) < 2:
            return None
        stamps = np.array([stamp for stamp, _ in self._path])
        after = int(np.searchsorted(stamps, stamp_ns))
        if after == 0:
            return None
        (first_ns, first), (last_ns, last) = self._path[after - 1], self._path[after]
        gap_s, gap_m = (last_ns - first_ns) * 1e-9, float(np.linalg.norm(last - first))
        if gap_s > MAX_GAP_S and gap_m > MAX_GAP_M:
            return None
        since_s = (stamp_ns - first_ns) * 1e-9
        off_m = min(ACCELERATION / 2 * since_s * (gap_s - since_s), gap_m)
        return first + (last - first) * (since_s / gap_s), off_m
