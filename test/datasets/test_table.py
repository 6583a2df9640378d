# SPDX-License-Identifier: Apache-2.0
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from letvins_ros.datasets.base import ReadReport
from letvins_ros.datasets.table import read_gnss, read_image_list, read_table, read_truth
from letvins_ros.errors import DataError

STAMP = 1_403_636_579_758_555_392


def lines(n: int, columns: int = 6) -> tuple[list[str], np.ndarray]:
    values = np.random.default_rng(0).normal(size=(n, columns))
    return [f"{STAMP + 5_000_000 * i},{','.join(repr(float(x)) for x in row)}" for i, row in enumerate(values)], values


def test_stamps_keep_all_their_digits_and_values_theirs(tmp_path: Path) -> None:
    rows, values = lines(50)
    (tmp_path / "data.csv").write_text("\n".join(["#heading", *rows]))
    stamps, found = read_table(tmp_path / "data.csv", 6, ReadReport())
    assert stamps.tolist() == [STAMP + 5_000_000 * i for i in range(50)]
    assert np.array_equal(found, values)


def test_one_bad_row_does_not_change_the_others(tmp_path: Path) -> None:
    rows, values = lines(50)
    (tmp_path / "data.csv").write_text("\n".join([*rows[:20], "torn,1", *rows[20:]]))
    report = ReadReport()
    stamps, found = read_table(tmp_path / "data.csv", 6, report)
    assert stamps.tolist() == [STAMP + 5_000_000 * i for i in range(50)]
    assert np.array_equal(found, values)
    assert list(report.counts.values()) == [1]


@pytest.mark.parametrize("stamp", ["1.4e18", "99999999999999999999", "", "nan"])
def test_a_stamp_that_is_no_64_bit_integer_is_skipped(tmp_path: Path, stamp: str) -> None:
    rows, _ = lines(3)
    (tmp_path / "data.csv").write_text("\n".join([*rows, f"{stamp},1,2,3,4,5,6"]))
    report = ReadReport()
    assert len(read_table(tmp_path / "data.csv", 6, report)[0]) == 3
    assert list(report.counts.values()) == [1]


def test_further_columns_are_ignored(tmp_path: Path) -> None:
    (tmp_path / "data.csv").write_text("10,1,2,3,1,0,0,0,9,9\n20,4,5,6,0,0,0,2,9,9\n")
    truth = read_truth(tmp_path / "data.csv", report := ReadReport())
    assert truth.positions.tolist() == [[1, 2, 3]]
    assert truth.quaternions.tolist() == [[0, 0, 0, 1]]
    assert list(report.counts.values()) == [1]


@pytest.mark.parametrize("content", ["", "#only a heading\n", "a,b,c\nd,e,f\n", "\xff\xfe\x00\x01"])
def test_a_table_without_usable_row_is_an_error(tmp_path: Path, content: str) -> None:
    (tmp_path / "data.csv").write_text(content)
    with pytest.raises(DataError, match=r"data\.csv: no usable row"):
        read_table(tmp_path / "data.csv", 6, ReadReport())


def test_a_missing_table_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"data\.csv: No such file"):
        read_image_list(tmp_path / "data.csv", ReadReport())


def test_a_table_of_six_minutes_is_read_within_seconds_even_with_a_bad_row(tmp_path: Path) -> None:
    rows, _ = lines(72_000)
    (tmp_path / "data.csv").write_text("\n".join([*rows, "torn"]))
    start = time.process_time()
    assert len(read_table(tmp_path / "data.csv", 6, ReadReport())[0]) == 72_000
    assert time.process_time() - start < 5


def dialect(
    rows: list[str], separator: str = ",", quoted: bool = False, newline: str = "\n", unit: int = 1, start: int = 0
) -> str:
    """Rows with stamps in another unit, divided exactly."""
    out = []
    for row in rows:
        stamp, *values = row.split(",")
        whole, part = divmod(int(stamp), unit)
        text = str(whole) if unit == 1 else f"{whole}.{part:0{len(str(unit)) - 1}d}"
        cells = [text, *values]
        out.append(separator.join(f'"{cell}"' if quoted else cell for cell in cells))
    return newline.join(out) + newline


