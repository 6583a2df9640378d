# SPDX-License-Identifier: Apache-2.0
"""Figures of a run: data in, Figure out; no display, no global state."""

import io
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from mpl_toolkits.axes_grid1.anchored_artists import AnchoredSizeBar  # type: ignore[import-untyped]

from letvins_ros.evaluation.metrics import AbsoluteError

TRUTH, ESTIMATE, BAD, WARN = "#8d949c", "#1f5fa8", "#d1495b", "#f2b84b"
START = "#2b8a3e"
MIN_EXTENT_M = 1e-3  # of a drawn path; without it the scale bar of a single pose would be wider than the figure
AXIS_COLOURS = ("#c1453c", "#3a8f4b", "#2f6fb7")
ROTATION_COLOUR = "#6b4fa0"
STAGE_COLOURS = {"tracker": "#3a8f4b", "estimator": "#2f6fb7", "loop": "#c98a1b", "total": "#202124"}


@dataclass(frozen=True)
class Marks:
    """Events to mark, in seconds since the first frame."""

    initialised_s: float | None = None
    resets_s: tuple[float, ...] = ()
    degraded_s: tuple[tuple[float, float], ...] = ()  # from, to


@dataclass(frozen=True, eq=False)
class ErrorSeries:
    """Errors over time; None where unknown."""

    time_s: np.ndarray  # (N,)
    position: np.ndarray | None  # (N, 3) m
    rotation_rad: np.ndarray | None  # (N,) angle
    sigma: np.ndarray | None  # (N, 3) m, one standard deviation of the position
    sigma_rad: np.ndarray | None = None  # (N,) of the rotation, over all axes


def trajectory_figure(estimate: np.ndarray, truth: np.ndarray | None = None, title: str = "") -> Figure:
    """Top and side view of positions (N, 3) m; given the truth (N, 3), coloured by the distance to it."""
    figure = Figure(figsize=(13, 5.8), layout="constrained", dpi=110)
    figure.suptitle(title)
    views = figure.subplots(1, 2)
    if not len(estimate):
        views[0].text(0.5, 0.5, "no pose was estimated", ha="center", transform=views[0].transAxes)
        return figure
    wide = int(np.ptp(estimate[:, 1]) > np.ptp(estimate[:, 0]))  # the side view is from where it is widest
    for axes, columns, name in ((views[0], [0, 1], "Top view"), (views[1], [wide, 2], "Side view")):
        _draw_path(axes, estimate[:, columns], None if truth is None else truth[:, columns])
        axes.set(title=name, xlabel=f"{'xyz'[columns[0]]} (m)", ylabel=f"{'xyz'[columns[1]]} (m)")
        if truth is not None:
            error = np.linalg.norm(estimate - truth, axis=1)
            lines = _colour_path(axes, estimate[:, columns], error)
    if truth is not None:
        views[0].plot([], [], color=lines.cmap(0.5), label="estimate")
        figure.colorbar(lines, ax=views, label="position error (m)", shrink=0.8, pad=0.015)
    _scale_bar(views[0], estimate)
    views[0].legend(loc="best", framealpha=0.9)
    return figure


def map_figure(before: np.ndarray, after: np.ndarray, truth: np.ndarray | None, loops: np.ndarray) -> Figure:
    """Top view of positions (N, 3) m before and after closing loops, and the loops' two ends (L, 2, 3) after it."""
    figure = Figure(figsize=(13, 6.4), layout="constrained", dpi=110)
    figure.suptitle(f"Map before and after closing {len(loops)} loops")
    for axes, positions, name in zip(figure.subplots(1, 2), (before, after), ("Odometry", "Map"), strict=True):
        _draw_path(axes, positions[:, :2], None if truth is None else truth[:, :2])
        axes.plot(*positions[:, :2].T, color=ESTIMATE, lw=1.2, label="estimate")
        axes.set(title=name, xlabel="x (m)", ylabel="y (m)")
        _scale_bar(axes, positions)
    axes.add_collection(LineCollection(list(loops[:, :, :2]), colors=BAD, linewidths=0.8, zorder=4, label="loops"))
    axes.legend(loc="best", framealpha=0.9)
    return figure


def error_figure(series: ErrorSeries, marks: Marks, title: str = "") -> Figure:
    """Position error per axis and rotation error within their 3-sigma bounds, over time."""
    figure = Figure(figsize=(11, 8), layout="constrained", dpi=110)
    figure.suptitle(title)
    rows = figure.subplots(4, 1, sharex=True)
    for i, axes in enumerate(rows[:3]):
        if series.sigma is not None:
            bound = 3 * series.sigma[:, i]
            axes.fill_between(series.time_s, -bound, bound, color=AXIS_COLOURS[i], alpha=0.15, lw=0, label="±3σ")
        if series.position is not None:
            axes.plot(series.time_s, series.position[:, i], color=AXIS_COLOURS[i], lw=1.2)
            _limit_symmetric(axes, series.position[:, i], series.sigma[:, i] if series.sigma is not None else None)
        axes.axhline(0, color="black", lw=0.6, alpha=0.5)
        axes.set_ylabel(f"{'xyz'[i]} error (m)")
    limit = 1e-6
    if series.sigma_rad is not None and len(series.sigma_rad):
        bound = 3 * np.degrees(series.sigma_rad)
        rows[3].fill_between(series.time_s, 0, bound, color=ROTATION_COLOUR, alpha=0.15, lw=0)
        limit = float(np.percentile(bound, 95))
    if series.rotation_rad is not None:
        degrees = np.degrees(series.rotation_rad)
        rows[3].plot(series.time_s, degrees, color=ROTATION_COLOUR, lw=1.2)
        limit = max(limit, float(degrees.max()))
    if limit > 1e-6:
        rows[3].set_ylim(0, 1.15 * limit)
    rows[3].set(ylabel="rotation error (°)", xlabel="time since the first frame (s)")
    for axes in rows:
        _draw_marks(axes, marks)
    _legend(figure, ncols=7)
    return figure


