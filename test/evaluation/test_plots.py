# SPDX-License-Identifier: Apache-2.0
import io
import subprocess
import sys

import numpy as np
import pytest

from letvins_ros.evaluation.plots import ErrorSeries, Marks, error_figure, timing_figure, trajectory_figure

from ..some import some

T = np.linspace(0, 10, 101)
PATH = np.column_stack((3 * np.cos(T), 5 * np.sin(T), 0.1 * T))


def test_trajectory_is_drawn_to_scale_from_above_and_from_its_wide_side() -> None:
    figure = trajectory_figure(PATH + 0.01, PATH, "title")
    top, side = figure.axes[:2]
    assert [top.get_xlabel(), top.get_ylabel()] == ["x (m)", "y (m)"]
    assert [side.get_xlabel(), side.get_ylabel()] == ["y (m)", "z (m)"]
    figure.draw_without_rendering()
    for axes in (top, side):
        per_metre = np.diff(axes.transData.transform([(0, 0), (1, 1)]), axis=0)[0]
        assert per_metre[0] == pytest.approx(per_metre[1])
    assert {"truth", "estimate", "start", "end"} == set(top.get_legend_handles_labels()[1])


def test_trajectory_colours_are_the_errors() -> None:
    offset = np.zeros_like(PATH)
    offset[:, 2] = np.linspace(0, 0.5, len(PATH))
    lines = next(c for c in trajectory_figure(PATH + offset, PATH).axes[0].collections)
    assert lines.get_clim() == (0, 0.5)
    assert some(lines.get_array())[0] == pytest.approx(0.0025)


@pytest.mark.parametrize("count", [0, 1, 2])
@pytest.mark.parametrize("with_truth", [True, False])
def test_few_poses_are_drawn_without_fault(count: int, with_truth: bool) -> None:
    trajectory_figure(PATH[:count], PATH[:count] if with_truth else None).draw_without_rendering()


@pytest.mark.parametrize("count", [1, 3])
def test_a_path_without_extent_is_drawn_without_fault(count: int) -> None:
    trajectory_figure(1e-17 * PATH[:count]).savefig(io.BytesIO())


def test_errors_are_drawn_per_axis_with_units_bounds_and_marks() -> None:
    series = ErrorSeries(T, 0.01 * PATH, 0.1 * T, np.full((101, 3), 0.02), np.full(101, 0.1))
    figure = error_figure(series, Marks(0.5, (3.0,), ((5.0, 6.0), (8.0, 9.0))))
    axes = ("x error (m)", "y error (m)", "z error (m)", "rotation error (°)")
    assert tuple(one.get_ylabel() for one in figure.axes) == axes
    assert figure.axes[3].get_xlabel() == "time since the first frame (s)"
    assert {text.get_text() for text in figure.legends[0].texts} == {"±3σ", "degraded", "reset", "initialised"}
    low, high = figure.axes[0].get_ylim()
    assert high == -low > 0.06
    np.testing.assert_allclose(np.asarray(figure.axes[3].lines[0].get_ydata()), np.degrees(0.1 * T))


def test_bounds_alone_are_drawn_where_there_is_no_truth() -> None:
    figure = error_figure(ErrorSeries(T, None, None, np.full((101, 3), 0.02), np.full(101, 0.1)), Marks())
    figure.draw_without_rendering()
    assert figure.axes[0].collections


def test_one_slow_frame_does_not_flatten_the_timing() -> None:
    total = np.full(101, 20.0)
    total[0] = 900
    figure = timing_figure(T, {"tracker": total / 2, "loop": 0 * T, "total": total}, 50.0, Marks())
    assert figure.axes[0].get_ylim()[1] < 100
    names = [text.get_text() for text in figure.legends[0].texts]
    assert "total: median 20.0, p95 20.0, max 900 ms" in names
    assert "budget: frame period 50 ms" in names
    assert not any(name.startswith("loop") for name in names)  # it never ran


def test_drawing_needs_neither_pyplot_nor_a_display() -> None:
    code = "import sys; import letvins_ros.evaluation.plots; sys.exit('matplotlib.pyplot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
