# SPDX-License-Identifier: Apache-2.0
"""Every writer on a full disk: one line says so, what was there before stays, and nothing half-written appears.

test_robustness has the results of a
run, test_export the exported networks, training's test_guards its checkpoints, test_record the bags of running nodes.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from letvins_ros.config import Config
from letvins_ros.config_io import to_yaml
from letvins_ros.datasets import open_dataset
from letvins_ros.datasets.rosbag_writer import write_bag
from letvins_ros.errors import DataError
from letvins_ros.loop.map_file import MapInfo, save_map
from letvins_ros.loop.place_map import PlaceMap
from letvins_ros.simulation import simulate
from letvins_ros.simulation.rigs import EUROC_RIG
from letvins_ros.weights import save_weights

from .command import Letvins, no_file_above
from .some import some


def content(folder: Path) -> dict[Path, bytes]:
    """Every file below a folder, temporary ones too."""
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def saved_map(path: Path, recording: Path) -> None:
    save_map(path, PlaceMap(4), MapInfo.of(EUROC_RIG.cameras[0], True, "x" * 3000))


def saved_weights(path: Path, recording: Path) -> None:
    save_weights(path, {"a": np.ones(1000, np.float32)})


def simulated(path: Path, recording: Path) -> None:
    path.unlink()
    simulate(path, "hall", 0.2, 0)


def written_bag(path: Path, recording: Path) -> None:
    path.unlink()
    write_bag(open_dataset(recording), path, "ros1")


@pytest.mark.parametrize(
    "writer", [saved_map, saved_weights, simulated, written_bag], ids=lambda writer: writer.__name__
)
def test_a_writer_leaves_what_was_there(writer: Callable[[Path, Path], None], recording: Path, tmp_path: Path) -> None:
    path = tmp_path / "out.bag"
    path.write_text("old")
    with no_file_above(2000), pytest.raises(DataError, match=r"cannot write .*out\.bag: File too large"):
        writer(path, recording)
    assert content(tmp_path) in ({}, {path.relative_to(tmp_path): b"old"})
    path.write_text("old")
    writer(path, recording)  # which it can where there is room
    assert path.is_dir() or path.read_bytes() != b"old"


COMMANDS = {
    "config import": ("{recording}", "-o", "{out}/my.yaml"),
    "config export": ("{config}", "{out}"),
    "map export": ("{map}", "{out}/a.ply"),
    "evaluate": ("{truth}", "{recording}", "-o", "{out}"),
    "track": ("{recording}", "-o", "{out}"),
}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_says_it_in_one_line(command: str, recording: Path, tmp_path: Path, letvins: Letvins) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (tmp_path / "config.yaml").write_text(to_yaml(Config(rig=EUROC_RIG)))
    save_map(tmp_path / "a.map", PlaceMap(4), MapInfo.of(EUROC_RIG.cameras[0], True))
    truth = some(open_dataset(recording).truth)
    rows = np.column_stack([truth.stamps_ns * 1e-9, truth.positions, truth.quaternions])
    np.savetxt(tmp_path / "truth.tum", rows, "%.9f")
    places = {"recording": recording, "out": out, "config": tmp_path / "config.yaml", "map": tmp_path / "a.map"}
    words = [*command.split(), *(word.format(truth=tmp_path / "truth.tum", **places) for word in COMMANDS[command])]
    with no_file_above(50 if command != "track" else 20_000):
        code, _, told = letvins(*words)
    assert code == 1
    last = told.splitlines()[-1]
    assert last.startswith(f"error: cannot write {out}/"), last
    assert all(len(data) for data in content(out).values())
    assert not list(out.rglob("*.mp4"))  # OpenCV says nothing of what it could not write
