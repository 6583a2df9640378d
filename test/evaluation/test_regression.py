# SPDX-License-Identifier: Apache-2.0
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from letvins_ros.errors import DataError
from letvins_ros.evaluation.regression import read_rows, summarise, worse
from letvins_ros.evaluation.suite import DEFAULT_TOLERANCE, Configuration, Source, Suite, Tolerance


def _suite(tolerance: Mapping[str, Tolerance] = DEFAULT_TOLERANCE) -> Suite:
    return Suite((Source("s"),), (Configuration("c"),), 3, None, tolerance, 1.0, 1.0)


def _runs(*values: float, **others: object) -> list[dict[str, Any]]:
    return [
        {"source": "s", "configuration": "c", "metrics": {"ate_rmse_m": v, "coverage": 1.0, **others}} for v in values
    ]


@pytest.mark.parametrize(
    ("now", "before", "expected"),
    [
        (0.0149, 0.010, False),  # 49 % worse, but by less than 5 mm
        (0.0151, 0.010, True),
        (0.206, 0.200, False),  # more than 5 mm, but less than 5 %
        (0.211, 0.200, True),
        (0.001, 0.200, False),
        (None, 0.2, True),
        (0.2, None, False),
        (None, None, False),
    ],
)
def test_an_error_is_worse_by_more_than_both_tolerances(
    now: float | None, before: float | None, expected: bool
) -> None:
    assert worse("ate_rmse_m", now, before, Tolerance(0.05, 0.005)) is expected


def test_coverage_is_worse_when_lower_by_anything() -> None:
    assert worse("coverage", 0.999, 1.0, Tolerance())
    assert not worse("coverage", 1.0, 0.999, Tolerance())
    assert not worse("coverage", 1.0, 1.0, Tolerance())


def test_statistics_are_over_the_runs_and_reach_into_nested_figures() -> None:
    runs = _runs(3.0, 1.0, 8.0, total_ms={"median": 5.0}, interrupted=False, loops=None)
    (row,) = summarise(_suite(), runs, None)
    assert row["statistics"]["ate_rmse_m"] == {"median": 3.0, "mean": 4.0, "min": 1.0, "max": 8.0}
    assert row["statistics"]["total_ms.median"]["median"] == 5.0
    assert "interrupted" not in row["statistics"]
    assert (row["runs"], row["failed"], row["new"], row["worse"]) == (3, 0, True, [])


def test_the_median_is_compared_with_the_baseline_of_the_same_row() -> None:
    before = summarise(_suite(), _runs(0.010, 0.011, 0.5), None)
    (row,) = summarise(_suite(), _runs(0.011, 0.9, 0.020), before)
    assert row["worse"] == [{"metric": "ate_rmse_m", "now": 0.020, "before": 0.011}]
    (row,) = summarise(_suite(), _runs(0.011, 0.9, 0.012), before)
    assert (row["worse"], row["new"]) == ([], False)


def test_failed_runs_are_counted_and_leave_the_median_to_the_others() -> None:
    runs = [*_runs(1.0, 2.0), {"source": "s", "configuration": "c", "error": "exit 1"}]
    (row,) = summarise(_suite(), runs, None)
    assert (row["runs"], row["failed"], row["statistics"]["ate_rmse_m"]["median"]) == (3, 1, 1.5)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"rows": [1]}', '{"rows": [{"source": "s"}]}', '{"rows": 5}'])
def test_a_baseline_that_is_none_is_a_data_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "b.json").write_text(text)
    with pytest.raises(DataError, match=r"b\.json is not a benchmark\.json"):
        read_rows(tmp_path / "b.json")


def test_rows_are_read_back(tmp_path: Path) -> None:
    rows = summarise(_suite(), _runs(1.0), None)
    (tmp_path / "b.json").write_text(json.dumps({"rows": rows}))
    assert read_rows(tmp_path / "b.json") == rows


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"source": ["s"]}, r"rows\[0\]\.source must be a string"),
        ({"statistics": {"ate_rmse_m": {"median": 1.0}}}, r"rows\[0\]\.statistics\.ate_rmse_m\.\w+ is missing"),
        ({"statistics": {"ate_rmse_m": 3.0}}, r"rows\[0\]\.statistics\.ate_rmse_m must be a mapping"),
        ({"statistics": {"a": dict.fromkeys(("median", "mean", "min", "max"), 10**400)}}, "must be a finite number"),
        (
            {"statistics": {"a": dict.fromkeys(("median", "mean", "min", "max"), float("nan"))}},
            "must be a finite number",
        ),
        ({"worse": [{"metric": "a", "now": "x", "before": 1.0}]}, r"rows\[0\]\.worse\.now must be a finite number"),
        ({"runs": None}, r"rows\[0\]\.runs must be an integer"),
    ],
)
def test_a_baseline_with_impossible_values_names_them(change: dict[str, Any], complaint: str, tmp_path: Path) -> None:
    (row,) = summarise(_suite(), _runs(1.0), None)
    (tmp_path / "b.json").write_text(json.dumps({"rows": [row | change]}))
    with pytest.raises(DataError, match=complaint):
        read_rows(tmp_path / "b.json")
