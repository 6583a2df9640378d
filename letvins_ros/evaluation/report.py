# SPDX-License-Identifier: Apache-2.0
"""report.html: one file with figures, plots, what was skipped, the configuration and provenance."""

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, StrictUndefined
from matplotlib.figure import Figure

from letvins_ros.evaluation.provenance import provenance
from letvins_ros.writing import write_atomic

Rows = Sequence[tuple[str, str]]
TEMPLATE = Path(__file__).with_name("report.html.j2")


@dataclass(frozen=True, eq=False)
class Page:
    """What a report shows, in this order."""

    title: str
    notices: Sequence[str]  # shown before the figures
    result: Rows
    figures: Mapping[str, Figure]  # by the stem of their file
    details: Mapping[str, Rows]  # tables by title
    config_text: str = ""


def write_report(out: Path, page: Page) -> None:
    """Write each figure as a PNG and all of it as report.html. Raises DataError where it cannot be written."""
    images = []
    for name, figure in page.figures.items():
        png = io.BytesIO()
        figure.savefig(png, format="png")
        write_atomic(out / f"{name}.png", png.getvalue())
        images.append((name, base64.b64encode(png.getvalue()).decode()))
    template = Environment(autoescape=True, undefined=StrictUndefined).from_string(TEMPLATE.read_text())
    html = template.render(page=page, images=images, provenance=list(provenance().items()))
    write_atomic(out / "report.html", html)
