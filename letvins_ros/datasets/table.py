# SPDX-License-Identifier: Apache-2.0
"""Tables as EuRoC writes them, a stamp first, in any dialect of csv; faulty rows are skipped and counted."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from letvins_ros.datasets.base import ReadReport
from letvins_ros.datasets.stamps import NANOSECONDS, decimal, to_nanoseconds, unit_of
from letvins_ros.datasets.stream import clean, spread_bursts, time_order
from letvins_ros.errors import DataError
from letvins_ros.reading import ending
from letvins_ros.types import GnssFixes, ImuSamples, Trajectory

WXYZ, XYZW = (1, 2, 3, 0), (0, 1, 2, 3)  # places of x y z w: as EuRoC and as TUM order quaternions
MAX_FILE = 2 << 30  # bytes; a day of an IMU at 1 kHz has 8 GB, an hour 0.4


def read_imu(path: Path, report: ReadReport, numbered: bool = False) -> ImuSamples:
    """IMU readings of a csv: stamp, gyro x y z in rad/s, accel x y z in m/s^2."""
    stamps_ns, values = _readings(path, 6, report, numbered)
    return ImuSamples(stamps_ns, values[:, :3], values[:, 3:])


def read_vectors(path: Path, report: ReadReport) -> tuple[np.ndarray, np.ndarray]:
    """Stamps (N,) int64 ns and readings (N, 3) of a sensor that has a file of its own."""
    return _readings(path, 3, report)


def _readings(path: Path, columns: int, report: ReadReport, numbered: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """As `read_table`, of a sensor whose readings may come in bursts."""
    stamps_ns, values = _rows(path, columns, report, numbered)
    return _usable(path, spread_bursts(_short(path), stamps_ns, values, report), values, report)


def read_gnss(path: Path, report: ReadReport) -> GnssFixes:
    """Fixes of a csv: stamp, latitude and longitude in degrees, height in m, standard deviations east, north, up in m.

    A standard deviation of zero, or below, says that it is not known.
    """
    return GnssFixes.of_rows(*read_table(path, 6, report))


def read_truth(path: Path, report: ReadReport, order: Sequence[int] = WXYZ, numbered: bool = False) -> Trajectory:
    """T_world_body of a csv: stamp, position x y z in m, quaternion; further columns are ignored.

    order: places of x y z w among the quaternion's columns.
    """
    stamps_ns, values = read_table(path, 7, report, numbered)
    bad = np.abs(np.linalg.norm(values[:, 3:], axis=1) - 1) > 0.01
    if bad.all():
        written = " ".join(sorted("xyzw", key=lambda axis: order["xyzw".index(axis)]))
        raise DataError(f"{path}: no row has a unit quaternion {written} after its position")
    if bad.any():
        kind = f"{_short(path)}: rows without unit quaternion, skipped"
        report.add(kind, str(stamps_ns[bad][0]), int(bad.sum()))
    quaternions = values[~bad][:, [3 + place for place in order]]
    quaternions /= np.linalg.norm(quaternions, axis=1, keepdims=True)
    return Trajectory(stamps_ns[~bad], values[~bad, :3], quaternions)


def read_table(path: Path, columns: int, report: ReadReport, numbered: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Stamps (N,) int64 ns, strictly increasing, and the next `columns` values (N, columns) float64, all finite.

    Cells may be quoted, and lie between commas, semicolons, tabs or spaces; stamps may be in s, ms, us or ns.
    numbered: rows that have a column more begin with their number.
    """
    return _usable(path, *_rows(path, columns, report, numbered), report)


def _usable(path: Path, stamps_ns: np.ndarray, values: np.ndarray, report: ReadReport) -> tuple[np.ndarray, np.ndarray]:
    """The rows in order of time without those that are not finite; DataError where none is left."""
    rows = len(stamps_ns)
    stamps_ns, values = clean(_short(path), stamps_ns, values, report)
    if not len(stamps_ns):
        raise DataError(f"{path}: no usable row in {rows}: a stamp and then {values.shape[1]} numbers needed")
    return stamps_ns, values


def _rows(path: Path, columns: int, report: ReadReport, numbered: bool) -> tuple[np.ndarray, np.ndarray]:
    """Stamps (N,) int64 ns and values (N, columns) of the rows that are whole, in their order."""
    lines = _lines(path)
    first = int(numbered and _is_numbered(lines, columns + 1))
    row = np.dtype([("stamp", np.int64), ("values", np.float64, (columns,))])
    try:
        used = range(first, first + columns + 1)
        table = np.loadtxt(lines or ["none"], row, delimiter=_separator(lines), usecols=used, ndmin=1)
        stamps, values = table["stamp"], table["values"]
        unit = unit_of(stamps, integers=True)
        if unit != "ns":
            stamps = stamps * NANOSECONDS[unit]
    except (ValueError, OverflowError):  # slower, but it reads more and says which rows are bad
        rows = _cells(path, lines, columns + 1, report, first)
        numbers = [[_float(cell) for cell in cells[1:]] for cells in rows]
        stamps, unit, good = _stamps(path, [cells[0] for cells in rows], report)
        values = np.array([numbers[i] for i in good], float).reshape(-1, columns)
    _note_unit(path, unit, report)
    if not len(stamps):
        raise DataError(f"{path}: no usable row in {len(lines)}: a stamp and then {columns} numbers needed")
    return stamps, values


