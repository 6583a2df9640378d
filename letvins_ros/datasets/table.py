# SPDX-License-Identifier: Apache-2.0
"""Comma-separated tables as EuRoC writes them: integer nanoseconds first, faulty rows skipped and counted."""

from pathlib import Path

import numpy as np

from letvins_ros.datasets.base import ReadReport
from letvins_ros.datasets.stream import clean, time_order
from letvins_ros.errors import DataError
from letvins_ros.types import ImuSamples, Trajectory


def read_imu(path: Path, report: ReadReport) -> ImuSamples:
    """IMU readings of a csv: stamp, gyro x y z in rad/s, accel x y z in m/s^2."""
    stamps_ns, values = read_table(path, 6, report)
    return ImuSamples(stamps_ns, values[:, :3], values[:, 3:])


def read_truth(path: Path, report: ReadReport) -> Trajectory:
    """T_world_body of a csv: stamp, position x y z in m, quaternion w x y z; further columns are ignored."""
    stamps_ns, values = read_table(path, 7, report)
    bad = np.abs(np.linalg.norm(values[:, 3:], axis=1) - 1) > 0.01
    if bad.all():
        raise DataError(f"{path}: no row has a unit quaternion w x y z after its position")
    if bad.any():
        kind = f"{_short(path)}: rows without unit quaternion, skipped"
        report.add(kind, str(stamps_ns[bad][0]), int(bad.sum()))
    quaternions = values[~bad][:, [4, 5, 6, 3]]
    quaternions /= np.linalg.norm(quaternions, axis=1, keepdims=True)
    return Trajectory(stamps_ns[~bad], values[~bad, :3], quaternions)


def read_table(path: Path, columns: int, report: ReadReport) -> tuple[np.ndarray, np.ndarray]:
    """Stamps (N,) int64 ns, strictly increasing, and the next `columns` values (N, columns) float64, all finite."""
    lines = _lines(path)
    row = np.dtype([("stamp", np.int64), ("values", np.float64, (columns,))])
    try:
        table = np.loadtxt(lines or ["none"], row, delimiter=",", usecols=range(columns + 1), ndmin=1)
    except (ValueError, OverflowError):  # slower, but it says which rows are bad
        table = np.array([parsed for line in lines if (parsed := _parse(path, line, columns, report))], row)
    stamps_ns, values = clean(_short(path), table["stamp"], table["values"], report)
    if not len(stamps_ns):
        raise DataError(f"{path}: no usable row in {len(lines)}: stamp in ns, then {columns} numbers, between commas")
    return stamps_ns, values


def read_numbers(path: Path) -> np.ndarray:
    """Rows (N, C) float64, N > 0, of a text file with spaces between its numbers; DataError where it is another."""
    lines = _lines(path)
    if not lines:
        raise DataError(f"{path}: no rows")
    try:
        return np.array([line.split() for line in lines], np.float64)
    except ValueError as error:
        raise DataError(f"{path}: rows with equally many numbers needed ({error})") from error


def read_image_list(path: Path, report: ReadReport) -> tuple[np.ndarray, list[str]]:
    """Stamps (N,) int64 ns, strictly increasing, and file names of a csv: stamp, file name."""
    rows = []
    for line in _lines(path):
        stamp, _, name = (part.strip() for part in line.partition(","))
        if stamp.isdecimal() and int(stamp) < 2**63 and name:
            rows.append((int(stamp), name))
        else:
            _report_bad(path, line, report)
    stamps_ns = np.array([stamp for stamp, _ in rows], np.int64)
    order = time_order(_short(path), stamps_ns, report)
    return stamps_ns[order], [rows[i][1] for i in order]


def _lines(path: Path) -> list[str]:
    """Read the rows without comments and without a heading that is not marked as a comment."""
    try:
        lines = path.read_text(encoding="utf-8-sig", errors="replace").splitlines()
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from error
    if lines and lines[0][:1].isalpha():
        del lines[0]
    return [line for line in lines if line.strip() and not line.startswith("#")]


def _parse(path: Path, line: str, columns: int, report: ReadReport) -> tuple[np.int64, list[float]] | None:
    """One row, or None where it is not a stamp with enough numbers."""
    cells = line.split(",")
    try:
        values = [float(cell) for cell in cells[1 : columns + 1]]
        if len(values) == columns:
            return np.int64(int(cells[0])), values
    except (ValueError, OverflowError):
        pass
    _report_bad(path, line, report)
    return None


def _report_bad(path: Path, line: str, report: ReadReport) -> None:
    report.add(f"{_short(path)}: rows that are torn or not numbers, skipped", repr(line[:60]))


def _short(path: Path) -> str:
    return f"{path.parent.name}/{path.name}"
