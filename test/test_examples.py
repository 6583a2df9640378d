# SPDX-License-Identifier: Apache-2.0
"""Every script of examples/ and the notebook, executed; and the public interface that they use."""

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import letvins_ros
from letvins_ros.simulation import simulate

from .command import ROOT, environment
from .some import some

EXAMPLES = ROOT / "examples"


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("examples") / "hall"
    simulate(folder, "hall", 6.0, 3)
    return folder


def run(code: list[object], *arguments: object) -> str:
    env = environment(OMP_NUM_THREADS="1")
    command = [sys.executable, *map(str, [*code, *arguments])]
    ran = subprocess.run(command, check=False, cwd=ROOT, env=env, capture_output=True, text=True, timeout=280)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def test_odometry_takes_twenty_lines_and_gives_every_pose(recording: Path) -> None:
    script = EXAMPLES / "odometry.py"
    assert len(script.read_text().splitlines()) <= 30  # with licence, docstring, imports and blank lines
    rows = run([script], recording).splitlines()
    assert len(rows) == 121  # no warning
    assert sum(" tracking " in row for row in rows) > 110


def test_an_own_tracker_carries_the_odometry(recording: Path) -> None:
    told = re.search(r"^(\d+) of (\d+) frames tracked", run([EXAMPLES / "own_tracker.py"], recording))
    assert told
    assert int(told[1]) > 0.9 * int(told[2])


def test_an_own_cost_bounds_the_drift(recording: Path) -> None:
    without, with_ranges = map(float, re.findall(r"by ([\d.]+) m", run([EXAMPLES / "own_cost.py"], recording)))
    assert with_ranges < 0.5 * without


def test_two_runs_are_compared(recording: Path, tmp_path: Path) -> None:
    told = run([EXAMPLES / "compare_runs.py"], recording, tmp_path)
    errors = dict(re.findall(r"^(\S+): ATE ([\d.]+) m", told, re.M))
    assert errors.keys() == {"with-imu-trajectory", "without-imu-trajectory"}
    assert max(map(float, errors.values())) < 0.02
    assert (tmp_path / "trajectories.png").stat().st_size > 10_000


def test_a_tiny_network_is_trained_and_tracks(tmp_path: Path) -> None:
    pytest.importorskip("lightning_fabric")
    told = run([EXAMPLES / "train_letnet2.py"], tmp_path)
    assert int(some(re.search(r"features, (\d+) of them in sight since the start", told))[1]) > 100


def test_the_notebook_runs_and_holds_no_output(recording: Path, tmp_path: Path) -> None:
    notebook = json.loads((EXAMPLES / "first_look.ipynb").read_text())
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert all(not cell["outputs"] and cell["execution_count"] is None for cell in cells)
    code = "\n".join("".join(cell["source"]) for cell in cells)
    assert "simulate(" in code
    (tmp_path / "hall").symlink_to(recording)
    code = code.replace('Path("results/notebook")', f"Path({str(tmp_path)!r})")
    assert str(tmp_path) in code
    run(["-c", code])
    assert {path.name for path in tmp_path.glob("*.png")} == {"trajectory.png", "error.png"}


def test_examples_use_no_private_name() -> None:
    for path in EXAMPLES.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom):
                assert not any(alias.name.startswith("_") for alias in node.names), path


def test_every_public_name_can_be_imported() -> None:
    assert len(letvins_ros.__all__) == len(set(letvins_ros.__all__)) > 30
    for name in letvins_ros.__all__:
        assert getattr(letvins_ros, name).__name__ == name
    assert set(letvins_ros.__all__) <= set(dir(letvins_ros))
    with pytest.raises(AttributeError, match="has no attribute 'odometry_in_one_line'"):
        getattr(letvins_ros, "odometry_in_one_line")  # noqa: B009


def test_type_checkers_are_told_the_same_names() -> None:
    body = ast.parse((ROOT / "letvins_ros/__init__.pyi").read_text()).body
    told = {
        alias.asname: some(node.module).removeprefix("letvins_ros.")
        for node in body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if alias.name == alias.asname
    }
    assert told == vars(letvins_ros)["_MODULE_OF"]


def test_importing_the_package_loads_nothing_of_it() -> None:
    code = "import sys, letvins_ros; print(*(m for m in sys.modules if m.startswith('letvins_ros') or m == 'numpy'))"
    assert run(["-c", code]).split() == ["letvins_ros"]
