# SPDX-License-Identifier: Apache-2.0
"""Trajectory files, and association of two trajectories by time."""

from decimal import Decimal
from pathlib import Path

import numpy as np

from letvins_ros import geometry
from letvins_ros.datasets import ReadReport, open_dataset
from letvins_ros.datasets.bag_poses import read_poses
from letvins_ros.datasets.bags import storage
from letvins_ros.datasets.stamps import decimal, to_nanoseconds
from letvins_ros.datasets.table import read_truth
from letvins_ros.errors import DataError
from letvins_ros.reading import ending
from letvins_ros.types import Trajectory
from letvins_ros.writing import write_atomic

SECOND_NS = 1_000_000_000
MAX_DT_NS = 3_000_000  # maximum time difference of associated poses
ABSURD = 1e12  # m; no position is as far away
MAX_GAP_NS = 500_000_000  # between poses further apart none is interpolated


def from_poses(stamps_ns: list[int], T: np.ndarray) -> Trajectory:
    """A trajectory of poses (N, 4, 4)."""
    quaternions = geometry.quaternion_xyzw(T[:, :3, :3]) if len(T) else np.empty((0, 4))
    return Trajectory(np.asarray(stamps_ns, np.int64), T[:, :3, 3], quaternions)


def poses(trajectory: Trajectory) -> np.ndarray:
    """Its poses (N, 4, 4)."""
    return geometry.from_quaternion(trajectory.positions, trajectory.quaternions)


def take(trajectory: Trajectory, rows: np.ndarray) -> Trajectory:
    """The given rows (indices or mask)."""
    return Trajectory(trajectory.stamps_ns[rows], trajectory.positions[rows], trajectory.quaternions[rows])


def between(trajectory: Trajectory, first_ns: int, last_ns: int) -> Trajectory:
    """Its part between two times, extended by MAX_DT_NS on both sides."""
    stamps = trajectory.stamps_ns
    return take(trajectory, (stamps >= first_ns - MAX_DT_NS) & (stamps <= last_ns + MAX_DT_NS))


def stamp_text(stamp_ns: int) -> str:
    """Seconds with nine decimals; exact, where a float would lose the last three digits."""
    seconds, nanoseconds = divmod(abs(stamp_ns), SECOND_NS)
    return f"{'-' * (stamp_ns < 0)}{seconds}.{nanoseconds:09d}"


def write_tum(path: Path, trajectory: Trajectory) -> None:
    """`stamp x y z qx qy qz qw` a row: s, m, unit quaternion, nine decimals each, so equal runs give equal bytes."""
    numbers = np.hstack((trajectory.positions, trajectory.quaternions)).tolist()
    rows = zip(trajectory.stamps_ns.tolist(), numbers, strict=True)
    write_atomic(path, "".join(f"{stamp_text(stamp)} {' '.join(f'{x:.9f}' for x in row)}\n" for stamp, row in rows))


def read_tum(path: Path, report: ReadReport | None = None) -> Trajectory:
    """A TUM file, sorted by time, the first of equal stamps kept. Raises DataError with file and row.

    Stamps may also be in ns, us or ms, which is recognised by their size and noted in the report.
    """
    try:
        lines = ending(path).read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read trajectory {path}: {error}") from error
    stamps, numbers = [], []
    for row, line in enumerate(lines, 1):
        fields = line.split("#")[0].replace(",", " ").split()
        if not fields:
            continue
        try:
            stamps.append(_number(fields[0]))
            numbers.append([float(field) for field in fields[1:]])
        except ValueError as error:
            raise DataError(f"{path} row {row}: expected numbers, got {line[:60]!r}") from error
        if len(fields) != 8:
            raise DataError(f"{path} row {row}: expected stamp x y z qx qy qz qw, got {len(fields)} values")
    try:
        stamps_ns, unit = to_nanoseconds(stamps, integers=False)
    except ValueError as error:
        raise DataError(f"{path}: {error}") from error
    if report and unit != "s":
        report.note(f"{path.name}: stamps are in {unit}")
    return _checked(path, stamps_ns, np.array(numbers).reshape(-1, 7))


def _number(text: str) -> Decimal:
    number = decimal(text)
    if number is None:
        raise ValueError(text)
    return number


