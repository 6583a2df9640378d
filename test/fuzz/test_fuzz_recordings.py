# SPDX-License-Identifier: Apache-2.0
"""Folders, bags and trajectory files."""

import shutil
import tempfile
from functools import cache
from pathlib import Path
from random import Random

import numpy as np
import pytest
from rosbags.rosbag1 import Writer as Writer1
from rosbags.rosbag2 import CompressionFormat, CompressionMode

from letvins_ros import geometry
from letvins_ros.datasets import open_dataset
from letvins_ros.evaluation.evaluate import Comparing, evaluate
from letvins_ros.evaluation.trajectory import from_poses, read_reference, write_tum

from ..datasets import bag_making as making
from ..datasets import listed_layouts
from ..datasets import recording_layouts as layouts
from . import mutations
from .survival_check import Damage, Reader, survives

TEXTS = (".csv", ".yaml", ".txt", ".tum")
FOLDERS = {
    "euroc": layouts.euroc,
    "tum_vi": layouts.tum_vi,
    "tartanair v1": layouts.tartanair_v1,
    "tartanair v2": layouts.tartanair_v2,
    "kitti": layouts.kitti,
    "kitti raw": layouts.kitti_raw,
    "tum rgb-d": listed_layouts.tum_rgbd,
    **listed_layouts.LAYOUTS,
}
BAGS = {
    "ros1": ("ros1", lambda writer: None),
    "ros1 lz4": ("ros1", lambda writer: writer.set_compression(Writer1.CompressionFormat.LZ4)),
    "sqlite3": ("sqlite3", lambda writer: None),
    "mcap": ("mcap", lambda writer: None),
    "mcap zstd": ("mcap", lambda writer: writer.set_compression(CompressionMode.STORAGE, CompressionFormat.ZSTD)),
    "packed": ("sqlite3", lambda writer: writer.set_compression(CompressionMode.FILE, CompressionFormat.ZSTD)),
    "messages": ("mcap", lambda writer: writer.set_compression(CompressionMode.MESSAGE, CompressionFormat.ZSTD)),
}


@cache
def _home() -> tuple[tempfile.TemporaryDirectory[str], Path]:
    folder = tempfile.TemporaryDirectory()
    return folder, Path(folder.name)


@cache
def recording(name: str) -> tuple[Path, Path]:
    """A good recording of the format, and the folder in which all of it lies."""
    folder = _home()[1] / name.replace(" ", "-")
    return folder, FOLDERS[name](folder).path


@cache
def bag(name: str) -> tuple[str, bytes]:
    """The bytes of a bag with everything that is read in one, and the name of its file."""
    kind, prepare = BAGS[name]
    records = making.stereo_imu(seconds=0.5)
    for i in range(2):
        info = making.an_info(f"cam{i}", [0.1, 0, 0, 0, 0], baseline=0.1 * i)
        records += making.sequence(f"/cam{i}/camera_info", making.INFO, info, 10, 0.2)
    transform = making.a_tf(("imu", "cam0", (0.1, 0, 0), (0, 0, 0, 1)))
    records += making.sequence("/tf_static", making.TF, transform, 10, 0.1)
    path = making.target(_home()[1] / name.replace(" ", "-"), kind)
    file = making.storage_of(making.write(path, records, kind, prepare))
    return file.name, file.read_bytes()


def damage_folder(folder: Path, rng: Random) -> Path:
    """One file of a recording, rather a text than an image; it may also be missing or empty."""
    whole, path = recording(rng.choice(list(FOLDERS)))
    copy = folder / "r"
    shutil.copytree(whole, copy)
    files = sorted(file for file in copy.rglob("*") if file.is_file())
    texts = [file for file in files if file.suffix in (*TEXTS, ".npy")]
    chosen = rng.choice(texts if rng.random() < 0.9 else files)
    if rng.random() < 0.05:
        chosen.unlink()
    else:
        ways = (
            mutations.YAML
            if chosen.suffix == ".yaml"
            else mutations.TEXT
            if chosen.suffix in TEXTS
            else mutations.BINARY
        )
        chosen.write_bytes(mutations.mutate(chosen.read_bytes(), rng, ways))
    return copy / path.relative_to(whole)


def damage_bag(folder: Path, rng: Random) -> Path:
    name, data = bag(rng.choice(list(BAGS)))
    (folder / name).write_bytes(mutations.mutate(data, rng, mutations.BINARY))
    return folder / name


def read_recording(path: Path) -> None:
    dataset = open_dataset(path)
    frames = list(dataset.frames())
    assert 0 < len(frames) <= len(dataset)
    for series in (dataset.imu, dataset.truth):
        assert series is None or (np.diff(series.stamps_ns) > 0).all()


@cache
def trajectory() -> Path:
    stamps = [1_403_636_580_000_000_000 + i * 50_000_000 for i in range(60)]
    turns = geometry.exp_so3(np.outer(np.arange(60), [0.01, 0.02, 0.03]))
    T = geometry.transform(turns, np.outer(np.arange(60), [0.1, 0.0, 0.02]))
    write_tum(_home()[1] / "good.tum", from_poses(stamps, T))
    return _home()[1] / "good.tum"


def damage_trajectory(folder: Path, rng: Random) -> Path:
    path = folder / rng.choice(("a.tum", "a.csv"))
    path.write_bytes(mutations.mutate(trajectory().read_bytes(), rng, mutations.TEXT))
    return path


def compare_trajectory(path: Path) -> None:
    if path.suffix == ".csv":
        read_reference(path)
        return
    for how in (Comparing(), Comparing(max_diff_s=0.01, with_scale=True), Comparing(find_offset=True)):
        evaluate(path, trajectory(), how=how)


@pytest.mark.parametrize(
    ("damage", "read"),
    [(damage_folder, read_recording), (damage_bag, read_recording), (damage_trajectory, compare_trajectory)],
    ids=["folders", "bags", "trajectories"],
)
def test_damaged_recordings_are_read_or_refused(damage: Damage, read: Reader, tmp_path: Path) -> None:
    counts = survives(damage, read, tmp_path)
    assert counts["read"] and counts["refused"]
