# SPDX-License-Identifier: Apache-2.0
"""Several estimates over the truth in one picture."""

import io
from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure

from letvins_ros.evaluation.metrics import AbsoluteError


def overlay_figure(compared: Mapping[str, AbsoluteError]) -> Figure:
    """Top view of every estimate, aligned to the truth, and its position error over time."""
    figure = Figure(figsize=(13, 5.8), layout="constrained", dpi=110)
    top, errors = figure.subplots(1, 2)
    longest = max(compared.values(), key=lambda one: len(one.truth))
    top.plot(*longest.truth.positions[:, :2].T, color="0.4", lw=2.5, label="truth")
    first_ns = min(int(one.truth.stamps_ns[0]) for one in compared.values())
    for name, one in compared.items():
        top.plot(*one.aligned.positions[:, :2].T, lw=1.2, label=name)
        seconds = (one.truth.stamps_ns - first_ns) / 1e9
        errors.plot(seconds, np.linalg.norm(one.position, axis=1), lw=1.2, label=name)
    top.set(title="Top view", xlabel="x (m)", ylabel="y (m)", aspect="equal")
    errors.set(title="Position error", xlabel="time (s)", ylabel="m", ylim=(0, None))
    top.legend(loc="best", framealpha=0.9)
    return figure


def overlay_png(compared: Mapping[str, AbsoluteError]) -> bytes:
    """The figure as a PNG file."""
    content = io.BytesIO()
    overlay_figure(compared).savefig(content, format="png")
    return content.getvalue()
