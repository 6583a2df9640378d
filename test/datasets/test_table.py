# SPDX-License-Identifier: Apache-2.0
import time

import numpy as np
import pytest

from letvins_ros.datasets.base import ReadReport
from letvins_ros.datasets.table import read_image_list, read_table, read_truth
from letvins_ros.errors import DataError

STAMP = 1_403_636_579_758_555_392


def lines(n, columns=6):
    values = np.random.default_rng(0).normal(size=(n, columns))
    return [f"{STAMP + 5_000_000 * i},{','.join(repr(float(x)) for x in row)}" for i, row in enumerate(values)], values


def test_stamps_keep_all_their_digits_and_values_theirs(tmp_path):
    rows, values = lines(50)
    (tmp_path / "data.csv").write_text("\n".join(["#heading", *rows]))
    stamps, found = read_table(tmp_path / "data.csv", 6, ReadReport())
    assert stamps.tolist() == [STAMP + 5_000_000 * i for i in range(50)]
    assert np.array_equal(found, values)


def test_one_bad_row_does_not_change_the_others(tmp_path):
    rows, values = lines(50)
    (tmp_path / "data.csv").write_text("\n".join([*rows[:20], "torn,1", *rows[20:]]))
    report = ReadReport()
    stamps, found = read_table(tmp_path / "data.csv", 6, report)
    assert stamps.tolist() == [STAMP + 5_000_000 * i for i in range(50)]
    assert np.array_equal(found, values)
    assert list(report.counts.values()) == [1]


@pytest.mark.parametrize("stamp", ["1.4e18", "99999999999999999999", "", "nan"])
def test_a_stamp_that_is_no_64_bit_integer_is_skipped(tmp_path, stamp):
    rows, _ = lines(3)
    (tmp_path / "data.csv").write_text("\n".join([*rows, f"{stamp},1,2,3,4,5,6"]))
    report = ReadReport()
    assert len(read_table(tmp_path / "data.csv", 6, report)[0]) == 3
    assert list(report.counts.values()) == [1]


def test_further_columns_are_ignored(tmp_path):
    (tmp_path / "data.csv").write_text("10,1,2,3,1,0,0,0,9,9\n20,4,5,6,0,0,0,2,9,9\n")
    truth = read_truth(tmp_path / "data.csv", report := ReadReport())
    assert truth.positions.tolist() == [[1, 2, 3]]
    assert truth.quaternions.tolist() == [[0, 0, 0, 1]]
    assert list(report.counts.values()) == [1]


@pytest.mark.parametrize("content", ["", "#only a heading\n", "a,b,c\nd,e,f\n", "\xff\xfe\x00\x01"])
def test_a_table_without_usable_row_is_an_error(tmp_path, content):
    (tmp_path / "data.csv").write_text(content)
    with pytest.raises(DataError, match=r"data\.csv: no usable row"):
        read_table(tmp_path / "data.csv", 6, ReadReport())


def test_a_missing_table_is_an_error(tmp_path):
    with pytest.raises(DataError, match=r"data\.csv: No such file"):
        read_image_list(tmp_path / "data.csv", ReadReport())


def test_a_table_of_six_minutes_is_read_within_seconds_even_with_a_bad_row(tmp_path):
    rows, _ = lines(72_000)
    (tmp_path / "data.csv").write_text("\n".join([*rows, "torn"]))
    start = time.process_time()
    assert len(read_table(tmp_path / "data.csv", 6, ReadReport())[0]) == 72_000
    assert time.process_time() - start < 5