def read_numbers(path: Path) -> np.ndarray:
    """Rows (N, C) float64, N > 0, of a text file with numbers between spaces or commas; DataError for any other."""
    lines = _lines(path)
    if not lines:
        raise DataError(f"{path}: no rows")
    try:
        return np.array([line.replace(",", " ").split() for line in lines], np.float64)
    except ValueError as error:
        raise DataError(f"{path}: rows with equally many numbers needed ({error})") from error


def read_image_list(path: Path, report: ReadReport, numbered: bool = False) -> tuple[np.ndarray, list[str]]:
    """Stamps (N,) int64 ns, strictly increasing, and file names of a csv: stamp, file name.

    numbered: rows that have a column more begin with their number.
    """
    lines = _lines(path)
    rows = _cells(path, lines, 2, report, int(numbered and _is_numbered(lines, 2)))
    stamps_ns, unit, good = _stamps(path, [cells[0] for cells in rows], report)
    _note_unit(path, unit, report)
    order = time_order(_short(path), stamps_ns, report)
    return stamps_ns[order], [rows[good[i]][1] for i in order]


def _lines(path: Path) -> list[str]:
    """Read the rows without comments and without a heading that is not marked as a comment."""
    try:
        if path.stat().st_size > MAX_FILE:
            raise DataError(f"{path}: {path.stat().st_size} bytes are too many for a table")
        lines = ending(path).read_text(encoding="utf-8-sig", errors="replace").splitlines()
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from error
    if lines and lines[0].lstrip(" \"'")[:1].isalpha():
        del lines[0]
    return [line for line in lines if line.strip() and not line.lstrip().startswith("#")]


def _is_numbered(lines: list[str], count: int) -> bool:
    """Whether most of the first rows have more than `count` cells."""
    some, separator = lines[:20], _separator(lines)
    return sum(len(line.strip().split(separator)) > count for line in some) * 2 > len(some)


def _cells(path: Path, lines: list[str], count: int, report: ReadReport, first: int = 0) -> list[list[str]]:
    """`count` cells of each row that has a stamp in its `first` one and as many, without quotes and spaces."""
    separator = _separator(lines)
    rows = []
    for line in lines:
        cells = [cell.strip(" \t\"'") for cell in line.strip().split(separator)[first : first + count]]
        if len(cells) == count and all(cells) and decimal(cells[0]) is not None:
            if count == 2 or all(_float(cell) is not None for cell in cells[1:]):
                rows.append(cells)
                continue
        report.add(f"{_short(path)}: rows that are torn or not numbers, skipped", repr(line[:60]))
    return rows


def _separator(lines: list[str]) -> str | None:
    """What stands between the cells of most of the first rows; None: spaces and tabs."""
    some = lines[:20]
    return next((mark for mark in ",;" if sum(mark in line for line in some) * 2 > len(some)), None)


def _stamps(path: Path, texts: list[str], report: ReadReport) -> tuple[np.ndarray, str, list[int]]:
    """Stamps (M,) int64 ns, the unit that they had, and which of the texts they are.

    Where most are integers, the others are torn.
    """
    whole = [text.lstrip("-").isdecimal() for text in texts]
    integers = sum(whole) * 2 >= len(whole)
    limit = 2**63 if integers else 2**53
    numbers = [decimal(text) for text in texts]
    good = [
        i
        for i, number in enumerate(numbers)
        if number is not None and abs(number) < limit and (whole[i] or not integers)
    ]
    if lost := len(texts) - len(good):
        report.add(f"{_short(path)}: rows that are torn or not numbers, skipped", texts[0], lost)
    try:
        stamps_ns, unit = to_nanoseconds([number for i in good if (number := numbers[i]) is not None], integers)
    except ValueError as error:
        raise DataError(f"{path}: {error}") from None
    return stamps_ns, unit, good


def _note_unit(path: Path, unit: str, report: ReadReport) -> None:
    if unit != "ns":
        report.note(f"{_short(path)}: stamps are in {unit}")


def _float(cell: str) -> float | None:
    try:
        return float(cell)
    except ValueError:
        return None


def _short(path: Path) -> str:
    return f"{path.parent.name}/{path.name}"