def timing_figure(time_s: np.ndarray, stages: Mapping[str, np.ndarray], budget_ms: float, marks: Marks) -> Figure:
    """Milliseconds per frame of each stage, (N,) each, over time and as a distribution, with the frame period."""
    figure = Figure(figsize=(13, 5.2), layout="constrained", dpi=110)
    figure.suptitle("Time per frame")
    series, spread = figure.subplots(1, 2, sharey=True, width_ratios=(4, 1))
    for name, values in stages.items():
        if not len(values) or not values.any():
            continue
        median, p95, worst = np.percentile(values, (50, 95, 100))
        label = f"{name}: median {median:.1f}, p95 {p95:.1f}, max {worst:.0f} ms"
        style = {"color": STAGE_COLOURS.get(name, ESTIMATE), "lw": 1.4 if name == "total" else 0.9}
        series.plot(time_s, values, label=label, **style)
        spread.plot(np.linspace(0, 100, len(values)), np.sort(values), **style)
    highest = max((float(np.percentile(values, 99)) for values in stages.values() if len(values)), default=0.0)
    for axes in (series, spread):
        axes.axhline(budget_ms, color=BAD, ls="--", lw=1.2, label=f"budget: frame period {budget_ms:.0f} ms")
    series.set_ylim(0, 1.25 * max(highest, budget_ms, 1.0))  # a single outlier must not flatten the rest
    series.set(xlabel="time since the first frame (s)", ylabel="time (ms)")
    spread.set(xlabel="share of frames below (%)", xlim=(0, 100))
    spread.grid(alpha=0.25)
    _draw_marks(series, marks)
    _legend(figure, ncols=3)
    return figure


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


def _draw_path(axes: Axes, estimate: np.ndarray, truth: np.ndarray | None) -> None:
    """Positions (N, 2) with start and end, in equal axes."""
    if truth is None:
        axes.plot(*estimate.T, color=ESTIMATE, lw=1.6, label="estimate")
    else:
        axes.plot(*truth.T, color=TRUTH, lw=3.5, alpha=0.55, label="truth")
    axes.plot(*estimate[0], "o", color=START, ms=9, mec="white", zorder=5, label="start")
    axes.plot(*estimate[-1], "s", color=BAD, ms=8, mec="white", zorder=5, label="end")
    axes.update_datalim(estimate[0] + np.array([[-0.5], [0.5]]) * MIN_EXTENT_M)
    axes.autoscale_view()
    axes.set_aspect("equal", adjustable="datalim")
    axes.grid(alpha=0.25)


def _colour_path(axes: Axes, estimate: np.ndarray, error: np.ndarray) -> LineCollection:
    """The estimate (N, 2) as a line whose colour is the error (N,)."""
    segments = np.stack((estimate[:-1], estimate[1:]), axis=1)
    lines = LineCollection(list(segments), cmap="plasma", linewidths=1.6, zorder=3)
    lines.set_array((error[:-1] + error[1:]) / 2)
    lines.set_clim(0, float(error.max()))
    axes.add_collection(lines)
    return lines


def _scale_bar(axes: Axes, estimate: np.ndarray) -> None:
    """A bar of a round length, up to a third of the path's extent."""
    third = max(float(np.ptp(estimate[:, 0])), float(np.ptp(estimate[:, 1])), MIN_EXTENT_M) / 3
    decade = 10.0 ** np.floor(np.log10(third))
    length = float(decade * max(step for step in (1, 2, 5) if step == 1 or step * decade <= third))
    axes.add_artist(AnchoredSizeBar(axes.transData, length, f"{length:g} m", "lower right", frameon=False))


def _limit_symmetric(axes: Axes, error: np.ndarray, sigma: np.ndarray | None) -> None:
    """Room for the error and for bounds up to a few times it, so that wide bounds do not flatten the error."""
    largest = float(np.abs(error).max())
    bound = float(np.percentile(3 * sigma, 95)) if sigma is not None else 0.0
    axes.set_ylim(*(np.array([-1, 1]) * 1.15 * max(largest, min(bound, 5 * largest), 1e-6)))


def _draw_marks(axes: Axes, marks: Marks) -> None:
    for start, end in marks.degraded_s:
        axes.axvspan(start, end, color=WARN, alpha=0.3, lw=0, label="degraded")
    for moment in marks.resets_s:
        axes.axvline(moment, color=BAD, lw=1.4, label="reset")
    if marks.initialised_s is not None:
        axes.axvline(marks.initialised_s, color=START, ls=":", lw=1.4, label="initialised")
    axes.grid(alpha=0.25)
    axes.margins(x=0.01)


def _legend(figure: Figure, ncols: int) -> None:
    """Below the axes, where it covers nothing, each name once."""
    handles: dict[str, Artist] = {}
    for axes in figure.axes:
        for handle, name in zip(*axes.get_legend_handles_labels(), strict=True):
            handles.setdefault(name, handle)
    if handles:
        figure.legend(list(handles.values()), list(handles), loc="outside lower center", ncols=ncols, fontsize="small")