@pytest.mark.parametrize(
    ("about", "noted"),
    [
        ({"separator": ";"}, []),
        ({"separator": " "}, []),
        ({"separator": ", "}, []),
        ({"separator": "\t"}, []),
        ({"quoted": True}, []),
        ({"newline": "\r\n"}, []),
        ({"unit": 10**9}, ["{}/data.csv: stamps are in s"]),
        ({"unit": 10**6}, ["{}/data.csv: stamps are in ms"]),
        ({"unit": 10**3, "separator": ";"}, ["{}/data.csv: stamps are in us"]),
    ],
)
@pytest.mark.parametrize("heading", ["", "#timestamp [ns],w_x\n", "timestamp,w_x\n", '"timestamp","w_x"\n', "\ufeff"])
def test_every_dialect_gives_the_same_numbers(
    tmp_path: Path, about: dict[str, Any], noted: list[str], heading: str
) -> None:
    rows, values = lines(50)
    with (tmp_path / "data.csv").open("w", newline="", encoding="utf-8") as file:
        file.write(heading + dialect(rows, **about))
    report = ReadReport()
    stamps, found = read_table(tmp_path / "data.csv", 6, report)
    assert stamps.tolist() == [STAMP + 5_000_000 * i for i in range(50)]
    assert np.array_equal(found, values)
    assert not report.counts
    assert report.notes == [note.format(tmp_path.name) for note in noted]


@pytest.mark.parametrize(("step", "unit", "scale"), [(5_000_000, "ns", 1), (5_000, "us", 1000), (5, "ms", 10**6)])
def test_integers_that_count_from_zero_have_the_unit_that_their_step_tells(
    tmp_path: Path, step: int, unit: str, scale: int
) -> None:
    (tmp_path / "data.csv").write_text("".join(f"{i * step},1,2,3,4,5,6\n" for i in range(20)))
    report = ReadReport()
    stamps, _ = read_table(tmp_path / "data.csv", 6, report)
    assert stamps.tolist() == [i * step * scale for i in range(20)]
    assert bool(report.notes) == (unit != "ns")


@pytest.mark.parametrize(("separator", "quote"), [(",", ""), (", ", ""), (";", '"'), (" ", "")])
def test_image_lists_are_read_in_any_dialect(tmp_path: Path, separator: str, quote: str) -> None:
    text = "".join(f"{quote}{1.5e9 + i / 20:.2f}{quote}{separator}{quote}{i}.png{quote}\r\n" for i in range(5))
    (tmp_path / "data.csv").write_text(text, newline="")
    stamps, names = read_image_list(tmp_path / "data.csv", ReadReport())
    assert stamps.tolist() == [1_500_000_000_000_000_000 + i * 50_000_000 for i in range(5)]
    assert names == [f"{i}.png" for i in range(5)]


def test_a_table_that_is_still_written_gives_its_whole_rows(tmp_path: Path) -> None:
    rows, _ = lines(50)
    text = "\n".join(rows)
    (tmp_path / "data.csv").write_text(text[: -len(rows[-1]) // 2])
    assert len(read_table(tmp_path / "data.csv", 6, ReadReport())[0]) == 49


def test_fixes_are_read_and_say_what_they_do_not_know(tmp_path: Path) -> None:
    rows = "#stamp,lat,lon,h,e,n,u\n1000000000,47,8,400,1,1.5,2\n2000000000,47.1,8.1,401,0,0,0\n"
    (tmp_path / "data.csv").write_text(rows)
    fixes = read_gnss(tmp_path / "data.csv", ReadReport())
    np.testing.assert_array_equal(fixes.geodetic, [[47, 8, 400], [47.1, 8.1, 401]])
    np.testing.assert_array_equal(fixes.std, [[1, 1.5, 2], [np.nan] * 3])
    assert fixes.between(1_000_000_000, 2_000_000_000).stamps_ns.tolist() == [2_000_000_000]
