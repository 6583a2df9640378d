# SPDX-License-Identifier: Apache-2.0
import base64
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from letvins_ros.evaluation.run_metrics import summary

from .conftest import Written


@pytest.fixture(scope="module")
def report(written: Written) -> tuple[str, Path]:
    return (written[0] / "report.html").read_text(), written[0]


def test_the_report_refers_to_nothing_outside_itself(report: tuple[str, Path]) -> None:
    text, _ = report
    assert re.findall(r"https?://", text) == []
    assert all(
        source.startswith("data:image/png;base64,") for source in re.findall(r'(?:src|href)="([^"]{0,40})', text)
    )
    assert "<script" not in text


def test_the_report_holds_the_plots_that_lie_beside_it(report: tuple[str, Path]) -> None:
    text, folder = report
    images = [base64.b64decode(data) for data in re.findall(r'base64,([^"]+)"', text)]
    assert images == [(folder / f"{name}.png").read_bytes() for name in ("trajectory", "error", "timing")]
    assert all(image.startswith(b"\x89PNG") for image in images)


def test_the_report_is_well_formed_and_escapes_what_it_shows(report: tuple[str, Path]) -> None:
    text, _ = report
    assert "letvins run &lt;test&gt;" in text
    assert "# &lt;b&gt;&amp;" in text
    stack = []

    class Checker(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            if tag not in {"meta", "img"}:
                stack.append(tag)

        def handle_endtag(self, tag: str) -> None:
            assert stack.pop() == tag

    Checker().feed(text)
    assert stack == []


def test_the_report_says_what_was_skipped_and_where_it_came_from(report: tuple[str, Path]) -> None:
    text, _ = report
    for part in ("images missing: 3", "0001.png", "1 frames were dropped", "numpy", "commit", "cores", "degraded"):
        assert part in text


def test_a_summary_has_units_and_a_dash_for_what_is_unknown() -> None:
    metrics = {"ate_rmse_m": 0.01234, "coverage": 0.9951, "total_ms": {"median": 17.04, "p95": 30, "max": 61.2}, "x": 1}
    assert summary({**metrics, "nees_position_mean": None}) == [
        ("Coverage", "99.51%"),
        ("ATE, RMSE", "0.0123 m"),
        ("NEES of position, mean (ideal: 3)", "–"),
        ("Total per frame", "median 17.0, p95 30.0, max 61.2 ms"),
    ]