def read_estimate(path: Path, topic: str | None = None, report: ReadReport | None = None) -> Trajectory:
    """The poses of a TUM file, or of a topic of a bag, by default the nodes' odometry. Raises DataError."""
    if not storage.recognises(path):
        return read_tum(path, report)
    stamps_ns, rows, name = read_poses(path, topic)
    if report:
        report.note(f"{path.name}: {name}; where the truth is of another frame than it, only the positions compare")
    return _checked(path, stamps_ns, rows)


def read_reference(path: Path, report: ReadReport | None = None) -> tuple[Trajectory, int | None]:
    """The truth of a TUM file, an EuRoC csv or a dataset, and how many frames the dataset has.

    Raises DataError where there is none.
    """
    if path.suffix == ".csv":
        return read_truth(path, report or ReadReport()), None
    if not path.is_dir() and not storage.recognises(path):
        return read_tum(path, report), None
    dataset = open_dataset(path)
    if dataset.truth is None:
        raise DataError(f"{path} holds no ground truth to compare with")
    return dataset.truth, len(dataset)


def associate(truth: Trajectory, estimate: Trajectory, max_dt_ns: int = MAX_DT_NS) -> tuple[np.ndarray, np.ndarray]:
    """Rows of truth and of the estimate that lie nearest in time, at most max_dt_ns apart.

    Each pose of the shorter trajectory is paired once; of two equally near the earlier is taken, as evo does.
    """
    if len(estimate) > len(truth):
        return _nearest(truth.stamps_ns, estimate.stamps_ns, max_dt_ns)
    rows, nearest = _nearest(estimate.stamps_ns, truth.stamps_ns, max_dt_ns)
    return nearest, rows


def at_times(trajectory: Trajectory, stamps_ns: np.ndarray) -> tuple[Trajectory, np.ndarray]:
    """Its poses at those of the stamps (N,) that it covers, and which these are (M,).

    Positions are interpolated linearly, rotations along the shortest arc, over gaps of MAX_GAP_NS at most.
    """
    own = trajectory.stamps_ns
    if len(own) < 2:
        rows = np.flatnonzero(np.isin(stamps_ns, own))
        return take(trajectory, np.searchsorted(own, stamps_ns[rows])), rows
    after = np.searchsorted(own, stamps_ns).clip(1, len(own) - 1)
    before = after - 1
    inside = (stamps_ns >= own[0]) & (stamps_ns <= own[-1])
    near = (own[after] - own[before] <= MAX_GAP_NS) | (stamps_ns == own[before]) | (stamps_ns == own[after])
    rows = np.flatnonzero(inside & near)
    before, after, wanted = before[rows], after[rows], stamps_ns[rows]
    share = ((wanted - own[before]) / (own[after] - own[before]))[:, None]
    positions = (1 - share) * trajectory.positions[before] + share * trajectory.positions[after]
    start, end = (poses(take(trajectory, i))[:, :3, :3] for i in (before, after))
    turned = start @ geometry.exp_so3(geometry.log_so3(np.swapaxes(start, 1, 2) @ end) * share)
    exact = share[:, 0] == 1  # as they are, not through two conversions
    quaternions = np.where(exact[:, None], trajectory.quaternions[after], geometry.quaternion_xyzw(turned))
    quaternions = np.where(share == 0, trajectory.quaternions[before], quaternions)
    return Trajectory(wanted, positions, quaternions), rows


def _nearest(few: np.ndarray, many: np.ndarray, max_dt_ns: int) -> tuple[np.ndarray, np.ndarray]:
    nearest = np.searchsorted(many[:-1] + np.diff(many) // 2, few)  # the midpoints separate what is nearest to each
    close = np.abs(many[nearest] - few) <= max_dt_ns
    return np.flatnonzero(close), nearest[close]


def _checked(path: Path, stamps_ns: np.ndarray, numbers: np.ndarray) -> Trajectory:
    """Sorted, each stamp once, quaternions of unit length."""
    if not len(stamps_ns):
        raise DataError(f"{path} holds no poses")
    norms = np.linalg.norm(numbers[:, 3:], axis=1)
    bad = ~(np.abs(numbers) < ABSURD).all(axis=1) | ~(norms > 1e-6)
    if bad.any():
        stamp = stamp_text(int(stamps_ns[bad][0]))
        raise DataError(
            f"{path}: {bad.sum()} of {len(bad)} poses are not finite or lack a rotation, first at {stamp} s"
        )
    stamps_ns, rows = np.unique(stamps_ns, return_index=True)
    return Trajectory(stamps_ns, numbers[rows, :3], numbers[rows, 3:] / norms[rows, None])
